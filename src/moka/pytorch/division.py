"""A program's division between Core ML and PyTorch: found by converting, and remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moka.cache import Cache, Key
from moka.pytorch.config import DelegateConfig
from moka.pytorch.decomposition import expand, expandable
from moka.pytorch.frontend import attempt
from moka.pytorch.identity import graph_text, versions
from moka.pytorch.partitioner import narrow, refuse_statically
from moka.pytorch.program import Program, prepare

__all__ = ["divided"]

_FILE = "division.json"
_ROUNDS = 3


def divided(program: Program, config: DelegateConfig) -> dict[str, str]:
    """Why nodes stay in PyTorch, by name, after what coremltools refuses was written as what it takes where PyTorch knows how.

    Changes the program's graph accordingly. What was found is taken from the cache where the same program was divided before.
    """
    parts = {
        "graph": graph_text(program.module),
        "constants": sorted(program.constants),
        "buffers": sorted(program.buffers),
        "config": config.conversion | {"keep_out": [str(item) for item in config.keep_out], "states": config.states},
        "versions": versions(),
    }
    fresh: list[dict[str, Any]] = []

    def make(folder: Path) -> None:
        fresh.append(_find(program, config))
        (folder / _FILE).write_text(json.dumps(fresh[0]), encoding="utf-8")

    folder = Cache().get(Key("division", "a PyTorch program", parts), make)
    found = fresh[0] if fresh else json.loads((folder / _FILE).read_text(encoding="utf-8"))
    for names in [] if fresh else found["expanded"]:
        expand(program, names)
        prepare(program)
    return dict(found["reasons"])


def _find(program: Program, config: DelegateConfig) -> dict[str, Any]:
    expanded: list[dict[str, str]] = []
    while True:
        reasons = refuse_statically(program, config)
        narrow(program, reasons, lambda piece: attempt(piece, config), config)
        names = expandable(program, reasons, config) if len(expanded) < _ROUNDS else {}
        if not names:
            return {"expanded": expanded, "reasons": reasons}
        expand(program, names)
        prepare(program)
        expanded.append(names)
