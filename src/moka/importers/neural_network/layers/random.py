"""Random numbers, in the shape of a blob, in a stated shape, or in a computed one. A seed of 0 or more repeats, -1 does not."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import known_rank, numbers, shape_of
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _distribution(kind: str, operation: str, **fields: str) -> None:
    """Enters the three layers of a distribution; ``fields`` are MIL's names of its parameters and the layer's."""

    def draw(net: NetworkBuilder, params: Any, shape: Any, rank: int | None) -> Value:
        inputs = {name: getattr(params, field) for name, field in fields.items()}
        value = net.emit(operation, rank=rank, shape=shape, seed=params.seed, **inputs)
        net.shapes.enter(value)  # its shape may be known, its content is not: each run draws anew
        return value

    @layer(f"{kind}Static")
    def static(net: NetworkBuilder, params: Any) -> Value:
        return draw(net, params, [int(size) for size in params.outputShape], len(params.outputShape))

    @layer(f"{kind}Like")
    def like(net: NetworkBuilder, params: Any, reference: Value) -> Value:
        return draw(net, params, shape_of(net, reference), known_rank(reference))

    @layer(f"{kind}Dynamic")
    def dynamic(net: NetworkBuilder, params: Any, target: Value) -> Value:
        return draw(net, params, *numbers(net, target))


_distribution("randomNormal", "random_normal", mean="mean", stddev="stdDev")
_distribution("randomUniform", "random_uniform", low="minVal", high="maxVal")
_distribution("randomBernoulli", "random_bernoulli", prob="prob")


@layer("categoricalDistribution")
def categorical_distribution(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Draws of positions along the last axis, by probabilities or logits; a temperature above 1 evens the odds out."""
    rank = known_rank(x)
    if not params.isLogits:
        x = net.emit("log", rank=rank, x=x, epsilon=params.eps or 1e-10)
    if params.temperature not in (0, 1):
        x = net.emit("real_div", rank=rank, x=x, y=params.temperature)
    value = net.emit("random_categorical", rank=rank, x=x, mode="logits", size=params.numSamples, seed=params.seed)
    net.shapes.enter(value)
    return value
