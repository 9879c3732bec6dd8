"""Comparisons and logic: 1 for true, 0 for false; any number but 0 counts as true."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import broadcast_rank
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _truth(net: NetworkBuilder, operation: str, blobs: tuple[Value, ...], **inputs: Any) -> Value:
    """An operation with a boolean result, as a blob."""
    (result,) = net.emit_all(operation, 1, rank=broadcast_rank(*blobs), dtype="bool", **inputs)
    return net.cast(result, "fp32")


def _comparison(kind: str, operation: str) -> None:
    """Enters a comparison of two blobs, or of one with the layer's alpha."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value, y: Value | None = None) -> Value:
        return _truth(net, operation, (x,) if y is None else (x, y), x=x, y=params.alpha if y is None else y)


def _logic(kind: str, operation: str) -> None:
    """Enters a logical operation on two blobs."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value, y: Value) -> Value:
        return _truth(net, operation, (x, y), x=net.cast(x, "bool"), y=net.cast(y, "bool"))


_comparison("equal", "equal")
_comparison("notEqual", "not_equal")
_comparison("lessThan", "less")
_comparison("lessEqual", "less_equal")
_comparison("greaterThan", "greater")
_comparison("greaterEqual", "greater_equal")

_logic("logicalAnd", "logical_and")
_logic("logicalOr", "logical_or")
_logic("logicalXor", "logical_xor")


@layer("logicalNot")
def logical_not(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """1 where the blob is 0, else 0."""
    return _truth(net, "logical_not", (x,), x=net.cast(x, "bool"))
