"""How ``moka inspect`` shows an ExecuTorch program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from moka.cli.common import size_text, table

__all__ = ["print_program"]


def print_program(screen: Console, summary: Any) -> None:
    """Prints a `moka.pytorch.executorch.ProgramSummary`."""
    screen.print(Text(summary.path.name, "bold"))
    screen.print(Text(f"ExecuTorch program · schema {summary.version} · {size_text(summary.size)}"))
    for method in summary.methods:
        _print_method(screen, method)
    if summary.named_data:
        _print_pairs(screen, "Named data", {key: size_text(size) for key, size in summary.named_data.items()})


def _print_method(screen: Console, method: Any) -> None:
    _print_pairs(
        screen,
        f"Method {method.name}",
        {
            "inputs": ", ".join(method.inputs) or "none",
            "outputs": ", ".join(method.outputs) or "none",
            "instructions": _counts(method.instructions) or "none",
            "operators": _counts(method.operators) or "none: all is delegated",
        },
    )
    for number, delegate in enumerate(method.delegates):
        stated = {"payload": size_text(delegate.size), **delegate.compile_specs}
        if delegate.coreml is not None:
            stated |= _coreml(delegate.coreml)
        _print_pairs(screen, f"Delegate {number}: {delegate.backend}", stated)


def _coreml(model: Any) -> dict[str, str]:
    return {
        "holds": f".{model.kind} {model.identifier}",
        **({"function": model.function} if model.function else {}),
        "model inputs": ", ".join(model.inputs),
        "model outputs": ", ".join(model.outputs),
        "files": "\n".join(f"{name} ({size_text(size)})" for name, size in model.files.items()),
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _print_pairs(screen: Console, title: str, entries: Mapping[str, str]) -> None:
    screen.print()
    screen.print(Text(title, "bold"))
    rows = table("", "")
    rows.show_header = False
    for name, value in entries.items():
        rows.add_row(Text(name, "dim"), Text(value))
    screen.print(rows)
