"""``moka decompile``."""

from __future__ import annotations

from pathlib import Path

import click

import moka
from moka.cli.common import as_json, model_argument, print_json, progress, verb

__all__ = ["command"]


@verb()
@model_argument
@click.argument("destination", type=click.Path(path_type=Path))
@as_json
def command(model: str, destination: Path, as_json: bool) -> None:
    """Get a source model back from a compiled one.

    MODEL is a .mlmodelc folder, Apple's or Moka's. ML Programs become packages, DESTINATION/NAME.mlpackage, all other kinds files,
    DESTINATION/NAME.mlmodel.
    """
    with progress(f"reading {model}"):
        made = moka.decompile(model, destination)
    if as_json:
        print_json({"path": str(made)})
    else:
        click.echo(made)
