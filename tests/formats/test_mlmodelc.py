"""Root files and analytics of compiled models: real ones survive reading and writing, and give back their sources."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from moka.formats import schema
from moka.formats.mlmodelc.analytics import file_hash, read_analytics, write_analytics
from moka.formats.mlmodelc.coremldata import (
    ClassLabels,
    Header,
    NeighborsBody,
    NetworkBody,
    Root,
    SpecificationBody,
    kind_name,
    kind_number,
    read_root,
    write_root,
)
from moka.formats.mlmodelc.specification import read_compiled
from moka.formats.source import open_source

OTHER_FILES = ("analytics", "model", "neural_network_optionals", "modelParameters", "updateParameters", "numberOfNeighbors")


def roots(corpus: Path) -> list[Path]:
    """The root files of real compiled models, those of pipelines' models too."""
    found = [path for path in sorted(corpus.glob("**/*.mlmodelc/**/coremldata.bin")) if path.parent.name not in OTHER_FILES]
    if not found:
        pytest.skip(f"no compiled models at {corpus}")
    return found


def test_real_root_files_are_written_as_they_are(corpus: Path) -> None:
    """Byte for byte, but for the order of a map's entries in the description, which Apple's compiler shuffles."""
    for path in roots(corpus):
        root, data = read_root(path), path.read_bytes()
        written = write_root(root)
        if isinstance(root.body, SpecificationBody) or not root.body.description.metadata.userDefined:
            assert written == data, path
        else:
            assert sorted(written) == sorted(data), path
            description = root.body.description.SerializeToString(deterministic=True)
            start = written.index(description)
            end = start + len(description)
            assert (written[:start], written[end:]) == (data[:start], data[end:]), path
            assert type(root.body.description).FromString(data[start:end]) == root.body.description, path


def test_real_analytics_are_written_as_they_are(corpus: Path) -> None:
    paths = sorted(corpus.glob("**/*.mlmodelc/**/analytics/coremldata.bin"))
    if not paths:
        pytest.skip(f"no compiled models at {corpus}")
    for path in paths:
        assert write_analytics(read_analytics(path)) == path.read_bytes(), path


def test_hashes_in_real_analytics_are_those_of_the_files(corpus: Path) -> None:
    path = corpus / "pairs" / "mnist-classifier" / "MNISTClassifier.mlmodelc"
    if not path.exists():
        pytest.skip("the pair is not among the real models")
    entries = read_analytics(path / "analytics" / "coremldata.bin")["NeuralNetworkModelDetails"]
    for key, name in (("nnModelNetHash", "net"), ("nnModelShapeHash", "shape"), ("nnModelWeightsHash", "weights")):
        assert entries[key] == file_hash(path / f"model.espresso.{name}")
    data = (path / "model.espresso.net").read_bytes()
    assert file_hash(path / "model.espresso.net") == base64.b64encode(hashlib.sha256(data).digest()).decode()


def without_order(program: Any) -> Any:
    """A program in which what the text sorts is sorted: inputs of functions and the entries of ``buildInfo``."""
    for function in program.functions.values():
        inputs = sorted((type(item).FromString(item.SerializeToString()) for item in function.inputs), key=lambda item: item.name)
        del function.inputs[:]
        function.inputs.extend(inputs)
    if "buildInfo" not in program.attributes:
        return program
    pairs = program.attributes["buildInfo"].immediateValue.dictionary.values
    entries = sorted((type(pair).FromString(pair.SerializeToString()) for pair in pairs), key=lambda pair: pair.SerializeToString())
    del pairs[:]
    pairs.extend(entries)
    return program


def test_real_compiled_programs_are_their_sources(corpus: Path) -> None:
    packages = sorted(corpus.glob("pairs/*/*.mlpackage"))
    if not packages:
        pytest.skip(f"no pairs at {corpus}")
    for package in packages:
        source = open_source(package).specification
        compiled = read_compiled(package.with_suffix(".mlmodelc"))
        without_order(source.mlProgram)
        without_order(compiled.mlProgram)
        assert compiled == source, package


def test_models_kept_as_they_are_are_their_sources(corpus: Path) -> None:
    path = corpus / "pairs" / "programming-language" / "ProgrammingLanguageClassifier.mlmodelc"
    if not path.exists():
        pytest.skip("the pair is not among the real models")
    assert read_compiled(path) == open_source(path.with_suffix(".mlmodel")).specification


def test_pipeline_with_nearest_neighbors_is_its_source(corpus: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodelc"
    if not path.exists():
        pytest.skip("the pair is not among the real models")
    ours, source = read_compiled(path), open_source(path.with_suffix(".mlmodel")).specification
    assert (ours.description, ours.isUpdatable, ours.specificationVersion) == (source.description, True, 4)
    ours_models, source_models = ours.pipelineClassifier.pipeline.models, source.pipelineClassifier.pipeline.models
    assert len(ours_models) == len(source_models) == 2
    assert ours_models[1] == source_models[1]
    assert ours_models[0].description == source_models[0].description


def test_layout_of_2017_is_read(corpus: Path) -> None:
    path = corpus / "compiled" / "MarsHabitatPricer.mlmodelc"
    if not path.exists():
        pytest.skip("the compiled model is not among the real models")
    header = read_root(path / "coremldata.bin").header
    assert header == Header("pipelineRegressor", "generic.model0v1.0.0spec.model1v1.0.0spec", (1, 0, 0), 1, early=True)
    models = read_compiled(path).pipelineRegressor.pipeline.models
    assert [model.WhichOneof("Type") for model in models] == ["featureVectorizer", "glmRegressor"]


def description(*outputs: str) -> Any:
    message = schema.model().ModelDescription()
    for name in outputs:
        message.output.add(name=name)
    return message


BODIES = [
    ("neuralNetworkClassifier", "generic", NetworkBody(description("p", "l"), ["p"], ClassLabels(["a", "ä", ""], integers=False), "p")),
    ("neuralNetworkClassifier", "generic", NetworkBody(description("p"), ["p", "q"], ClassLabels([-1, 2**62], integers=True), "p")),
    ("neuralNetworkClassifier", "generic", NetworkBody(description(), [], ClassLabels([], integers=True), "")),
    (
        "kNearestNeighborsClassifier",
        "notreesyet",
        NeighborsBody(description("l"), 2, [(1.0, 2.0), (0.5, -1.0)], ClassLabels([3, -4], integers=True), -5, inverse_weights=False),
    ),
    ("kNearestNeighborsClassifier", "notreesyet", NeighborsBody(description(), 7, [], ClassLabels([], integers=False), None, True)),
]


@pytest.mark.parametrize(("kind", "container", "body"), BODIES)
@pytest.mark.parametrize("early", [False, True])
def test_what_no_real_file_has_is_read_as_it_was_written(tmp_path: Path, kind: str, container: str, body: Any, early: bool) -> None:
    root = Root(Header(kind, container, (9, 8, 7), 4, early), body)
    (tmp_path / "coremldata.bin").write_bytes(write_root(root))
    assert read_root(tmp_path / "coremldata.bin") == root


def test_kinds_are_numbered_as_in_the_schema() -> None:
    kinds = [field.name for field in schema.model().Model.DESCRIPTOR.oneofs_by_name["Type"].fields]
    assert len(kinds) > 30
    assert [kind_name(kind_number(kind), "file") for kind in kinds] == kinds
    assert (kind_number("mlProgram"), kind_number("textClassifier")) == (502, 2000)
