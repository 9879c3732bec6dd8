"""Where to draw the nodes and edges of a graph: in layers from top to bottom, each node below all that it takes from."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["HEIGHT", "WIDTH", "Drawing", "layout"]

WIDTH, HEIGHT = 190, 36
_ROW = 64
_GAP = 22
_BEND = 12
"""Room that an edge takes where it passes a layer."""

_LONGEST = 12
"""Layers that an edge may pass with room of its own; longer ones are drawn across what lies between."""

_SWEEPS = 4


@dataclass(frozen=True)
class Drawing:
    """Upper left corners of nodes, points of edges, by names, and the size of it all."""

    nodes: Mapping[str, tuple[float, float]]
    edges: Mapping[tuple[str, str], tuple[tuple[float, float], ...]]
    width: float
    height: float


class _Layers:
    """Names and bends by layer, with links from each item to those above and below it."""

    def __init__(self, takes: Mapping[str, Sequence[str]]) -> None:
        self.rank: dict[object, int] = {}
        self.above: dict[object, list[object]] = defaultdict(list)
        self.below: dict[object, list[object]] = defaultdict(list)
        self.chains: dict[tuple[str, str], list[object]] = {}
        for name, sources in takes.items():  # in the program's order: what is taken comes before
            self.rank[name] = max((self.rank[source] + 1 for source in sources if source in self.rank), default=0)
        for name, sources in takes.items():
            for source in dict.fromkeys(sources):
                if self.rank.get(source, self.rank[name]) < self.rank[name]:  # a profile read from a file may go in circles
                    self._link(source, name)
        self.rows: list[list[object]] = [[] for _ in range(max(self.rank.values(), default=-1) + 1)]
        for item, rank in self.rank.items():
            self.rows[rank].append(item)

    def _link(self, source: str, name: str) -> None:
        between = range(self.rank[source] + 1, self.rank[name])
        bends: list[object] = [(source, name, rank) for rank in between] if len(between) <= _LONGEST else []
        self.rank |= dict(zip(bends, between, strict=False))
        chain = [source, *bends, name]
        self.chains[source, name] = chain
        for upper, lower in itertools.pairwise(chain):
            self.above[lower].append(upper)
            self.below[upper].append(lower)


def layout(takes: Mapping[str, Sequence[str]]) -> Drawing:
    """A drawing of nodes by name, in an order in which each comes after all that it takes from; other names are left out."""
    layers = _Layers(takes)
    for sweep in range(_SWEEPS):
        _order(layers, down=sweep % 2 == 0)
    centres = _place(layers)
    left = min((x - _width(item) / 2 for item, x in centres.items()), default=0.0) - _GAP
    points = {item: (x - left, layers.rank[item] * _ROW + _GAP) for item, x in centres.items()}
    nodes = {name: (x - WIDTH / 2, y) for name in takes for x, y in [points[name]]}
    edges = {pair: _points(chain, points) for pair, chain in layers.chains.items()}
    width = max((x + _width(item) / 2 for item, (x, _) in points.items()), default=0.0) + _GAP
    return Drawing(nodes, edges, width, len(layers.rows) * _ROW + _GAP)


def _width(item: object) -> float:
    return WIDTH if isinstance(item, str) else _BEND


def _order(layers: _Layers, down: bool) -> None:
    """Puts each layer's items in the order of the mean position of their neighbours in the layer before."""
    links = layers.above if down else layers.below
    position = {item: index for row in layers.rows for index, item in enumerate(row)}
    for row in layers.rows if down else reversed(layers.rows):
        means = {item: _mean([position[other] for other in links[item]], position[item]) for item in row}
        row.sort(key=lambda item: means[item])
        position.update({item: index for index, item in enumerate(row)})


def _place(layers: _Layers) -> dict[object, float]:
    """Centres: below the mean of what is above where there is room, side by side where there is not."""
    centres: dict[object, float] = {}
    for row in layers.rows:
        wanted = [_mean([centres[other] for other in layers.above[item]], 0.0) for item in row]
        found: list[float] = []
        edge = -1e9
        for item, x in zip(row, wanted, strict=True):
            found.append(max(x, edge + _width(item) / 2))
            edge = found[-1] + _width(item) / 2 + _GAP
        shift = _mean([x - y for x, y in zip(wanted, found, strict=True)], 0.0)
        centres.update(zip(row, (x + shift for x in found), strict=True))
    return centres


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _points(chain: Sequence[object], points: Mapping[object, tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """From the lower edge of the first node through the bends to the upper edge of the last."""
    (x, y), *inner, end = (points[item] for item in chain)
    bends = [point for across, top in inner for point in ((across, top), (across, top + HEIGHT))]
    return ((x, y + HEIGHT), *bends, end)
