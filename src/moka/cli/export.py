"""``moka export``."""

from __future__ import annotations

from collections.abc import Sequence

import click

import moka
from moka.cli.common import as_json, console, model_argument, print_json, progress, table, verb

__all__ = ["command"]


@verb()
@model_argument
@click.argument("destination", metavar="OUT.onnx", type=click.Path())
@click.option("--function", metavar="NAME", help="The function to export, of a model with several.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZES", help="The shape of a network's flexible input: x=1,3,512,512.")
@click.option("--external", is_flag=True, help="Write the weights to a file beside it, as must be done above 2 GB.")
@click.option("--check", is_flag=True, help="Compare with ONNX Runtime on random inputs.")
@as_json
def command(model: str, destination: str, function: str | None, shapes: Sequence[str], external: bool, check: bool, as_json: bool) -> None:
    """Write a model as ONNX.

    \b
    moka export model.mlpackage model.onnx --check
    """
    sizes = dict(map(_shape, shapes))
    with progress(f"exporting {model}") as show:
        made = moka.export(
            moka.load(model, function=function),
            destination,
            shapes=sizes,
            external=external or None,
            check=check,
            progress=lambda text: show(f"{text} {model}"),
        )
    if as_json:
        files = [str(file) for file in (made.path, made.data) if file is not None]
        print_json({"files": files, "inputs": made.inputs, "outputs": made.outputs, "differences": dict(made.differences)})
        return
    if check:
        rows = table("output", "largest difference / largest value", right=("largest difference / largest value",))
        for name, difference in made.differences.items():
            rows.add_row(name, f"{difference:.1e}")
        console().print(rows)
    click.echo(made.path)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``x=1,3,224,224`` as a name and sizes."""
    name, equals, sizes = text.partition("=")
    parts = sizes.split(",")
    if not (name and equals and all(part.strip().isdecimal() for part in parts)):
        raise moka.InputError(f"--shape {text!r}: expected NAME=SIZES, such as image=1,3,224,224")
    return name, tuple(int(part) for part in parts)
