"""The folder of a neural network: its layers as the network compiler writes them, and what the root file says of outputs and labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moka.compiler.compilation import Compilation, Compiled
from moka.compiler.output_order import output_order
from moka.formats.mlmodelc.analytics import file_hash
from moka.formats.mlmodelc.coremldata import ClassLabels, NetworkBody
from moka.formats.source import ModelSource

if TYPE_CHECKING:
    from moka.compiler.espresso import NetworkDetails

__all__ = ["compile_network_model"]

_HASHES = {
    "nnModelNetHash": "model.espresso.net",
    "nnModelShapeHash": "model.espresso.shape",
    "nnModelWeightsHash": "model.espresso.weights",
}


def compile_network_model(source: ModelSource, folder: Path, compilation: Compilation) -> Compiled:
    """Writes the files of a network other than the root file."""
    from moka.compiler.espresso import compile_network  # takes seconds to import, for it runs kernels; other kinds of model do without

    version = compilation.version(source, "generic")
    message = getattr(source.specification, source.specification.WhichOneof("Type"))
    if message.updateParams.ByteSize():
        compilation.guess("an updatable network")
    compilation.progress("writing layers and weights")
    details = compile_network(source, folder, unverified=compilation.unverified, rank_info=compilation.rank_info)
    for what in details.guesses:
        compilation.guess(what)
    return Compiled("generic", version, _body(source, message, compilation), {"NeuralNetworkModelDetails": _details(details, folder)})


def _details(details: NetworkDetails, folder: Path) -> dict[str, str]:
    hashes = {key: file_hash(folder / name) for key, name in _HASHES.items() if (folder / name).exists()}
    return {"containsCustomLayer": str(int(details.custom)), "modelDimension": str(details.layers), **hashes}


def _body(source: ModelSource, message: Any, compilation: Compilation) -> NetworkBody:
    description = source.specification.description
    if source.specification.WhichOneof("Type") != "neuralNetworkClassifier":
        return NetworkBody(description, output_order(feature.name for feature in description.output))
    probabilities = message.labelProbabilityLayerName
    if not probabilities:
        compilation.guess("a neural network classifier that does not name the blob of its probabilities")
    return NetworkBody(description, output_order(_blobs(description, probabilities)), _labels(message), probabilities)


def _blobs(description: Any, probabilities: str) -> Iterator[str]:
    """The blobs that a classifier's outputs are made of: the label is made of the probabilities."""
    for feature in description.output:
        if feature.name == description.predictedProbabilitiesName:
            yield probabilities or feature.name
        elif feature.name != description.predictedFeatureName:
            yield feature.name


def _labels(message: Any) -> ClassLabels:
    integers = message.WhichOneof("ClassLabels") == "int64ClassLabels"
    return ClassLabels(list((message.int64ClassLabels if integers else message.stringClassLabels).vector), integers)
