"""A network as a program to train: the weights that learn are inputs of it, and what the loss layers read are its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.importers.neural_network.builder import OPSET, NetworkBuilder
from moka.importers.neural_network.network import Network, translate_network
from moka.importers.neural_network.weights import WeightStore
from moka.ir.program import Block, Function, Value
from moka.ir.types import TensorType

__all__ = ["Loss", "TrainableWeight", "import_training", "losses", "trainable_weights"]


@dataclass(frozen=True)
class TrainableWeight:
    """One message of weights that learn.

    Attributes:
        layer, field: index of the layer in the network, and the field of its own message.
    """

    layer: int
    field: str

    def message(self, network: Any) -> Any:
        """The ``WeightParams`` in a ``NeuralNetwork`` message or its kin."""
        layer = network.layers[self.layer]
        return getattr(getattr(layer, layer.WhichOneof("layer")), self.field)


@dataclass(frozen=True)
class Loss:
    """A loss layer: ``kind`` is ``categorical_cross_entropy`` or ``mean_squared_error``; the blob that it reads, and the target's name."""

    name: str
    kind: str
    input: str
    target: str


_LOSSES = {
    "categoricalCrossEntropyLossLayer": "categorical_cross_entropy",
    "meanSquaredErrorLossLayer": "mean_squared_error",
}

_UPDATABLE = {"convolution": "hasBias", "innerProduct": "hasBias"}
"""Kinds of layers that may learn, with the field that says whether they have a bias."""


def losses(network: Any) -> list[Loss]:
    """The loss layers of a network's message.

    Raises:
        ProgramError: there is none, or one of a kind that the format does not define.
    """
    found = []
    for message in network.updateParams.lossLayers:
        kind = message.WhichOneof("LossLayerType")
        if kind not in _LOSSES:
            raise ProgramError(f"loss layer {message.name!r}: its kind is not set; expected one of {', '.join(_LOSSES)}")
        body = getattr(message, kind)
        found.append(Loss(message.name, _LOSSES[kind], body.input, body.target))
    if not found:
        raise ProgramError("updateParams.lossLayers: the network has no loss layer; an updatable one has one or more")
    return found


def trainable_weights(network: Any) -> list[TrainableWeight]:
    """Weights and biases that are marked updatable, in layers that are.

    Raises:
        ProgramError: a layer of a kind that can't learn is marked, or weights that are not float32, or none are.
    """
    found = [weight for index, layer in enumerate(network.layers) if layer.isUpdatable for weight in _of_layer(index, layer)]
    if not found:
        raise ProgramError("layers: no weights are marked updatable, in the layer and in the weights themselves")
    for weight in found:
        if not weight.message(network).floatValue:
            raise ProgramError(f"layer {network.layers[weight.layer].name!r}: {weight.field} is updatable; expected float32 weights")
    return found


def _of_layer(index: int, layer: Any) -> list[TrainableWeight]:
    kind = layer.WhichOneof("layer")
    if kind not in _UPDATABLE:
        raise ProgramError(f"layer {layer.name!r} ({kind}) is marked updatable; only {' and '.join(_UPDATABLE)} layers can be")
    params = getattr(layer, kind)
    fields = ["weights", "bias"] if getattr(params, _UPDATABLE[kind]) else ["weights"]
    return [TrainableWeight(index, field) for field in fields if getattr(params, field).isUpdatable]


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
