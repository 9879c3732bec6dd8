"""A network as a program to train: the weights that learn are inputs of it, and what the loss layers read are its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.formats.updates import Loss, TrainableWeight
from moka.importers.neural_network.builder import OPSET, NetworkBuilder
from moka.importers.neural_network.network import Network, translate_network
from moka.importers.neural_network.weights import WeightStore
from moka.ir.program import Block, Function, Value
from moka.ir.types import TensorType

__all__ = ["import_training"]


class _LearningWeights(WeightStore):
    """Gives inputs of the program for weights that learn, arrays for all others."""

    def __init__(self, fixed: WeightStore, network: Any, learning: Sequence[TrainableWeight]) -> None:
        super().__init__()
        self.net: NetworkBuilder | None = None
        self._fixed = fixed
        self._learning = {id(weight.message(network)): weight for weight in learning}
        self.values: dict[TrainableWeight, Value] = {}

    def read(self, message: Any, shape: Sequence[int], where: str, *, axis: int = 0) -> Any:
        array = self._fixed.read(message, shape, where, axis=axis)
        weight = self._learning.get(id(message))
        if weight is None or self.net is None:
            return array
        if weight not in self.values:
            self.values[weight] = self.net.input(f"{weight.layer}.{weight.field}", TensorType(dtypes.FP32, array.shape))
        return self.values[weight]


def import_training(
    network: Network, shapes: Mapping[str, Sequence[int]], learning: Sequence[TrainableWeight], reads: Sequence[Loss]
) -> Function:
    """The function from the network's inputs and the learning weights, in their order, to what each loss layer compares.

    For the mean squared error that is the blob; for the categorical cross entropy it is what went into the softmax that made the
    blob, from which the logarithm of a probability is exact even where the probability itself is too small for a float.

    Raises:
        ProgramError: as `import_network`; a loss layer reads what is no blob, or what no softmax made; weights that are not used.
    """
    store = _LearningWeights(network.weights, network.message, learning)
    net = NetworkBuilder(rank5=network.rank5, weights=store)
    store.net = net
    inputs = translate_network(net, network, shapes)
    if unused := [weight for weight in learning if weight not in store.values]:
        raise ProgramError(f"layer {network.message.layers[unused[0].layer].name!r}: its updatable {unused[0].field} are not used")
    outputs = [net.emit("identity", x=_compared(net, loss)) for loss in reads]
    weights = [store.values[weight] for weight in learning]
    return Function("training", [*inputs, *weights], OPSET, Block(operations=net.operations, outputs=outputs))


def _compared(net: NetworkBuilder, loss: Loss) -> Value:
    if loss.input not in net.blobs:
        raise ProgramError(f"loss layer {loss.name!r} reads {loss.input!r}, which no layer writes")
    blob = net.blobs[loss.input]
    if loss.kind == "mean_squared_error":
        return blob
    softmax = blob.producer
    if softmax is None or softmax.type != "softmax":
        raise ProgramError(f"loss layer {loss.name!r} reads {loss.input!r}; expected the output of a softmax layer")
    shape = net.static_shape(blob)
    axis = int(softmax.inputs["axis"][0].value)  # type: ignore[union-attr]  # the builder made it a constant
    if any(size != 1 for place, size in enumerate(shape) if place != axis % len(shape)):
        raise ProgramError(f"loss layer {loss.name!r} reads {loss.input!r} of shape {list(shape)}; expected one vector of probabilities")
    (scores,) = softmax.inputs["x"]
    assert isinstance(scores, Value)
    return scores
