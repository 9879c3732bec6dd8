"""``moka convert``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import moka
from moka.cli.common import as_json, console, print_json, progress, table, verb

__all__ = ["command"]

_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")


@verb()
@click.argument("source", metavar="MODEL.pt2", type=click.Path())
@click.argument("destination", metavar="OUT.mlpackage", type=click.Path())
@click.option("--precision", type=click.Choice(["float16", "float32"]), default="float16", show_default=True, help="Of the computation.")
@click.option(
    "--target",
    type=click.Choice(_TARGETS, case_sensitive=False),
    metavar="SYSTEM",
    help=f"The oldest system that is to load it: {', '.join(_TARGETS)}.",
)
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME", help="The name of an input; once for each, in order.")
@click.option("--output", "-o", "outputs", multiple=True, metavar="NAME", help="The name of an output; once for each, in order.")
@click.option("--image", "images", multiple=True, metavar="NAME[=COLOR]", help="An input that is an image: RGB, BGR or GRAYSCALE.")
@click.option("--scale", type=float, default=1.0, show_default=True, help="What pixels, 0 to 255, are multiplied by.")
@click.option("--bias", metavar="NUMBERS", default="0", show_default=True, help="What is added to them then: one number, or one a channel.")
@click.option("--labels", metavar="FILE", type=click.Path(), help="Make a classifier of it: its labels, one a line.")
@as_json
def command(
    source: str,
    destination: str,
    precision: str,
    target: str | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
    images: Sequence[str],
    scale: float,
    bias: str,
    labels: str | None,
    as_json: bool,
) -> None:
    """Convert a PyTorch program to Core ML.

    MODEL.pt2 is what torch.export.save wrote. Buffers that the program changes become states.

    \b
    moka convert mobilenet.pt2 MobileNet.mlpackage --input image --output scores
    moka convert mobilenet.pt2 MobileNet.mlpackage --input image --image image --scale 0.00392 --labels imagenet.txt
    """
    options: dict[str, Any] = {"precision": precision, "target": target, "inputs": inputs, "outputs": outputs}
    options["images"] = dict(_image(item, scale, bias) for item in images)
    options["class_labels"] = () if labels is None else _lines(labels)
    with progress(f"converting {source}") as show:
        model = moka.convert(source, path=destination, progress=lambda text: show(f"{text} {source}"), **options)
    function = model.function
    rows = [("input", name, feature.summary()) for name, feature in function.inputs.items()]
    rows += [("output", name, feature.summary()) for name, feature in function.outputs.items()]
    rows += [("state", name, state.array.summary()) for name, state in function.states.items()]
    if as_json:
        print_json({"path": destination, "features": [dict(zip(("kind", "name", "type"), row, strict=True)) for row in rows]})
        return
    shown = table("", "name", "type")
    for row in rows:
        shown.add_row(*row)
    console().print(shown)
    click.echo(destination)


def _image(text: str, scale: float, bias: str) -> tuple[str, moka.ImageInput]:
    """``NAME`` or ``NAME=COLOR`` as an input that is an image."""
    name, _, color = text.partition("=")
    try:
        numbers = tuple(float(part) for part in bias.split(","))
    except ValueError as error:
        raise moka.InputError(f"--bias {bias!r}: expected numbers, such as -0.485,-0.456,-0.406") from error
    chosen: Any = color.upper() or "RGB"
    return name, moka.ImageInput(chosen, scale, numbers[0] if len(numbers) == 1 else numbers)


def _lines(path: str) -> list[str]:
    try:
        return [line for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise moka.InputError(f"--labels {path}: can't be read: {error}") from error
