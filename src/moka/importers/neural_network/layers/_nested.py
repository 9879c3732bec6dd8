"""What can be told of nested networks before they are translated: what they read and write, and whether they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["kinds", "may_break", "may_end", "networks", "never_ends", "reads", "writes"]

_NESTED = {"branch": ("ifBranch", "elseBranch"), "loop": ("conditionNetwork", "bodyNetwork")}
_UNPREDICTABLE = ("random", "categoricalDistribution", "custom")
"""How the names of layers begin whose results may differ from one run to the next."""


def networks(message: Any) -> Iterator[Any]:
    """The layers of each network nested in a layer."""
    kind = message.WhichOneof("layer")
    for field in _NESTED.get(kind, ()):
        yield getattr(getattr(message, kind), field).layers


def writes(layers: Sequence[Any]) -> list[str]:
    """The names of all blobs that layers write, in nested networks too."""
    names: dict[str, None] = {}
    for message in layers:
        names.update(dict.fromkeys(message.output))
        for nested in networks(message):
            names.update(dict.fromkeys(writes(nested)))
    return list(names)


def reads(layers: Sequence[Any]) -> set[str]:
    """The names of blobs that layers read and that may come from outside: those that no earlier layer beside them writes."""
    own: set[str] = set()
    outside: set[str] = set()
    for message in layers:
        outside |= set(message.input) - own
        for nested in networks(message):
            outside |= reads(nested) - own
        own |= set(message.output)
    return outside


def kinds(layers: Sequence[Any]) -> Iterator[str]:
    """The kinds of layers, those in nested networks too."""
    for message in layers:
        yield message.WhichOneof("layer") or ""
        for nested in networks(message):
            yield from kinds(nested)


def may_end(message: Any, ending: tuple[str, ...] = ("loopBreak", "loopContinue")) -> bool:
    """Whether a layer may end the iteration that it is in: those of loops inside it end their own."""
    kind = message.WhichOneof("layer")
    if kind == "branch":
        return any(may_end(inner, ending) for nested in networks(message) for inner in nested)
    return kind in ending


def may_break(layers: Sequence[Any]) -> bool:
    """Whether layers may end the loop that they are in."""
    return any(may_end(message, ("loopBreak",)) for message in layers)


def never_ends(condition: Sequence[Any], body: Sequence[Any], variable: str) -> bool:
    """Whether a loop without a limit can't end after it has begun: it has no break, and its condition never changes."""
    changed = set(writes(condition)) | set(writes(body))
    needed = reads(condition) if variable in writes(condition) else {variable, *reads(condition)}
    predictable = not any(kind.startswith(_UNPREDICTABLE) for kind in kinds(condition))
    return not may_break(body) and predictable and not needed & changed
