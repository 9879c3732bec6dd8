"""The orders in which lists of rules are applied."""

from __future__ import annotations

from moka.ir.program import Function
from moka.ir.rewrite import rewrite
from moka.passes import activations, layout, padding, ranks
from moka.passes.matching import dispatch

__all__ = ["simplify"]

_SIMPLER = [dispatch(ranks.RULES, layout.RULES, activations.RULES, padding.RULES)]


def simplify(function: Function) -> int:
    """Makes a function, in place, into one that computes the same in fewer steps; gives the number of operations replaced."""
    return rewrite(function, _SIMPLER)
