"""Which operation of the program the nodes of a runtime's graph came from, by the names that lowering gave to nodes and values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from moka.engines.base import Segment
from moka.engines.onnx.graph import OF_OPERATION
from moka.engines.onnx.lower import Lowered
from moka.engines.times import own_operations

__all__ = ["Node", "Owners"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a runtime's graph: its name, and the names of what it takes and gives."""

    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]


class Owners:
    """The operations of a lowered segment, found by the names of nodes and values; those in nested blocks count as the outer one."""

    def __init__(self, lowered: Lowered) -> None:
        self._operations = dict(_names(lowered.segment))
        makers = {port.operand.name: port.value.producer for port in lowered.outputs}
        self._results = {name: self._operations.get(maker.name) for name, maker in makers.items() if maker is not None}

    def named(self, text: str) -> str | None:
        """The operation that a name of a node or value contains; runtimes put words before and after."""
        name, marked, _ = text.partition(OF_OPERATION)
        if not marked:
            return self._results.get(text)
        starts = [0, *(index + 1 for index, letter in enumerate(name) if not letter.isalnum())]
        return next((self._operations[name[start:]] for start in starts if name[start:] in self._operations), None)

    def of(self, nodes: Sequence[Node]) -> dict[str, str]:
        """The operation of each node of a graph in order of execution, as far as there is one.

        A node that has no operation's name, nor gives a value that has, works for the first one that takes what it gives.
        """
        found: dict[str, str] = {}
        users: dict[str, str] = {}
        for node in reversed(nodes):
            names = map(self.named, (node.name, *node.gives))
            owner = next((name for name in names if name), None) or next((users[value] for value in node.gives if value in users), None)
            if owner is not None:
                found[node.name] = owner
                users.update(dict.fromkeys(node.takes, owner))
        return found

    def all_named(self, texts: Iterable[str]) -> list[str]:
        """The operations of several names, each once."""
        return [name for name in dict.fromkeys(map(self.named, texts)) if name]


def _names(segment: Segment) -> Iterator[tuple[str, str]]:
    for operation in own_operations(segment):
        yield from ((inner.name, operation.name) for block in operation.blocks for inner in block.walk())
        yield operation.name, operation.name
