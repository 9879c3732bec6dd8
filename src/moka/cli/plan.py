"""``moka plan``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import moka
from moka.cli.common import as_json, console, loading_options, model_argument, print_json, progress, verb

__all__ = ["command"]


@verb()
@model_argument
@click.option("--device", metavar="NAME", help="Another device: a product or chip of Apple's (iPhone 15 Pro, M4), or a GPU (NVIDIA H100).")
@loading_options
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZES", help="The shape of a flexible input: x=1,3,512,512.")
@click.option("--measure", is_flag=True, help="Time the alternatives on this machine; the times are kept in the cache.")
@click.option("--pins", metavar="FILE", type=click.Path(), help="Follow the placements of a saved plan.")
@click.option("--operations", is_flag=True, help="Show every operation.")
@click.option("--layers", is_flag=True, help="Show every layer of a neural network.")
@click.option("--save", metavar="FILE", type=click.Path(), help="Write the plan as JSON to a file.")
@as_json
def command(
    model: str,
    device: str | None,
    shapes: Sequence[str],
    measure: bool,
    pins: str | None,
    operations: bool,
    layers: bool,
    save: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say which operation runs where, why, and at what cost.

    \b
    moka plan model.mlpackage
    moka plan model.mlpackage --device "iPhone 15 Pro"
    moka plan model.mlpackage --measure --save plan.json
    """
    sizes = dict(map(_shape, shapes))
    followed = None if pins is None else moka.load_plan(pins)
    with progress(f"loading {model}") as say:
        loaded = moka.load(model, **options)
        say(f"measuring {model}" if measure else f"planning {model}")
        made = loaded.plan(device, measure=measure, shapes=sizes, pins=followed)
    if save is not None:
        _save(made, Path(save))
    if as_json:
        print_json(made.to_dict())
    else:
        console().print(made.view(operations=operations, layers=layers))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``x=1,3,224,224`` as a name and sizes."""
    name, equals, sizes = text.partition("=")
    parts = sizes.replace("x", ",").split(",")
    if not (name and equals and all(part.strip().isdecimal() for part in parts)):
        raise moka.InputError(f"--shape {text!r}: expected NAME=SIZES, such as image=1,3,224,224")
    return name, tuple(int(part) for part in parts)


def _save(made: moka.Plan, path: Path) -> None:
    try:
        path.write_text(made.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise moka.InputError(f"--save {path}: can't be written: {error.strerror}") from error
