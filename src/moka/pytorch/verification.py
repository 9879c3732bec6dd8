"""Whether Core ML models give what PyTorch gives: each is run once on what it gets when the program runs on its example inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

from moka.cache import Cache, Key
from moka.errors import MokaError
from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import Piece, Refusal
from moka.pytorch.identity import digest, versions
from moka.pytorch.pieces import Cut
from moka.pytorch.program import Program, outputs_of
from moka.pytorch.segments import Segment

__all__ = ["agree", "difference", "record"]

_TOLERANCES = {"float32": 1e-3, "float16": 5e-2}
_COMPRESSED = 0.3
_MISMATCHES = 0.01
"""The part of integers and truth values that may differ: what is next to a limit may fall on either side of it."""


def agree(
    program: Program,
    cuts: Sequence[Cut],
    segments: Sequence[Segment],
    folders: Sequence[Path],
    config: DelegateConfig,
    inputs: Mapping[str, Any],
) -> list[int]:
    """The numbers of the segments that give something else than PyTorch; none where the same was found before."""
    wrong: list[int] = []
    parts = {
        "models": [folder.parent.name for folder in folders],
        "inputs": {name: digest(value) if isinstance(value, torch.Tensor) else repr(value) for name, value in inputs.items()},
        "options": [config.precision, config.engine, config.compute_units],
        "versions": versions(),
    }

    def make(folder: Path) -> None:
        border = {node.name for item in cuts for node in [*item.inputs, *item.outputs]}
        values = record(program, border, inputs)
        wrong.extend(index for index, segment in enumerate(segments) if difference(cuts[index].piece, segment, values, config))
        if wrong:
            raise _WrongError
        (folder / "agrees.json").write_text("{}", encoding="utf-8")

    with contextlib.suppress(_WrongError):
        Cache().get(Key("verification", "a PyTorch program", parts), make)
    return wrong


class _WrongError(Exception):
    """Segments differ, so that nothing is remembered."""


def record(program: Program, names: set[str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some nodes when PyTorch runs the program."""
    recorder = _Recorder(program.module, names)
    given = {**program.constants, **{name: tensor for name, (_, tensor) in program.buffers.items()}, **inputs}
    with torch.no_grad():
        recorder.run(*[given[node.name] for node in program.module.graph.find_nodes(op="placeholder")])
    return recorder.values


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: torch.fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self._names = names
        self.values: dict[str, Any] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.name in self._names:
            self.values[n.name] = value
        return value


def difference(piece: Piece, segment: Segment, values: Mapping[str, Any], config: DelegateConfig) -> Refusal | None:
    """How what a segment gives differs from PyTorch's values; None if it does not, beyond rounding."""
    places = piece.module.graph.find_nodes(op="placeholder")
    given = [values[node.name] for node in places if node.name not in piece.constants and node.name not in piece.states]
    names = [node.name for node in outputs_of(piece.module.graph)[len(piece.writes) :]]
    segment.write_states([tensor for _, tensor in piece.states.values()])
    try:
        found = segment(*given)
    except (MokaError, RuntimeError) as error:
        return Refusal(None, f"fails when it runs: {error}")
    for name, tensor in zip(names, found, strict=True):
        if problem := _problem(tensor, values[name], _tolerance(piece, config)):
            return Refusal(None, f"gives something else than PyTorch for {name}: {problem}")
    return None


def _tolerance(piece: Piece, config: DelegateConfig) -> float:
    """The largest error allowed, as a part of the largest element; compressed weights are not the program's own."""
    if config.quantizer is not None:
        return _COMPRESSED
    return _TOLERANCES["float16" if piece.states else config.precision]


def _problem(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> str | None:
    if found.shape != wanted.shape:
        return f"shape {list(found.shape)}, not {list(wanted.shape)}"
    if not wanted.numel():
        return None
    if not wanted.is_floating_point():
        share = float((found != wanted).float().mean())
        return f"{share:.1%} of the elements differ" if share > _MISMATCHES else None
    if not torch.equal(torch.isfinite(found), torch.isfinite(wanted)):
        return "infinite or NaN in other places"
    finite = torch.isfinite(wanted)
    error = float((found - wanted)[finite].abs().max()) if finite.any() else 0.0
    largest = float(wanted[finite].abs().max()) if finite.any() else 0.0
    return f"error {error:.1e}, largest element {largest:.1e}" if error > tolerance * largest + 1e-6 else None
