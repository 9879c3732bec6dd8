"""A network as a program: inputs mapped to blobs, preprocessing, the layers in order, outputs mapped back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.importers.neural_network import layers as _layers  # noqa: F401  enters the translations
from moka.importers.neural_network.builder import OPSET, NetworkBuilder
from moka.importers.neural_network.preprocessing import preprocess
from moka.importers.neural_network.translation import translate
from moka.importers.neural_network.weights import WeightStore
from moka.ir.program import Block, Function, Program, Value
from moka.ir.types import DictionaryType, TensorType, Type

__all__ = ["Network", "import_network", "translate_network"]


@dataclass
class Network:
    """A network as its file states it, with the weights decoded so far.

    Attributes:
        message: ``NeuralNetwork``, ``NeuralNetworkClassifier`` or ``NeuralNetworkRegressor``.
        inputs: names of the model's inputs, in order.
        images: of those that are images, the order of colours: ``RGB``, ``BGR`` or ``GRAYSCALE``.
        outputs: names of the model's outputs, in order, with the shape that the file declares, where it declares one.
        predicted, probabilities: names of the outputs that a classifier's label and probabilities go to; empty otherwise.
    """

    message: Any
    inputs: Sequence[str]
    images: Mapping[str, str]
    outputs: Mapping[str, tuple[int, ...] | None]
    predicted: str = ""
    probabilities: str = ""
    weights: WeightStore = field(default_factory=WeightStore)

    @property
    def rank5(self) -> bool:
        """Whether arrays become blobs with five axes: sequence, batch, channel, height, width."""
        return bool(self.message.arrayInputShapeMapping == 0)

    @property
    def rank5_images(self) -> bool:
        """Whether images become blobs with five axes."""
        return bool(self.message.imageInputShapeMapping == 0)

    @property
    def labels(self) -> list[str] | list[int] | None:
        """A classifier's labels, in the order of its probabilities; None for what is no classifier."""
        if self.message.DESCRIPTOR.name != "NeuralNetworkClassifier":
            return None
        kind = self.message.WhichOneof("ClassLabels")
        labels = list(getattr(self.message, kind).vector) if kind else []
        if not labels:
            raise ProgramError("classLabels: the classifier has none; expected stringClassLabels or int64ClassLabels")
        return labels


def import_network(network: Network, shapes: Mapping[str, Sequence[int]]) -> Program:
    """The program of a network for the given shapes of its inputs, as users give them (images as [1, channels, height, width]).

    Raises:
        UnsupportedError: a kind of layer that no translation is known for.
        ProgramError: a layer reads a blob that nothing writes, or its parameters break its rules.
    """
    net = NetworkBuilder(rank5=network.rank5, weights=network.weights)
    inputs = translate_network(net, network, shapes)
    outputs = list(_outputs(net, network))
    function = Function("main", inputs, OPSET, Block(operations=net.operations, outputs=outputs))
    return Program({"main": function})


def translate_network(net: NetworkBuilder, network: Network, shapes: Mapping[str, Sequence[int]]) -> list[Value]:
    """Everything from the program's inputs, which are returned, to the blobs of the last layer; errors as in `import_network`."""
    inputs = [net.input(name, TensorType(dtypes.FP32, tuple(shapes[name]))) for name in network.inputs]
    net.reserve(network.outputs)
    for name, value in zip(network.inputs, inputs, strict=True):
        net.blobs[name] = _to_blob(net, network, name, value)
    preprocess(net, network.message.preprocessing, network.images)
    translate(net, network.message.layers)
    return inputs


def _to_blob(net: NetworkBuilder, network: Network, name: str, value: Value) -> Value:
    """An input as the network's blob: with five axes where the network wants them, else as it is."""
    shape = net.static_shape(value)
    if name in network.images:
        return net.emit("expand_dims", x=value, axes=[0]) if network.rank5_images else value
    if not network.rank5 or len(shape) == 5:
        return value
    places = {1: [1, 1, *shape, 1, 1], 3: [1, 1, *shape]}
    if len(shape) not in places:
        raise ProgramError(f"input {name!r} has shape {list(shape)}; a network of this age takes [C], [C, H, W] or [S, B, C, H, W]")
    return net.emit("reshape", x=value, shape=places[len(shape)])


def _outputs(net: NetworkBuilder, network: Network) -> Iterable[Value]:
    """The program's outputs, in the order of the network's; a classifier's label and probabilities come from its last operation."""
    classified = _classified(net, network)
    for name, shape in network.outputs.items():
        value = classified[name] if name in classified else _to_output(net, network, name, shape)
        value.name = name
        yield value


def _to_output(net: NetworkBuilder, network: Network, name: str, declared: tuple[int, ...] | None) -> Value:
    """A blob as users see it: with the declared shape or rank where the blob's axes fit it, else as it is; never without axes."""
    if name not in net.blobs:
        raise ProgramError(f"output {name!r} is a blob that no layer writes")
    value = net.blobs[name]
    rank = value.type.rank if isinstance(value.type, TensorType) else None
    shape = None
    if declared and net.rank5 and rank == 5:
        shape = _shown(net.shape(value), declared)
    elif declared and network.images and rank == len(declared) + 1:
        shape = _without_batch(net.shape(value), declared)
    if rank == 0:
        shape = [1]
    return net.emit("identity", rank=rank, x=value) if shape is None else net.emit("reshape", x=value, shape=shape)


def _without_batch(shape: Sequence[Any], declared: tuple[int, ...]) -> list[int] | None:
    """A declared shape, if it is as good for a blob of an image that has the image's first axis, of size 1, in front."""
    sizes = [size for size in shape if isinstance(size, int)]
    return list(declared) if len(sizes) == len(shape) and sizes[0] == 1 and math.prod(sizes) == math.prod(declared) else None


def _shown(shape: Sequence[Any], declared: tuple[int, ...]) -> list[int] | None:
    """A five-axis shape as a declared one: the same if the number of elements is, else of its rank if only axes of size 1 go."""
    if not all(isinstance(size, int) for size in shape):
        return None
    if math.prod(shape) == math.prod(declared):
        return list(declared)
    if len(declared) == 3 and shape[0] == shape[1] == 1:
        return list(shape[2:])
    if len(declared) == 1 and math.prod(shape) == shape[2]:
        return [shape[2]]
    return None


def _classified(net: NetworkBuilder, network: Network) -> dict[str, Value]:
    """A classifier's label and probabilities by output name."""
    labels = network.labels
    if labels is None:
        return {}
    layers = network.message.layers
    blob = network.message.labelProbabilityLayerName or (layers[-1].output[0] if layers and layers[-1].output else "")
    if blob not in net.blobs:
        raise ProgramError(f"labelProbabilityLayerName: the blob {blob!r} with the probabilities is one that no layer writes")
    value = net.blobs[blob]
    sizes = net.shape(value)
    if all(isinstance(size, int) for size in sizes) and math.prod(net.static_shape(value)) != len(labels):
        raise ProgramError(f"classLabels: there are {len(labels)} labels, but {blob!r} has the shape {list(sizes)}")
    key = TensorType(dtypes.STRING if isinstance(labels[0], str) else dtypes.INT64)
    types: list[Type] = [key, DictionaryType(key, TensorType(dtypes.FP64))]
    results = net.emit_blocks("classify", [], types, probabilities=value, classes=_label_constant(net, labels))
    return dict(zip((network.predicted, network.probabilities), results, strict=True))


def _label_constant(net: NetworkBuilder, labels: list[Any]) -> Any:
    return net.constant(labels) if isinstance(labels[0], str) else net.constant(labels, dtypes.INT64)
