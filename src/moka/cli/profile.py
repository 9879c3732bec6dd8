"""``moka profile``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import moka
from moka.cli.common import as_json, console, loading_options, model_argument, print_json, progress, verb
from moka.cli.inputs import given_inputs, input_option

__all__ = ["command"]


@verb()
@model_argument
@input_option
@click.option("--random", "seed", type=int, default=0, show_default=True, metavar="SEED", help="How inputs that are not given are made up.")
@click.option("--resize", is_flag=True, help="Resize images to the size that the model takes.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="Predictions that count.")
@click.option("--warmup", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Predictions before those.")
@loading_options
@click.option("--operations", is_flag=True, help="Show every operation.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page with the plan and the profile to a file.")
@click.option("--save", metavar="FILE", type=click.Path(), help="Write the profile as JSON to a file.")
@as_json
def command(
    model: str,
    inputs: Sequence[str],
    seed: int,
    resize: bool,
    runs: int,
    warmup: int,
    operations: bool,
    html: str | None,
    save: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Time predictions, segments and operations of a model.

    \b
    moka profile model.mlpackage
    moka profile model.mlpackage -i image=cat.jpg --resize --runs 200 --threads 2
    moka profile model.mlpackage --engine torch --html profile.html
    """
    with progress(f"profiling {model}"):
        made = moka.profile(model, lambda loaded: given_inputs(inputs, loaded, seed, resize), runs=runs, warmup=warmup, **options)
    if save is not None:
        _write(Path(save), made.to_json() + "\n", "--save")
    if html is not None:
        _write(Path(html), made.to_html(), "--html")
    if as_json:
        print_json(made.to_dict())
    else:
        console().print(made.view(operations=operations))


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise moka.InputError(f"{option} {path}: can't be written: {error.strerror}") from error
