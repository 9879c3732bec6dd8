"""``moka metadata``."""

from __future__ import annotations

import moka
from moka.cli.common import as_json, model_argument, print_json, progress, verb

__all__ = ["command"]


@verb()
@model_argument
@as_json
def command(model: str, as_json: bool) -> None:
    """Print metadata.json as Apple's compiler writes it.

    MODEL is a .mlmodel file, an .mlpackage folder, or a compiled .mlmodelc folder, whose own metadata.json is printed. The output is
    JSON with or without --json.
    """
    with progress(f"reading {model}"):
        found = moka.metadata(model)
    print_json(found)
