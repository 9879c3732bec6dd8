"""Opening models: what is opened is decided by content, and weight files are shared."""

from __future__ import annotations

import mmap
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moka.errors import FormatError
from moka.formats import dtypes
from moka.formats.files import FileSection
from moka.formats.mlmodel import write_specification
from moka.formats.mlpackage import write_package
from moka.formats.source import ModelSource, open_source
from moka.formats.validate import blob_values, tensor_type
from moka.formats.weights import WeightWriter
from tests.formats.test_mlmodel import scaler

NAME = "@model_path/weights/weight.bin"


@pytest.fixture
def source(tmp_path: Path) -> ModelSource:
    with WeightWriter(tmp_path / "weight.bin") as writer:
        writer.write(np.arange(4, dtype=np.int32), dtypes.INT32)
    write_package(tmp_path / "model.mlpackage", scaler(), {"weight.bin": tmp_path / "weight.bin"})
    return open_source(tmp_path / "model.mlpackage")


def test_package_is_opened_whatever_its_name(source: ModelSource, tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").rename(tmp_path / "model.mlmodelc")
    renamed = open_source(str(tmp_path / "model.mlmodelc"))
    assert renamed.specification == source.specification == scaler()
    assert renamed.root == tmp_path / "model.mlmodelc" / "Data" / "com.apple.CoreML"


def test_file_is_opened_whatever_its_name(tmp_path: Path) -> None:
    write_specification(scaler(), tmp_path / "model.mlpackage")
    opened = open_source(tmp_path / "model.mlpackage")
    assert (opened.specification, opened.root) == (scaler(), tmp_path)


def test_model_file_of_a_package_finds_its_weights(source: ModelSource) -> None:
    opened = open_source(source.model_file)
    assert opened.weights(NAME).read(64, dtypes.INT32, (4,)).tolist() == [0, 1, 2, 3]


def test_weight_file_is_mapped_once_for_all_threads(source: ModelSource) -> None:
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(source.weights, [NAME, "@model_path/./weights//weight.bin"] * 50))
    assert len(set(map(id, files))) == 1
    assert files[0].read(64, dtypes.INT32, (4,)).tolist() == [0, 1, 2, 3]


def test_weight_file_may_be_a_part_of_another_file(source: ModelSource, tmp_path: Path) -> None:
    content = (source.root / "weights" / "weight.bin").read_bytes()
    (source.root / "weights" / "weight.bin").unlink()
    (tmp_path / "whole").write_bytes(bytes(640) + content + b"more")
    with (tmp_path / "whole").open("rb") as file:
        section = FileSection("whole: part", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), 640, len(content))
    opened = open_source(source.path, {source.root / "weights" / "weight.bin": section})
    weights = opened.weights(NAME)
    assert weights is opened.weights("@model_path/./weights//weight.bin")
    assert (weights.path, weights.size) == ("whole: part", len(content))
    assert weights.read(64, dtypes.INT32, (4,)).tolist() == [0, 1, 2, 3]
    with pytest.raises(FormatError, match="whole: part: blob at 128"):
        weights.record(128)
    with pytest.raises(FormatError, match=r"'@model_path/weights/other\.bin'.*does not exist"):
        opened.weights("@model_path/weights/other.bin")
    with pytest.raises(FormatError, match=r"has a '\.\.'"):
        opened.weights("@model_path/weights/../weights/weight.bin")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("weights/weight.bin", "starts with '@model_path/'"),
        ("@model_path/", "names no file"),
        ("@model_path/../../../../weight.bin", "has a '..'"),
        ("@model_path/weights\\..\\..\\weight.bin", "has a '..'"),
        ("@model_path//etc/hosts", "is absolute"),
        ("@model_path/C:/weight.bin", "is absolute"),
        ("@model_path/weights/other.bin", "does not exist"),
        ("@model_path/weights/weight.bin/more", "can't be looked up"),
        ("@model_path/" + "a" * 5000, "can't be looked up"),
        ("@model_path/a\0b", "names no file"),
        ("@model_path/weights", "is a folder"),
    ],
)
def test_wrong_name_of_a_weight_file(source: ModelSource, name: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        source.weights(name)
    assert "weights" in str(caught.value) or repr(name) in str(caught.value)
    assert problem in str(caught.value)


def test_weight_file_that_is_a_link_outside_is_refused(source: ModelSource, tmp_path: Path) -> None:
    (source.root / "weights" / "linked.bin").symlink_to(tmp_path / "weight.bin")
    with pytest.raises(FormatError, match="leads outside"):
        source.weights("@model_path/weights/linked.bin")


def test_compiled_model_is_opened_by_what_is_in_it(tmp_path: Path, corpus: Path) -> None:
    compiled = corpus / "pairs" / "programming-language" / "ProgrammingLanguageClassifier.mlmodelc"
    shutil.copytree(compiled, tmp_path / "anything")
    opened = open_source(tmp_path / "anything")
    assert (opened.path, opened.root, opened.model_file) == (tmp_path / "anything", tmp_path / "anything", opened.root / "coremldata.bin")
    assert opened.specification == open_source(compiled.with_suffix(".mlmodel")).specification


def test_folder_named_like_a_compiled_model_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.mlmodelc").mkdir()
    with pytest.raises(FormatError, match=r"a\.mlmodelc.coremldata\.bin: no such file"):
        open_source(tmp_path / "a.mlmodelc")


@pytest.mark.parametrize("name", ["missing.mlmodel", "a\0b", "folder"])
def test_what_is_no_model_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError) as caught:
        open_source(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_all_blobs_of_real_packages_are_those_that_coremltools_reads(corpus: Path) -> None:
    storage = pytest.importorskip("coremltools.libmilstoragepython")
    readers = {"fp16": "fp16", "fp32": "float", "int8": "int8", "uint8": "uint8"}
    compared = 0
    for path in sorted(corpus.glob("**/*.mlpackage")):
        opened = open_source(path)
        for _, value in blob_values(opened.specification.mlProgram):
            dtype, shape = tensor_type(value.type, path)
            file = opened.weights(value.blobFileValue.fileName)
            ours = file.read(value.blobFileValue.offset, dtype, shape)
            reader = storage._BlobStorageReader(str(file.path))
            theirs = getattr(reader, f"read_{readers[dtype.name]}_data")(value.blobFileValue.offset)
            assert np.array_equal(ours.view(np.uint8).reshape(-1), np.asarray(theirs).view(np.uint8).reshape(-1)), path
            compared += 1
    assert compared > 300
