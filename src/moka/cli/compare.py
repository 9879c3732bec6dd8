"""``moka compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

import moka
from moka.cli.common import as_json, console, print_json, progress, table, verb

__all__ = ["command"]


@verb()
@click.argument("reference", type=click.Path())
@click.argument("model", type=click.Path(), required=False)
@click.option(
    "--numerics", type=click.Choice(["fp32", "fp16", "device"]), default="device", show_default=True, help="How the model computes."
)
@click.option(
    "--engine",
    type=click.Choice(["torch", "onnxruntime", "openvino", "coreml"]),
    help="Compare only the outputs, as this engine gives them.",
)
@click.option("--allow-low-precision", is_flag=True, help="Compare only the outputs, computed in bf16 where the model allows it.")
@click.option("--function", metavar="NAME", help="The function to run, of a model with several.")
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the model: a file, a number or JSON.")
@click.option("--random", "seed", type=int, default=0, show_default=True, metavar="SEED", help="Of the inputs, where none are given.")
@click.option("--tolerance", type=float, metavar="ERROR", help="The error allowed, as a share of the largest value.")
@click.option("--layers", is_flag=True, help="Show every operation, not only those that differ.")
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    reference: str,
    model: str | None,
    numerics: Any,
    engine: Any,
    allow_low_precision: bool,
    function: str | None,
    inputs: Sequence[str],
    seed: int,
    tolerance: float | None,
    layers: bool,
    as_json: bool,
) -> None:
    """Find the first operation that differs from PyTorch.

    Or from another model: REFERENCE is a program saved with torch.export.save (.pt2) or a Core ML model. Without MODEL, a Core ML model is
    compared with itself in float32. Overflow above 65504 and NaN are named with their operation and line. The exit status is 1 where
    something differs.

    \b
    moka compare net.pt2 net.mlpackage
    moka compare net.mlpackage --numerics fp16
    moka compare net.mlpackage --allow-low-precision
    moka compare float.mlpackage quantized.mlpackage --numerics fp32 --tolerance 0.1
    """
    subject = reference if model is None else model
    if model is None and reference.endswith(".pt2"):
        raise click.UsageError(f"give the Core ML model as well: moka compare {reference} model.mlpackage")
    with progress(f"comparing {subject}"):
        loaded = moka.load(subject, function=function)
        data = _data(inputs, loaded, seed) if inputs else None
        other = loaded if model is None else reference
        made = moka.pytorch.compare(
            other, loaded, data, numerics=numerics, engine=engine, allow_low_precision=allow_low_precision, tolerance=tolerance, seed=seed
        )
    if as_json:
        print_json(made.to_dict())
    else:
        rows = table("operation", "type", "reference", "error", "status", "source", right=("error",))
        for row in made.rows(layers=layers):
            rows.add_row(*map(Text, row))
        console().print(rows)
        console().print(made.summary(), markup=False)
    ctx.exit(0 if made.agrees else 1)


def _data(inputs: Sequence[str], model: moka.Model, seed: int) -> dict[str, Any]:
    """The inputs from the command line, with random ones for the rest."""
    features = model.function.inputs
    data: dict[str, Any] = {}
    for item in inputs:
        name, _, value = item.partition("=")
        if name not in features or not value:
            raise click.BadParameter(f"{item!r} is no NAME=VALUE; inputs are {', '.join(features)}", param_hint="--input")
        data[name] = moka.read_value(features[name], value)
    return moka.random_inputs({name: feature for name, feature in features.items() if name not in data}, seed) | data
