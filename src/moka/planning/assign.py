"""Which candidate runs which operation: the shortest path through a program in its order.

A point of the path is an operation on a candidate, at the cost of running it there. A step from one candidate to another costs the
launch of a segment and the transfer of every value that is computed before and used after it. So a model is not torn into fragments
that cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Chain", "shortest_path"]


@dataclass(frozen=True)
class Chain:
    """A program as what a path runs through.

    Attributes:
        costs: seconds of each operation on each candidate; infinity where it can't run.
        launch: seconds that a segment on each candidate costs.
        crossing: seconds that going from one candidate to another costs before an operation, or after the last; None is the host.
        tied: operations that have to be on one candidate, all of them.
    """

    costs: Sequence[Sequence[float]]
    launch: Sequence[float]
    crossing: Callable[[int, int | None, int | None], float]
    tied: frozenset[int] = frozenset()


def shortest_path(chain: Chain) -> list[int] | None:
    """The candidate of each operation, at the least cost in all; the earlier candidate where costs are equal. None if there is no way."""
    candidates = range(len(chain.launch))
    best: tuple[float, list[int]] | None = None
    for choice in candidates if chain.tied else [None]:
        found = _path(chain, choice)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return None if best is None else best[1]


def _path(chain: Chain, choice: int | None) -> tuple[float, list[int]] | None:
    """The path with all that is tied on candidate ``choice``."""
    candidates = range(len(chain.launch))
    totals = [chain.launch[candidate] + chain.crossing(0, None, candidate) for candidate in candidates]
    before: list[list[int]] = []
    for index, costs in enumerate(chain.costs):
        own = [math.inf if index in chain.tied and candidate != choice else costs[candidate] for candidate in candidates]
        totals, came = _step(chain, index, totals) if index else (totals, list(candidates))
        totals = [total + cost for total, cost in zip(totals, own, strict=True)]
        before.append(came)
    ends = [total + chain.crossing(len(chain.costs), candidate, None) for candidate, total in enumerate(totals)]
    last = min(candidates, key=ends.__getitem__, default=0)
    if not ends or math.isinf(ends[last]):
        return None
    return ends[last], _back(before, last)


def _step(chain: Chain, index: int, totals: list[float]) -> tuple[list[float], list[int]]:
    """Before an operation: for each candidate the least cost to be there, and where that comes from."""
    reached, came = [], []
    for candidate in range(len(totals)):
        ways = [
            total if other == candidate else total + chain.launch[candidate] + chain.crossing(index, other, candidate)
            for other, total in enumerate(totals)
        ]
        source = min(range(len(ways)), key=lambda other: (ways[other], other != candidate))
        reached.append(ways[source])
        came.append(source)
    return reached, came


def _back(before: list[list[int]], last: int) -> list[int]:
    path = []
    for came in reversed(before):
        path.append(last)
        last = came[last]
    return path[::-1]
