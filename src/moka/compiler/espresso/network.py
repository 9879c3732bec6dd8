"""Neural networks as Apple's compiler writes them: layers, shapes, weights, and what happens to images."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moka.compiler.compilation import Compilation
from moka.compiler.espresso import layers as _layers  # noqa: F401  enters the translations
from moka.compiler.espresso.graph import Node, fold
from moka.compiler.espresso.images import images, maps, own_preprocessing, transform_params
from moka.compiler.espresso.layers._axes import sizes
from moka.compiler.espresso.own_types import SHAPELESS, type_of
from moka.compiler.espresso.registry import LAYERS, LayerContext, NoFormError
from moka.compiler.espresso.shapes import blob_shapes
from moka.compiler.espresso.weights import Blob
from moka.errors import ProgramError, UnsupportedError
from moka.formats.espresso.files import (
    FORMAT_VERSION,
    NET_FILE,
    SHAPE_FILE,
    WEIGHT_FILE,
    Layer,
    Net,
    write_net,
    write_shapes,
    write_weights,
)
from moka.formats.source import ModelSource
from moka.importers.neural_network.layers._nested import kinds, writes
from moka.models.precision import has_other_weights

__all__ = ["KINDS", "RANK_FILE", "NetworkDetails", "compile_network"]

KINDS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
"""Models that are networks, as the fields of ``Model`` are."""

RANK_FILE = "model.rank.info.json"

_LARGEST_CHANNELS = 8192
"""More channels, over batch and sequence, than an array of GPU textures holds: a layer that has them never runs there."""


@dataclass(frozen=True)
class NetworkDetails:
    """What the rest of the compiled model needs to know of its network.

    Attributes:
        layers: number of layers of the source, before any are folded.
        outputs: the blobs that the network gives out.
        custom: whether there are custom layers.
        guesses: what was written without a real file to go by.
    """

    layers: int
    outputs: tuple[str, ...]
    custom: bool
    guesses: tuple[str, ...]


def compile_network(source: ModelSource, folder: Path, *, unverified: bool = False, rank_info: bool = False) -> NetworkDetails:
    """Writes the files of a network into a folder that is there.

    Args:
        unverified: write what no real compiled model has shown as well.
        rank_info: write ``model.rank.info.json``: {blob: rank} as JSON, which is Moka's own reading of a file that none at hand shows.

    Raises:
        UnsupportedError: what no real compiled model shows, or what Moka has no reading of.
        ProgramError: the network breaks rules of its layers.
    """
    compilation = Compilation(unverified=unverified, rank_info=rank_info)
    specification = source.specification
    message = getattr(specification, specification.WhichOneof("Type"))
    _check(specification, message, compilation)
    outputs = _output_blobs(message, specification.description)
    shapes = blob_shapes(message, specification.description)
    _check_outputs(outputs, message, specification.description)
    nodes = fold(message.layers, outputs, compilation)
    exact = message.arrayInputShapeMapping == 1
    blobs: list[Blob] = []
    compiled = [_layer(LayerContext(node, shapes, exact, blobs, compilation), outputs) for node in nodes]
    _note_unknown(shapes, message.layers, compilation)
    found = images(specification.description, message.preprocessing, compilation)
    net = _net(compiled, transform_params(found), half=has_other_weights(message))
    net |= own_preprocessing(message.preprocessing, compilation)
    _write(folder, net, _kept(nodes, shapes, specification.description), blobs, exact)
    _write_data(folder, maps(found), exact)
    if rank_info:
        _write_ranks(folder, _kept(nodes, shapes, specification.description))
    custom = "custom" in kinds(message.layers)
    return NetworkDetails(len(message.layers), tuple(outputs), custom, tuple(compilation.guesses))


def _check(specification: Any, message: Any, compilation: Compilation) -> None:
    """What concerns the network as a whole and no real compiled model shows."""
    if specification.isUpdatable or message.updateParams.ByteSize():
        compilation.guess("updateParams: a network that can be trained on the device")
    if message.arrayInputShapeMapping != message.imageInputShapeMapping:
        compilation.guess("arrayInputShapeMapping and imageInputShapeMapping that differ")
    for feature in specification.description.input:
        _check_input(feature, compilation)


def _check_input(feature: Any, compilation: Compilation) -> None:
    if feature.type.isOptional:
        compilation.guess(f"input {feature.name!r}: an optional input")
    kind = feature.type.WhichOneof("Type")
    flexibility = {"imageType": "SizeFlexibility", "multiArrayType": "ShapeFlexibility"}.get(kind)
    chosen = getattr(feature.type, kind).WhichOneof(flexibility) if flexibility else None
    if chosen not in (None, "shapeRange"):
        compilation.guess(f"input {feature.name!r}: {chosen}")


def _output_blobs(message: Any, description: Any) -> list[str]:
    """The blobs that the model gives out: its outputs, or those that a classifier's label and probabilities come from."""
    names = [feature.name for feature in description.output]
    if message.DESCRIPTOR.name != "NeuralNetworkClassifier":
        return names
    written = [name for layer in message.layers for name in layer.output]
    if not written:
        raise ProgramError("layers: the classifier has none")
    probabilities = message.labelProbabilityLayerName or written[-1]
    others = [name for name in names if name not in (description.predictedFeatureName, description.predictedProbabilitiesName)]
    return [probabilities, *others]


def _check_outputs(outputs: Sequence[str], message: Any, description: Any) -> None:
    written = {*writes(message.layers), *(feature.name for feature in description.input)}
    if missing := next((name for name in outputs if name not in written), None):
        raise ProgramError(f"output {missing!r} is a blob that no layer writes")


def _note_unknown(shapes: Mapping[str, tuple[int, ...]], layers: Sequence[Any], compilation: Compilation) -> None:
    """Says that the shape file will lack blobs."""
    unknown = [name for layer in layers for name in layer.output if name not in shapes]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        compilation.guess(f"blob {unknown[0]!r}{more}: a shape that is not known before the network runs, and is not written")


def _layer(net: LayerContext, outputs: Sequence[str]) -> Layer:
    node = net.node
    layer = {"name": node.message.name, "debug_info": node.message.name, "weights": {}}
    layer |= {"bottom": _joined(node.inputs, node), "top": _joined(node.outputs, node)}
    if any(name in outputs for name in node.outputs):
        layer["attributes"] = {"is_output": 1}
    if any(_channels(net.shapes[name]) > _LARGEST_CHANNELS for name in [*node.inputs, *node.outputs] if name in net.shapes):
        layer["hint_fallback_from_metal"] = 1
    return layer | _attributes(net)


def _attributes(net: LayerContext) -> Layer:
    """What a layer has beside what all have; Moka's own form, where no other is known."""
    kind, blobs = net.node.kind, len(net.blobs)
    translation = LAYERS.get(kind)
    if translation is None:
        return {"type": type_of(kind), **net.own_form("this kind of layer")}
    try:
        _check_shapes(net)
        attributes = translation.make(net, net.node.params)
    except NoFormError as error:
        del net.blobs[blobs:]
        return {"type": translation.type, **net.own_form(str(error))}
    net.guess_unless(not translation.evidence.is_guess, "this kind of layer")
    return {"type": translation.type, **attributes}


def _check_shapes(net: LayerContext) -> None:
    """Refuses blobs of unknown shape, but for layers that are understood without the shapes of theirs."""
    names = [*net.node.inputs, *net.node.outputs]
    if net.node.kind not in SHAPELESS and (unknown := next((name for name in names if name not in net.shapes), None)):
        raise net.no_form(f"blob {unknown!r}, whose shape depends on data")


def _joined(names: Sequence[str], node: Node) -> str:
    if broken := next((name for name in names if "," in name), None):
        raise UnsupportedError(f"{node}: blob {broken!r} has a comma in its name, which separates names in a compiled network")
    return ",".join(names)


def _channels(shape: Sequence[int]) -> int:
    named = sizes(shape)
    return named["n"] * named["k"] * named.get("seq", 1)


def _kept(nodes: Sequence[Node], shapes: Mapping[str, tuple[int, ...]], description: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs and of the blobs that are left, where they are known."""
    names = [feature.name for feature in description.input] + [name for node in nodes for name in node.outputs]
    return {name: shapes[name] for name in names if name in shapes}


def _net(compiled: list[Layer], transforms: dict[str, Any], half: bool) -> Net:
    """The net; the only known ones with half-precision weights, which a release of 2020 wrote, know no metadata in weights."""
    net = {"format_version": FORMAT_VERSION, "storage": WEIGHT_FILE, "layers": compiled, "properties": {}, "analyses": {}}
    return net | ({} if half else {"metadata_in_weights": []}) | ({"transform_params": transforms} if transforms else {})


def _write(folder: Path, net: Net, shapes: Mapping[str, tuple[int, ...]], blobs: Sequence[Blob], exact: bool) -> None:
    write_net(folder / NET_FILE, net)
    write_shapes(folder / SHAPE_FILE, {name: sizes(shape) | ({"_rank": len(shape)} if exact else {}) for name, shape in shapes.items()})
    write_weights(folder / WEIGHT_FILE, [blob.size for blob in blobs], (blob.read() for blob in blobs))


def _write_data(folder: Path, image_maps: bytes, exact: bool) -> None:
    """The two small files: what is done to images, and what is said of optional inputs, of which there are none."""
    for name, content in (("model", image_maps), ("neural_network_optionals", struct.pack("<5Q", 0, 0, int(exact), 0, 0))):
        (folder / name).mkdir()
        (folder / name / "coremldata.bin").write_bytes(content)


def _write_ranks(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    ranks = {name: len(shape) for name, shape in shapes.items()}
    (folder / RANK_FILE).write_text(json.dumps(ranks, indent=2, ensure_ascii=False), encoding="utf-8")
