"""Which candidate runs which operation: the shortest path through a program in its order.

A point of the path is an operation on a candidate, at the cost of running it there. A step from one candidate to another costs the
launch of a segment and the transfer of every value that is computed before and used after it. So a model is not torn into fragments
that cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Chain", "assign", "shortest_path"]


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


def assign(chain: Chain, margin: float = 0.0) -> list[int] | None:
    """The candidate of each operation: those of the shortest path, or of a simpler plan that is nearly as good. None if there is no way.

    Args:
        margin: the share of its cost by which the shortest path must beat the best plan that has one candidate run all it can: a
            difference smaller than the error of the costs is no reason for another segment.
    """
    best = shortest_path(chain)
    plain = [found for candidate in range(len(chain.launch)) if (found := shortest_path(_mostly(chain, candidate))) is not None]
    if best is None or not plain:
        return None if best is None else best[1]
    simple = min(plain, key=lambda found: found[0])
    return simple[1] if simple[0] * (1 - margin) <= best[0] else best[1]


def _mostly(chain: Chain, candidate: int) -> Chain:
    """The chain with one candidate for all that it can run."""
    costs = [
        row if math.isinf(row[candidate]) else [cost if index == candidate else math.inf for index, cost in enumerate(row)]
        for row in chain.costs
    ]
    return replace(chain, costs=costs)


def shortest_path(chain: Chain) -> tuple[float, list[int]] | None:
    """The least cost in all, and the candidate of each operation for it; the earlier one where costs are equal. None if there is no way."""
    candidates = range(len(chain.launch))
    best: tuple[float, list[int]] | None = None
    for choice in candidates if chain.tied else [None]:
        found = _path(chain, choice)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return best


def _path(chain: Chain, choice: int | None) -> tuple[float, list[int]] | None:
    """The path with all that is tied on candidate ``choice``."""
    candidates = range(len(chain.launch))
    totals = [chain.launch[candidate] + chain.crossing(0, None, candidate) for candidate in candidates]
    before: list[list[int]] = []
    for index, costs in enumerate(chain.costs):
        own = [math.inf if index in chain.tied and candidate != choice else costs[candidate] for candidate in candidates]
        totals, came = _step(chain, index, totals, own) if index else (totals, list(candidates))
        totals = [total + cost for total, cost in zip(totals, own, strict=True)]
        before.append(came)
    ends = [total + chain.crossing(len(chain.costs), candidate, None) for candidate, total in enumerate(totals)]
    last = min(candidates, key=ends.__getitem__, default=0)
    if not ends or math.isinf(ends[last]):
        return None
    return ends[last], _back(before, last)


def _step(chain: Chain, index: int, totals: list[float], own: list[float]) -> tuple[list[float], list[int]]:
    """Before an operation: for each candidate that can run it the least cost to be there, and where that comes from."""
    reached, came = [math.inf] * len(own), list(range(len(own)))
    for candidate, cost in enumerate(own):
        if math.isinf(cost):
            continue
        best = totals[candidate]
        for other, total in enumerate(totals):
            if other != candidate and total < best:
                way = total + chain.launch[candidate] + chain.crossing(index, other, candidate)
                if way < best:
                    best, came[candidate] = way, other
        reached[candidate] = best
    return reached, came


def _back(before: list[list[int]], last: int) -> list[int]:
    path = []
    for came in reversed(before):
        path.append(last)
        last = came[last]
    return path[::-1]
