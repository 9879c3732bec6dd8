"""A network as a program: inputs mapped to blobs, preprocessing, the layers in order, outputs mapped back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moka.errors import ProgramError, UnsupportedError
from moka.formats import dtypes
from moka.importers.neural_network import layers as _layers  # noqa: F401  enters the translations
from moka.importers.neural_network.builder import OPSET, NetworkBuilder
from moka.importers.neural_network.registry import LAYERS
from moka.importers.neural_network.weights import WeightStore
from moka.ir.program import Block, Function, Program, Value
from moka.ir.types import TensorType

__all__ = ["Network", "import_network"]


@dataclass
class Network:
    """A network as its file states it, with the weights decoded so far.

    Attributes:
        message: ``NeuralNetwork``, ``NeuralNetworkClassifier`` or ``NeuralNetworkRegressor``.
        inputs: names of the model's inputs, in order; ``images`` are those that are images.
        outputs: names of the blobs that are the model's outputs, in order, with the rank that users see, where the file declares one.
        rank5: whether blobs have five axes: sequence, batch, channel, height, width.
    """

    message: Any
    inputs: Sequence[str]
    images: frozenset[str]
    outputs: Mapping[str, int | None]
    weights: WeightStore = field(default_factory=WeightStore)

    @property
    def rank5(self) -> bool:
        return bool(self.message.arrayInputShapeMapping == 0)

    @property
    def rank5_images(self) -> bool:
        return bool(self.message.imageInputShapeMapping == 0)


def import_network(network: Network, shapes: Mapping[str, Sequence[int]]) -> Program:
    """The program of a network for the given shapes of its inputs, as users give them (images as [1, channels, height, width]).

    Raises:
        UnsupportedError: a kind of layer that no translation is known for.
        ProgramError: a layer reads a blob that nothing writes, or its parameters break its rules.
    """
    net = NetworkBuilder(rank5=network.rank5, weights=network.weights)
    inputs = [net.input(name, TensorType(dtypes.FP32, tuple(shapes[name]))) for name in network.inputs]
    for value in inputs:
        net.blobs[value.name] = _to_blob(net, network, value)
    translate(net, network.message.layers)
    outputs = [_to_output(net, name, rank) for name, rank in network.outputs.items()]
    function = Function("main", inputs, OPSET, Block(operations=net.operations, outputs=outputs))
    return Program({"main": function})


def _to_blob(net: NetworkBuilder, network: Network, value: Value) -> Value:
    """An input as the network's blob: with five axes where the network wants them, else as it is."""
    shape = net.static_shape(value)
    image = value.name in network.images
    if image and network.rank5_images:
        return net.emit("expand_dims", x=value, axes=[0])
    if image or not network.rank5 or len(shape) == 5:
        return value
    if len(shape) not in (1, 3):
        raise ProgramError(f"input {value.name!r} has shape {list(shape)}; a network of this age takes [C], [C, H, W] or [S, B, C, H, W]")
    return net.emit("reshape", x=value, shape=[1, 1, *shape] if len(shape) == 3 else [1, 1, shape[0], 1, 1])


def _to_output(net: NetworkBuilder, name: str, rank: int | None) -> Value:
    """A blob as the model's output, under the output's name."""
    if name not in net.blobs:
        raise ProgramError(f"output {name!r} is a blob that no layer writes")
    value = net.blobs[name]
    return net.emit("identity", x=value)


def translate(net: NetworkBuilder, messages: Sequence[Any]) -> None:
    """Translates layers in order; what they write goes to ``net.blobs``."""
    for message in messages:
        outer, net.layer = net.layer, message
        kind = message.WhichOneof("layer")
        translation = LAYERS.get(kind)
        if translation is None:
            raise UnsupportedError(f"layer {message.name!r} is of the kind {kind}, which Moka has no translation for")
        result = translation(net, getattr(message, kind), *[_read(net, name) for name in message.input])
        results = [result] if isinstance(result, Value) else list(result)
        if len(results) != len(message.output):
            raise ProgramError(f"{net.origin} has {len(message.output)} outputs; expected {len(results)}")
        net.blobs.update(zip(message.output, results, strict=True))
        net.layer = outer


def _read(net: NetworkBuilder, name: str) -> Value:
    if name not in net.blobs:
        raise ProgramError(f"{net.origin} reads the blob {name!r}, which no input and no earlier layer writes")
    return net.blobs[name]
