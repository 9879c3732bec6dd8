"""Small compiled networks written by hand, read back to a specification, and run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

import moka
from moka.formats.espresso import read_network
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, WEIGHT_FILE, write_net, write_shapes, write_weights
from moka.formats.mlmodel import write_specification

Array: TypeAlias = np.ndarray[Any, Any]
Layer: TypeAlias = dict[str, Any]
Shapes: TypeAlias = Mapping[str, Sequence[int]]

_AXES = ("seq", "n", "k", "h", "w")


def layer(kind: str, bottom: str = "x", top: str = "out", **attributes: Any) -> Layer:
    """A compiled layer with what every one has; ``weights`` is an empty table unless it is given."""
    return {"name": "layer", "type": kind, "bottom": bottom, "top": top, "debug_info": "", "weights": {}, **attributes}


def entry(shape: Sequence[int], *, exact: bool) -> dict[str, int]:
    """A shape as shape files hold it: five axes, and the rank of a blob that has one of its own."""
    sizes = dict(zip(_AXES, [1] * (5 - len(shape)) + list(shape), strict=True))
    if sizes["seq"] == 1:
        del sizes["seq"]
    return {**sizes, "_rank": len(shape)} if exact else sizes


def write(
    folder: Path, layers: Sequence[Layer], shapes: Shapes, blobs: Sequence[Array] = (), *, exact: bool = False, **content: Any
) -> None:
    """Writes a compiled network; ``blobs`` get the ids 1, 3, 5 and so on."""
    net = {"format_version": 200, "storage": WEIGHT_FILE, "layers": list(layers), "properties": {}, **content}
    write_net(folder / NET_FILE, net)
    write_shapes(folder / SHAPE_FILE, {name: entry(shape, exact=exact) for name, shape in shapes.items()})
    write_weights(folder / WEIGHT_FILE, [blob.nbytes for blob in blobs], blobs)


def read(layers: Sequence[Layer], shapes: Shapes, blobs: Sequence[Array] = (), *, exact: bool = False, **content: Any) -> Any:
    """The ``NeuralNetwork`` message of a compiled network."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), layers, shapes, blobs, exact=exact, **content)
        return read_network(Path(folder))


def specification(inputs: Mapping[str, Array], outputs: Sequence[str] | Shapes, message: Any, *, exact: bool = False) -> Any:
    """A model of a network's message, with arrays as inputs."""
    features = [(name, datatypes.Array(*array.shape)) for name, array in inputs.items()]
    builder = NeuralNetworkBuilder(features, [(name, None) for name in outputs], disable_rank5_shape_mapping=exact)
    builder.spec.neuralNetwork.CopyFrom(type(builder.spec.neuralNetwork).FromString(message.SerializeToString()))
    return builder.spec


def blob_shapes(inputs: Mapping[str, Array], *, exact: bool) -> dict[str, tuple[int, ...]]:
    """The shapes that inputs have as blobs: of networks with five axes, [channels] is [channels, 1, 1]."""
    return {name: array.shape if array.ndim == 3 or exact else (*array.shape, 1, 1) for name, array in inputs.items()}


def run(
    layers: Sequence[Layer], inputs: Mapping[str, Array], shapes: Shapes, blobs: Sequence[Array] = (), *, exact: bool = False
) -> dict[str, Array]:
    """What a compiled network makes of its inputs: all blobs in ``shapes``.

    Args:
        inputs: arrays of the shapes that users give; of networks with five axes [channels, height, width] or [channels].
    """
    message = read(layers, {**blob_shapes(inputs, exact=exact), **shapes}, blobs, exact=exact)
    with tempfile.TemporaryDirectory() as folder:
        write_specification(specification(inputs, shapes, message, exact=exact), Path(folder) / "network.mlmodel")
        outputs = moka.load(Path(folder) / "network.mlmodel").predict(dict(inputs))
    return {name: np.asarray(value) for name, value in outputs.items()}
