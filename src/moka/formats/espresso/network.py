"""A compiled network back to a specification: the ``NeuralNetwork`` message of which the compiler made it, as far as it tells.

What the compiler folded stays folded: a batch norm that became part of a convolution's weights, padding that became part of its
amounts. An activation that became part of a layer is a layer again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.espresso import layers as _layers  # noqa: F401  enters the readers
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, BlobShape, EspressoWeights, Net, read_net, read_shapes
from moka.formats.espresso.own_form import PREPROCESSING_KEY, nested_outputs, read_own_form, read_own_preprocessing
from moka.formats.espresso.preprocessing import read_preprocessing
from moka.formats.espresso.reading import KIND_KEY, READERS, CompiledLayer, CompiledNetwork

__all__ = ["read_network"]

_KNOWN_KEYS = frozenset(
    {
        "analyses",
        "configurations",
        "format_version",
        "layers",
        "metadata_in_weights",
        "properties",
        "storage",
        "transform_params",
        PREPROCESSING_KEY,
    }
)
"""What a net may hold; configurations are shapes to run with, analyses, properties and metadata say nothing of what it computes."""


def read_network(folder: Path, description: Any = None) -> Any:
    """The ``NeuralNetwork`` message of a compiled network.

    Args:
        folder: the compiled model, or the folder of one stage of a pipeline.
        description: the model's ``ModelDescription`` message, whose inputs the layers are checked against; without one,
            inputs are the blobs that layers read and none before writes, and images those that the net transforms.

    Raises:
        FormatError: a file that is missing or damaged, or a layer that breaks the format.
        UnsupportedError: a type of layer, or an attribute of one, of no known meaning.
    """
    net, shapes = read_net(folder / NET_FILE), read_shapes(folder / SHAPE_FILE)
    if unknown := sorted(net.keys() - _KNOWN_KEYS):
        raise UnsupportedError(f"{folder / NET_FILE}: {unknown[0]:.80} has no known meaning; known are {', '.join(sorted(_KNOWN_KEYS))}")
    _check_ranks(folder, shapes)
    message = schema.message_module("NeuralNetwork_pb2").NeuralNetwork()
    network = CompiledNetwork(folder, message, shapes, _weights(folder, net))
    network.names.update(shapes, (layer["name"] for layer in net["layers"]))
    compiled = [CompiledLayer(network, content) for content in net["layers"]]
    inputs, images = _inputs(compiled, net, description)
    message.arrayInputShapeMapping = int(_own_rank([name for name in inputs if name not in images] or inputs, shapes))
    message.imageInputShapeMapping = int(_own_rank(images or inputs, shapes))
    if PREPROCESSING_KEY in net:
        read_own_preprocessing(network, net[PREPROCESSING_KEY])
    else:
        read_preprocessing(folder, net, shapes, _colors(description), message)
    known = set(inputs)
    for layer in compiled:
        _check_inputs(layer, known)
        _read_layer(layer)
        known.update(layer.outputs, nested_outputs(message.layers[-1]))
    return message


def _check_inputs(layer: CompiledLayer, known: Collection[str]) -> None:
    if missing := next((blob for blob in layer.inputs if blob not in known), None):
        raise layer.refuse("bottom", f"blob {missing!r:.80} is no input, and no earlier layer writes it")


def _read_layer(layer: CompiledLayer) -> None:
    if layer.has(KIND_KEY):
        read_own_form(layer)
        layer.check_all_taken()
        return
    if layer.type not in READERS:
        raise UnsupportedError(f"{layer.where}: this type of layer is not known; known are {', '.join(sorted(READERS))}")
    READERS[layer.type](layer)
    layer.check_all_taken()


def _weights(folder: Path, net: Net) -> EspressoWeights | None:
    name = net["storage"]
    if not name or Path(name).name != name:
        raise FormatError(f"{folder / NET_FILE}: storage", f"found {name!r:.80}, expected the name of a file in the same folder")
    path = folder / name
    if not path.exists():
        return None
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FormatError(path, "leads outside the compiled model through a link")
    return EspressoWeights(path)


def _check_ranks(folder: Path, shapes: dict[str, BlobShape]) -> None:
    for name, shape in shapes.items():
        if shape.get("_rank", 5) > 5:
            raise FormatError(f"{folder / SHAPE_FILE}: blob {name!r:.80}: _rank", f"found {shape['_rank']}, expected 0 to 5")


def _inputs(compiled: Sequence[CompiledLayer], net: Net, description: Any) -> tuple[list[str], list[str]]:
    """Names of the model's inputs, and of those among them that are images."""
    if description is not None:
        features = {feature.name: feature.type.WhichOneof("Type") for feature in description.input}
        return list(features), [name for name, kind in features.items() if kind == "imageType"]
    written: set[str] = set()
    read: dict[str, None] = {}
    for layer in compiled:
        read.update(dict.fromkeys(blob for blob in layer.inputs if blob not in written))
        written.update(layer.outputs)
    transformed = net.get("transform_params") or {}
    return list(read), [name for name in read if name in transformed]


def _colors(description: Any) -> dict[str, str]:
    """The order of colors of each image that a description has."""
    features = [] if description is None else [feature for feature in description.input if feature.type.HasField("imageType")]
    names = {feature.name: feature.type.imageType for feature in features}
    return {name: image.ColorSpace.Name(image.colorSpace) for name, image in names.items()}


def _own_rank(names: Sequence[str], shapes: dict[str, BlobShape]) -> bool:
    """Whether inputs enter with axes of their own, for which the file states a rank, rather than with five."""
    known = [shapes[name] for name in names if name in shapes]
    return bool(known) and all("_rank" in shape for shape in known)
