"""Hostile compiled models: every damage is a FormatError that names file and field, and nothing large is allocated."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.mlmodelc.analytics import read_analytics, write_analytics
from moka.formats.mlmodelc.binary import text, u64
from moka.formats.mlmodelc.coremldata import (
    ClassLabels,
    Header,
    NeighborsBody,
    NetworkBody,
    PipelineBody,
    ProgramBody,
    Root,
    SpecificationBody,
    read_root,
    write_root,
)
from moka.formats.mlmodelc.folder import open_folder
from moka.formats.mlmodelc.specification import read_compiled
from moka.formats.source import open_source

PROGRAM = (
    b'program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "1"}})]\n'
    b"{\n    func main<ios15>(tensor<fp32, [2]> x) {\n            tensor<fp32, [2]> y = relu(x = x)"
    b'[name = tensor<string, []>("y")];\n        } -> (y);\n}'
)


def description() -> object:
    message = schema.model().ModelDescription()
    message.metadata.author = "A. Tester"
    return message


def header(kind: str, container: str) -> Header:
    return Header(kind, container, (1, 0, 0), 5)


def scaler() -> bytes:
    return schema.model().Model(specificationVersion=1, scaler={}).SerializeToString()


LABELS = ClassLabels(["a", "b"], integers=False)
ROOTS = {
    "program": Root(header("mlProgram", "generic"), ProgramBody(description())),
    "network": Root(header("neuralNetwork", "generic"), NetworkBody(description(), ["a", "b"])),
    "classifier": Root(header("neuralNetworkClassifier", "generic"), NetworkBody(description(), ["a"], LABELS, "a")),
    "pipeline": Root(header("pipeline", "generic.model0v1.0.0spec"), PipelineBody(description(), 1)),
    "neighbors": Root(
        header("kNearestNeighborsClassifier", "notreesyet"),
        NeighborsBody(description(), 2, [(1.0, 2.0)], ClassLabels([1], integers=True), 3, inverse_weights=True),
    ),
}


def write(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coremldata.bin").write_bytes(data)
    return folder


@pytest.mark.parametrize("name", ROOTS)
def test_root_file_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    data = write_root(ROOTS[name])
    for size in range(len(data)):
        with pytest.raises(FormatError, match=r"coremldata\.bin: "):
            read_root(write(tmp_path, data[:size]) / "coremldata.bin")
    with pytest.raises(FormatError, match="1 bytes are left behind the last field"):
        read_root(write(tmp_path, data + b"\0") / "coremldata.bin")
    assert read_root(write(tmp_path, data) / "coremldata.bin") == ROOTS[name]


@pytest.mark.parametrize("name", ROOTS)
def test_no_number_of_a_root_file_may_be_huge(tmp_path: Path, name: str) -> None:
    """Any eight bytes replaced by 2⁶⁴ - 1: an error, or another value of a field that may have any."""
    data = write_root(ROOTS[name])
    refused = 0
    for start in range(4, len(data) - 8):
        path = write(tmp_path, data[:start] + b"\xff" * 8 + data[start + 8 :]) / "coremldata.bin"
        try:
            read_root(path)
        except (FormatError, UnsupportedError) as error:
            refused += 1
            assert "coremldata.bin" in str(error)  # noqa: PT017 (any of two errors, or none)
    assert refused > len(data) // 3


def replaced(start: int, number: int, root: Root) -> bytes:
    data = bytearray(write_root(root))
    struct.pack_into("<I", data, start, number)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (replaced(0, 12345, ROOTS["program"]), r"kind: found 12345, which Model\.proto names no kind"),
        (replaced(0, 10, ROOTS["program"]), "kind: found 10, which"),  # the field isUpdatable is no kind
        (replaced(0, 500, ROOTS["program"]), "kind: found mlProgram behind the description, but neuralNetwork in front"),
        (write_root(Root(header("mlProgram", "other"), ProgramBody(description()))), "container name: found 'other'"),
        (write_root(Root(header("mlProgram", ""), ProgramBody(description()))), "container name: is empty"),
        (write_root(ROOTS["program"])[:-8] + u64(1), "last field of a function: found 1, known are 0"),
        (write_root(ROOTS["classifier"]).replace(u64(100, 2), u64(102, 2)), "kind of labels: found 102, known are 100"),
        (write_root(ROOTS["network"])[:-1] + b"\xff", "name of an output: is not UTF-8"),
        (write_root(ROOTS["network"]).replace(text(description().SerializeToString()), text(b"\xff\xff")), "description: is no Model"),  # type: ignore[attr-defined]
        (write_root(Root(header("scaler", "spec"), SpecificationBody(b"\xff\xff"))), "message Model: truncated"),
        (write_root(Root(header("scaler", "spec"), SpecificationBody(b""))), "no model type is set"),
        (write_root(Root(header("scaler", "spec"), SpecificationBody(b"version https://git-lfs"))), "git lfs pull"),
        (b"version https://git-lfs.github.com/spec/v1\n", "kind: found 1936876918"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_field(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem) as caught:
        open_source(write(tmp_path / "a.mlmodelc", data))
    assert str(caught.value).startswith(str(tmp_path / "a.mlmodelc" / "coremldata.bin"))


def test_kind_in_a_form_that_was_never_seen(tmp_path: Path) -> None:
    root = Root(header("scaler", "generic"), ProgramBody(description()))
    with pytest.raises(UnsupportedError, match=r"a scaler in a container 'generic' has been seen in no real file"):
        open_source(write(tmp_path, write_root(root)))


def program(folder: Path) -> Path:
    write(folder, write_root(ROOTS["program"]))
    (folder / "model.mil").write_bytes(PROGRAM)
    return folder


def pipeline(folder: Path, models: int) -> Path:
    return write(folder, write_root(Root(header("pipeline", "generic"), PipelineBody(description(), models))))


def test_a_right_one_is_opened(tmp_path: Path) -> None:
    opened = open_source(program(tmp_path / "a.mlmodelc"))
    assert [item.type for item in opened.specification.mlProgram.functions["main"].block_specializations["CoreML5"].operations] == ["relu"]
    assert not opened.specification.mlProgram.attributes


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no text": (lambda folder: (folder / "model.mil").unlink(), r"model\.mil: no such file; the compiled model is not complete"),
    "empty text": (lambda folder: (folder / "model.mil").write_bytes(b""), r"model\.mil: is empty"),
    "not UTF-8": (lambda folder: (folder / "model.mil").write_bytes(b"program\xff"), r"model\.mil.*is not UTF-8"),
    "text is a folder": (lambda folder: ((folder / "model.mil").unlink(), (folder / "model.mil").mkdir()), r"model\.mil: is a folder"),
    "text cut off": (lambda folder: (folder / "model.mil").write_bytes(PROGRAM[:-30]), r"model\.mil"),
    "root is a link outside": (lambda folder: link_outside(folder / "coremldata.bin"), r"coremldata\.bin: leads outside"),
    "text is a link outside": (lambda folder: link_outside(folder / "model.mil"), r"model\.mil: leads outside"),
    "text is a link to itself": (lambda folder: link_to_itself(folder / "model.mil"), r"model\.mil: can't be looked up"),
}


def link_outside(path: Path) -> None:
    outside = path.parents[1] / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folder(tmp_path: Path, name: str) -> None:
    damage, problem = DAMAGES[name]
    folder = program(tmp_path / "a.mlmodelc")
    damage(folder)
    with pytest.raises(FormatError, match=problem):
        open_source(folder)


def test_pipeline_inside_itself(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "a.mlmodelc", models=1)
    (folder / "model0").symlink_to(".")
    with pytest.raises(FormatError, match="nested deeper than 16 levels"):
        open_source(folder)


def test_pipeline_with_more_models_than_anyone_has(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="number of models: found 9223372036854775807, allowed are 10000"):
        open_source(pipeline(tmp_path, models=2**63 - 1))


def test_pipeline_without_its_models(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"model0.coremldata\.bin: no such file"):
        open_source(pipeline(tmp_path, models=2))


def test_model_of_a_pipeline_outside_of_it(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "a.mlmodelc", models=1)
    write(tmp_path / "outside", write_root(Root(header("scaler", "spec"), SpecificationBody(scaler()))))
    (folder / "model0").symlink_to(tmp_path / "outside")
    with pytest.raises(FormatError, match=r"model0.coremldata\.bin: leads outside"):
        open_source(folder)


def test_number_of_neighbors_that_is_no_message(tmp_path: Path) -> None:
    folder = write(tmp_path, write_root(ROOTS["neighbors"]))
    with pytest.raises(FormatError, match="no such file"):
        read_compiled(folder)
    file = folder / "modelParameters" / "numberOfNeighbors" / "coremldata.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff\xff")
    with pytest.raises(FormatError, match="is no Int64Parameter message"):
        read_compiled(folder)


def test_analytics_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "coremldata.bin"
    data = write_analytics({"B": {"key": "value", "a": ""}, "A": {"k": "v"}})
    complete = len(write_analytics({"A": {"k": "v"}}))
    for size in set(range(1, len(data))) - {complete}:
        path.write_bytes(data[:size])
        with pytest.raises(FormatError, match=r"coremldata\.bin: "):
            read_analytics(path)
    path.write_bytes(text("A") + u64(2**60))
    with pytest.raises(FormatError, match="number of entries"):
        read_analytics(path)


def test_folder_alone_is_opened_without_its_models(tmp_path: Path) -> None:
    """What only asks for the kind of model needs no other file."""
    assert open_folder(pipeline(tmp_path, models=3)).header.kind == "pipeline"
