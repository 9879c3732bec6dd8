"""Arithmetic of two blobs with broadcasting, and blobs broadcast to a shape."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import broadcast_rank, known_rank, numbers, shape_of
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _binary(kind: str, operation: str) -> None:
    """Enters an operation on two blobs that broadcast."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value, y: Value) -> Value:
        return net.emit(operation, rank=broadcast_rank(x, y), x=x, y=y)


_binary("addBroadcastable", "add")
_binary("subtractBroadcastable", "sub")
_binary("multiplyBroadcastable", "mul")
_binary("divideBroadcastable", "real_div")
_binary("floorDivBroadcastable", "floor_div")
_binary("modBroadcastable", "mod")
_binary("powBroadcastable", "pow")
_binary("maxBroadcastable", "maximum")
_binary("minBroadcastable", "minimum")


@layer("whereBroadcastable")
def where_broadcastable(net: NetworkBuilder, params: Any, condition: Value, x: Value, y: Value) -> Value:
    """x where the condition is not 0, else y."""
    return net.emit("select", rank=broadcast_rank(condition, x, y), cond=net.cast(condition, "bool"), a=x, b=y)


@layer("broadcastToStatic")
def broadcast_to_static(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The blob in the shape targetShape."""
    return net.emit("nn_broadcast_to", rank=len(params.targetShape), x=x, shape=_ints(params.targetShape))


@layer("broadcastToLike")
def broadcast_to_like(net: NetworkBuilder, params: Any, x: Value, reference: Value) -> Value:
    """The blob in the shape of another."""
    return net.emit("nn_broadcast_to", rank=known_rank(reference), x=x, shape=shape_of(net, reference))


@layer("broadcastToDynamic")
def broadcast_to_dynamic(net: NetworkBuilder, params: Any, x: Value, target: Value) -> Value:
    """The blob in a computed shape."""
    shape, rank = numbers(net, target)
    return net.emit("nn_broadcast_to", rank=rank, x=x, shape=shape)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]
