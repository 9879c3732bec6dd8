"""Compiling: equal to what Apple's compiler made of real sources, complete or not there at all, and loaded like the source."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import moka
from moka.compiler import containers, files
from moka.formats import dtypes, schema
from moka.formats.mlmodel import write_specification
from moka.formats.mlmodelc.analytics import read_analytics
from moka.formats.mlpackage import write_package
from moka.formats.weights import WeightWriter
from tests.formats.test_mlmodel import scaler

SOURCES = (".mlmodel", ".mlpackage")


@pytest.fixture(scope="module")
def comparison(corpus: Path) -> ModuleType:
    """The comparison of compiled models that stands beside the real models."""
    path = corpus.parent / "conformance" / "compare_modelc.py"
    if not path.exists():
        pytest.skip(f"no comparison of compiled models at {path}")
    specification = importlib.util.spec_from_file_location("compare_modelc", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pairs(corpus: Path) -> list[tuple[Path, Path]]:
    """(source, what Apple's compiler made of it)"""
    found = []
    for folder in sorted(corpus.glob("pairs/*")):
        source = next((path for path in folder.iterdir() if path.suffix in SOURCES), None)
        compiled = next(folder.glob("*.mlmodelc"), None)
        found += [(source, compiled)] if source is not None and compiled is not None else []
    return found


def is_shorter_list(line: str, reference: Path, candidate: Path) -> bool:
    """Whether a difference is that compilers before 2020 wrote fewer zeros into a file that holds nothing else."""
    file = "neural_network_optionals/coremldata.bin"
    if not line.startswith(f"{file}: ") or (reference / "analytics").exists():
        return False
    old, new = (reference / file).read_bytes(), (candidate / file).read_bytes()
    return not any(old + new) and len(old) < len(new)


def test_equals_what_apples_compiler_made(corpus: Path, comparison: ModuleType, tmp_path: Path) -> None:
    found = {}
    for source, compiled in pairs(corpus):
        ours = moka.compile(source, tmp_path)
        lines = comparison.differences(compiled, ours)
        found[source.name] = [line for line in lines if not is_shorter_list(line, compiled, ours)]
    assert len(found) > 10
    assert {name: lines for name, lines in found.items() if lines} == {}


FORGOTTEN = ("modelHash", "modelDimension", "modelName", "neuralNetworkLayerTypeHistogram", "userDefinedMetadata")
"""What a compiled model does not hold: facts about its source's file and layers."""


def test_compiled_again_from_what_was_decompiled(corpus: Path, comparison: ModuleType, tmp_path: Path) -> None:
    """Ours of a real source against ours of what it was decompiled to: the same, but for what a compiled model has forgotten."""
    compared = 0
    for source, _ in pairs(corpus):
        first = moka.compile(source, tmp_path / "first")
        second = moka.compile(moka.decompile(first, tmp_path / "source"), tmp_path / "second")
        found = [text for text in comparison.differences(first, second) if not any(word in text for word in FORGOTTEN)]
        assert found == [], source
        third = moka.compile(moka.decompile(second, tmp_path / "source"), tmp_path / "third")
        assert list(comparison.differences(second, third)) == [], source
        compared += 1
    assert compared > 10


def scaled(folder: Path, name: str = "Model") -> Path:
    write_specification(scaler(), folder / f"{name}.mlmodel")
    return folder / f"{name}.mlmodel"


def vectorizer(folder: Path, name: str = "Vectors") -> Path:
    """A model of a kind that is kept as it is: two numbers to a multi-array."""
    model = schema.model().Model(specificationVersion=1)
    for feature in ("a", "b"):
        model.description.input.add(name=feature).type.doubleType.SetInParent()
        model.featureVectorizer.inputList.add(inputColumn=feature, inputDimensions=1)
    output = model.description.output.add(name="ab")
    output.type.multiArrayType.shape.append(2)
    output.type.multiArrayType.dataType = 65600
    write_specification(model, folder / f"{name}.mlmodel")
    return folder / f"{name}.mlmodel"


def program(folder: Path, values: np.ndarray[Any, Any] | None = None) -> Path:
    """A package: y = x + w, with w in the weight file."""
    values = np.array([1.0, 2.0, 3.0], np.float32) if values is None else values
    with WeightWriter(folder / "weight.bin") as writer:
        offset = writer.write(values, dtypes.FP32)
    model = schema.model().Model(specificationVersion=6)
    for features, name in ((model.description.input, "x"), (model.description.output, "y")):
        array = features.add(name=name).type.multiArrayType
        array.shape.extend(values.shape)
        array.dataType = 65568
    model.mlProgram.version = 1
    function = model.mlProgram.functions["main"]
    function.opset = "CoreML5"
    block = function.block_specializations["CoreML5"]
    block.outputs.append("y")
    tensor = schema.mil().ValueType()
    tensor.tensorType.dataType, tensor.tensorType.rank = dtypes.FP32.mil, values.ndim
    for size in values.shape:
        tensor.tensorType.dimensions.add().constant.size = size
    function.inputs.add(name="x", type=tensor)
    constant, addition = block.operations.add(type="const"), block.operations.add(type="add")
    constant.outputs.add(name="w", type=tensor)
    value = constant.attributes["val"]
    value.type.CopyFrom(tensor)
    value.blobFileValue.fileName, value.blobFileValue.offset = "@model_path/weights/weight.bin", offset
    addition.outputs.add(name="y", type=tensor)
    addition.inputs["x"].arguments.add(name="x")
    addition.inputs["y"].arguments.add(name="w")
    write_package(folder / "Sum.mlpackage", model, {"weight.bin": folder / "weight.bin"})
    return folder / "Sum.mlpackage"


def test_program_is_loaded_like_its_source(tmp_path: Path) -> None:
    compiled = moka.compile(program(tmp_path), tmp_path / "new" / "folder")
    assert compiled == tmp_path / "new" / "folder" / "Sum.mlmodelc"
    written = sorted(str(path.relative_to(compiled)) for path in compiled.rglob("*") if path.is_file())
    assert written == ["analytics/coremldata.bin", "coremldata.bin", "metadata.json", "model.mil", "weights/weight.bin"]
    assert (compiled / "weights" / "weight.bin").read_bytes() == (tmp_path / "weight.bin").read_bytes()
    assert moka.load(compiled).predict({"x": [1, 1, 1]})["y"].tolist() == [2, 3, 4]
    assert moka.validate(compiled) == []
    assert moka.inspect(compiled).parts[0].operations == {"add": 1}
    assert moka.metadata(compiled) == [{**moka.metadata(program(tmp_path))[0], "generatedClassName": "Sum"}]


def test_edited_source_does_not_change_a_compiled_model(tmp_path: Path) -> None:
    source = program(tmp_path)
    compiled = moka.compile(source, tmp_path)
    weights = source / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    assert os.stat(weights).st_ino != os.stat(compiled / "weights" / "weight.bin").st_ino
    before = (compiled / "weights" / "weight.bin").read_bytes()
    with weights.open("r+b") as file:
        file.seek(-12, os.SEEK_END)
        file.write(bytes(12))
    assert weights.read_bytes() != before
    assert (compiled / "weights" / "weight.bin").read_bytes() == before


def test_read_only_source_makes_a_compiled_model_that_can_be_removed(tmp_path: Path) -> None:
    source = program(tmp_path)
    weights = source / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.chmod(0o444)
    compiled = moka.compile(source, tmp_path)
    assert os.stat(compiled / "weights" / "weight.bin").st_mode & 0o200


@pytest.mark.parametrize("missing", [(), ("clone",), ("clone", "kernel")])
def test_weights_are_copied_whatever_the_system_can(tmp_path: Path, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_system_call(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    if "clone" in missing:
        monkeypatch.setattr("fcntl.ioctl", no_system_call)
    if "kernel" in missing:
        monkeypatch.setattr(os, "copy_file_range", no_system_call)
    content = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "a").write_bytes(content)
    files.copy_file(tmp_path / "a", tmp_path / "new" / "b")
    assert (tmp_path / "new" / "b").read_bytes() == content
    with pytest.raises(FileExistsError):
        files.copy_file(tmp_path / "a", tmp_path / "new" / "b")


def test_kernel_that_stops_in_the_middle_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.copy_file_range, []

    def stops(reader: int, writer: int, count: int) -> int:
        calls.append(count)
        return real(reader, writer, 1000) if len(calls) == 1 else 0

    monkeypatch.setattr(files, "_clone", lambda reader, writer: False)
    monkeypatch.setattr(os, "copy_file_range", stops)
    (tmp_path / "a").write_bytes(bytes(range(250)) * 20)
    files.copy_file(tmp_path / "a", tmp_path / "b")
    assert len(calls) == 2
    assert (tmp_path / "b").read_bytes() == bytes(range(250)) * 20


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = program(tmp_path), tmp_path / "out"
    moka.compile(source, target)
    before = entries(target)
    (source / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").unlink()
    with pytest.raises(moka.FormatError, match=r"weights/weight\.bin' does not exist"):
        moka.compile(source, target)
    assert entries(target) == before

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(containers, "write_root", interrupted)
    with pytest.raises(KeyboardInterrupt):
        moka.compile(vectorizer(tmp_path), target)
    assert entries(target) == before


def test_compiled_model_of_that_name_is_replaced(tmp_path: Path) -> None:
    source = vectorizer(tmp_path, "Same")
    first = moka.compile(source, tmp_path)
    (first / "left.txt").write_text("from before")
    assert moka.compile(source, tmp_path) == first
    assert not (first / "left.txt").exists()
    assert moka.load(first).predict({"a": 1, "b": 2})["ab"].tolist() == [1, 2]


def test_model_kept_as_it_is_keeps_its_bytes(tmp_path: Path) -> None:
    source = vectorizer(tmp_path)
    # A message with a field that today's schema does not know, as a newer one may have.
    data = source.read_bytes() + b"\xc2\xb8\x02\x03abc"
    source.write_bytes(data)
    compiled = moka.compile(source, tmp_path / "out")
    assert (compiled / "coremldata.bin").read_bytes()[72:] == data
    assert moka.decompile(compiled, tmp_path / "back").read_bytes() == data
    details = read_analytics(compiled / "analytics" / "coremldata.bin")
    assert set(details) == {"SpecificationDetails"}
    assert details["SpecificationDetails"]["modelName"] == "Vectors"


def test_what_no_real_file_shows_is_refused_or_marked(tmp_path: Path) -> None:
    source = scaled(tmp_path)
    with pytest.raises(moka.UnsupportedError, match=r"a model of kind scaler: has been seen in no model .*--unverified"):
        moka.compile(source, tmp_path / "out")
    assert not (tmp_path / "out" / "Model.mlmodelc").exists()
    compiled = moka.compile(source, tmp_path / "out", unverified=True)
    assert json.loads((compiled / "metadata.json").read_text())[0]["mokaUnverified"] == ["a model of kind scaler"]
    known = moka.compile(vectorizer(tmp_path), tmp_path / "out", unverified=True)
    assert "mokaUnverified" not in (known / "metadata.json").read_text()


def test_specification_version_that_no_file_shows(tmp_path: Path) -> None:
    source = program(tmp_path)
    specification = schema.model().Model.FromString((source / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    specification.specificationVersion = 10
    write_package(source, specification, {"weight.bin": tmp_path / "weight.bin"})
    with pytest.raises(moka.UnsupportedError, match="mlProgram of specification version 10"):
        moka.compile(source, tmp_path)
    compiled = moka.compile(source, tmp_path, unverified=True)
    assert moka.load(compiled).predict({"x": [1, 1, 1]})["y"].tolist() == [2, 3, 4]


def test_weight_file_with_the_name_of_a_file_of_the_compiler(tmp_path: Path) -> None:
    source = program(tmp_path)
    folder = source / "Data" / "com.apple.CoreML"
    specification = schema.model().Model.FromString((folder / "model.mlmodel").read_bytes())
    block = specification.mlProgram.functions["main"].block_specializations["CoreML5"]
    block.operations[0].attributes["val"].blobFileValue.fileName = "@model_path/model.mil"
    write_specification(specification, folder / "model.mlmodel")
    (folder / "weights" / "weight.bin").rename(folder / "model.mil")
    with pytest.raises(moka.FormatError, match=r"has the name of a file of the compiled model: model\.mil"):
        moka.compile(source, tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"platform": "beos"}, moka.InputError, "platform is 'beos'; expected one of ios, "),
        ({"container": "box"}, moka.InputError, "container is 'box'; expected one of bundle-resources, swift-package"),
        ({"deployment_target": "16.0"}, moka.InputError, "deployment_target needs a platform"),
        ({"platform": "ios", "deployment_target": "new"}, moka.InputError, "deployment_target is 'new'; expected a release"),
        ({"platform": "ios", "deployment_target": "14.5"}, moka.UnsupportedError, r"needs iOS 15\.0, and the deployment target is 14\.5"),
        ({"platform": "macosx", "deployment_target": "11"}, moka.UnsupportedError, r"needs macOS 12\.0"),
    ],
)
def test_options_that_can_not_be(tmp_path: Path, options: dict[str, Any], error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        moka.compile(program(tmp_path), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("platform", ["ios", "iOS", "watchos", "xros"])
def test_options_make_no_difference_to_the_files(tmp_path: Path, platform: str) -> None:
    source = program(tmp_path)
    plain = moka.compile(source, tmp_path / "plain")
    other = moka.compile(source, tmp_path / "other", platform=platform, deployment_target="26", container="swift-package")
    assert contents(plain) == contents(other)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    moka.compile(program(tmp_path), tmp_path, progress=told.append)
    assert told == ["writing model.mil", "copying weights/weight.bin", "writing metadata"]


@pytest.mark.parametrize(
    ("destination", "problem"), [("file", "is a file"), ("file/inside", "can't be made"), ("locked", "nothing can be")]
)
def test_destination_that_can_not_be_written(tmp_path: Path, destination: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = program(tmp_path)
    compiled = moka.compile(source, tmp_path / "out")
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").mkdir()
    # Root may write everywhere, so that the permissions of a folder do not do here.
    monkeypatch.setattr(files.os, "access", lambda path, mode: Path(path).name != "locked")
    for make, model in ((moka.compile, source), (moka.decompile, compiled)):
        with pytest.raises(moka.InputError, match=f"destination .*{destination}: {problem}"):
            make(model, tmp_path / destination)


def test_compiled_model_is_not_compiled(tmp_path: Path) -> None:
    compiled = moka.compile(program(tmp_path), tmp_path)
    with pytest.raises(moka.InputError, match="is compiled already"):
        moka.compile(compiled, tmp_path / "again")
    compiled.rename(tmp_path / "renamed")
    with pytest.raises(moka.InputError, match="is compiled already"):
        moka.compile(tmp_path / "renamed", tmp_path / "again")


def test_source_is_not_decompiled(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="is not compiled"):
        moka.decompile(program(tmp_path), tmp_path)
    with pytest.raises(moka.InputError, match="is not compiled"):
        moka.decompile(tmp_path / "missing.mlmodelc", tmp_path)


def test_source_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = program(tmp_path)
    source.rename(tmp_path / "plain")
    assert moka.compile(tmp_path / "plain", tmp_path / "out").name == "plain.mlmodelc"
    (tmp_path / "plain").rename(tmp_path / "v1.2.mlpackage")
    monkeypatch.chdir(tmp_path / "v1.2.mlpackage")
    assert moka.compile(".", tmp_path / "out").name == "v1.2.mlmodelc"


def test_weights_outside_of_their_folder_come_back_in_it(tmp_path: Path) -> None:
    """A file beside the model, as programs in plain ``.mlmodel`` files have them."""
    package = program(tmp_path)
    specification = schema.model().Model.FromString((package / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    block = specification.mlProgram.functions["main"].block_specializations["CoreML5"]
    block.operations[0].attributes["val"].blobFileValue.fileName = "@model_path/weight.bin"
    write_specification(specification, tmp_path / "Plain.mlmodel")
    compiled = moka.compile(tmp_path / "Plain.mlmodel", tmp_path)
    assert (compiled / "weight.bin").read_bytes() == (tmp_path / "weight.bin").read_bytes()
    back = moka.decompile(compiled, tmp_path / "back")
    assert (back / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").exists()
    for path in (compiled, back):
        assert moka.load(path).predict({"x": [0, 0, 0]})["y"].tolist() == [1, 2, 3]


def nested(folder: Path, wrap: Callable[[Any, Any], object], depth: int) -> Path:
    model = schema.model().Model.FromString(vectorizer(folder).read_bytes())
    for _ in range(depth):
        outer = schema.model().Model(specificationVersion=4)
        outer.description.CopyFrom(model.description)
        wrap(outer, model)
        model = outer
    write_specification(model, folder / "Nested.mlmodel")
    return folder / "Nested.mlmodel"


def test_pipelines_within_pipelines(tmp_path: Path) -> None:
    def wrap(outer: Any, inner: Any) -> None:
        outer.pipelineRegressor.pipeline.models.append(inner)

    with pytest.raises(moka.UnsupportedError, match="a model of kind pipelineRegressor in a pipeline"):
        moka.compile(nested(tmp_path, wrap, 2), tmp_path)
    compiled = moka.compile(nested(tmp_path, wrap, 2), tmp_path, unverified=True)
    assert (compiled / "model0" / "model0" / "coremldata.bin").exists()
    header = (compiled / "coremldata.bin").read_bytes()
    assert b"generic.model0v1.0.1generic.model0v1.0.0spec" in header
    assert moka.load(compiled).predict({"a": 1, "b": 2})["ab"].tolist() == [1, 2]
    with pytest.raises(moka.FormatError, match="nested deeper than 16 levels"):
        moka.compile(nested(tmp_path, wrap, 17), tmp_path, unverified=True)


def twice(folder: Path) -> Path:
    """A pipeline of two programs that share a weight file: y = x + (1, 2, 3) from x, and once more."""
    model = schema.model().Model.FromString((program(folder) / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    pipeline = schema.model().Model(specificationVersion=6, description=model.description)
    pipeline.pipeline.models.extend([model, model])
    write_package(folder / "Twice.mlpackage", pipeline, {"weight.bin": folder / "weight.bin"})
    return folder / "Twice.mlpackage"


def test_programs_in_a_pipeline_have_their_weights(tmp_path: Path) -> None:
    compiled = moka.compile(twice(tmp_path), tmp_path)
    back = moka.decompile(compiled, tmp_path / "back")
    weights = (tmp_path / "weight.bin").read_bytes()
    for index in range(2):
        assert (compiled / f"model{index}" / "weights" / "weight.bin").read_bytes() == weights
        assert (back / f"Data/com.apple.CoreML/weights/model{index}/weights/weight.bin").read_bytes() == weights
    for path in (tmp_path / "Twice.mlpackage", compiled, back):
        assert moka.load(path).predict({"x": [1, 1, 1]})["y"].tolist() == [2, 3, 4]


def test_analytics_of_programs_in_a_pipeline_have_the_published_sum(tmp_path: Path) -> None:
    """Applications pin the files of a compiled pipeline of two programs; the analytics of both have this sum."""
    compiled = moka.compile(twice(tmp_path), tmp_path)
    for index in range(2):
        data = (compiled / f"model{index}" / "analytics" / "coremldata.bin").read_bytes()
        assert hashlib.sha256(data).hexdigest() == "5a8281049b2a65a3be541cfd9f949e84b8fe1c5251ce90e46da1626fed54e58a"


def test_empty_metadata_stand_in_the_root_file_but_not_in_pipelines(tmp_path: Path) -> None:
    """As a public account of programs and pipelines that Apple's compiler made has it: field 100 of no bytes, at the description's end."""
    compiled = moka.compile(program(tmp_path), tmp_path)
    pipeline = moka.compile(twice(tmp_path), tmp_path)
    ends = (
        b"\xa2\x06\x00" + (502).to_bytes(8, "little") + bytes(8),
        b"\xa2\x06\x00" + (2).to_bytes(8, "little") + (202).to_bytes(8, "little"),
    )
    assert (compiled / "coremldata.bin").read_bytes().endswith(ends[0])
    assert (pipeline / "coremldata.bin").read_bytes().endswith(ends[1])
    for index in range(2):
        assert not (pipeline / f"model{index}" / "coremldata.bin").read_bytes().endswith(ends[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory there")
def test_programs_are_compiled_without_torch_and_without_reading_weights(tmp_path: Path) -> None:
    """In a process of its own, with 256 MB of weights."""
    source = program(tmp_path)
    with (source / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").open("r+b") as file:
        file.truncate(2**28)
    code = "import sys, moka; moka.compile(*sys.argv[1:]); print(*{'torch', 'coremltools'} & set(sys.modules))\n"
    # Not the process's own count, ru_maxrss, which begins with that of the process that started it.
    code += "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    run = subprocess.run([sys.executable, "-c", code, source, tmp_path], capture_output=True, text=True, check=True)
    imported, peak = run.stdout.splitlines()
    assert (tmp_path / "Sum.mlmodelc" / "weights" / "weight.bin").stat().st_size == 2**28
    assert imported == ""
    assert int(peak) < 100 * 1024
