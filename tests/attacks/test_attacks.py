"""Hostile files are refused with an error that names file and field, and ``problems`` finds the same."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from moka.errors import FormatError
from moka.formats.source import ModelSource, open_source
from moka.formats.validate import blob_values, problems, programs, tensor_type
from tests.attacks import builders as build


@dataclass(frozen=True)
class Attack:
    """A hostile file, and what the message must have in it: the file's name first, then the field."""

    name: str
    make: build.Builder
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


WEIGHTS, MODEL, MANIFEST = build.WEIGHTS, build.MODEL, build.MANIFEST
ITEM_PATH = ("Manifest.json", "itemInfoEntries[", "].path")

MESSAGES = [
    Attack("no such file", lambda folder: folder / "model.mlmodel", ("model.mlmodel", "no such file")),
    Attack("empty", build.model_bytes(b""), ("model.mlmodel", "is empty")),
    Attack("not protobuf", build.model_bytes(b"\xff" * 100), ("model.mlmodel", "message Model", "not a Core ML model")),
    Attack("text", build.model_bytes(b"this is text\n"), ("model.mlmodel", "message Model")),
    Attack("no model type", build.model_bytes(b"\x08\x01"), ("model.mlmodel", "field Type", "no model type")),
    Attack("Git LFS pointer", build.model_bytes(b"version https://git-lfs.github.com/spec/v1\n"), ("git lfs pull",)),
    Attack("truncated message", build.truncated(MODEL, 60), ("model.mlmodel", "message Model", "truncated")),
    Attack("10,000 nested blocks", build.nested_blocks(10_000), ("model.mlmodel", "nested deeper")),
    Attack("pipe", build.pipe, ("model.mlmodel", "not a regular file")),
    Attack("name is not UTF-8", build.model_bytes(b"\x12\x06\xa2\x06\x03\x0a\x01\xff"), ("model.mlmodel", "message Model")),
]

MANIFESTS = [
    Attack("manifest empty", build.with_bytes(MANIFEST, b""), ("Manifest.json", "is empty")),
    Attack("manifest not JSON", build.with_bytes(MANIFEST, b"{"), ("Manifest.json", "not JSON")),
    Attack("manifest not UTF-8", build.with_bytes(MANIFEST, b'{"a": "\xff"}'), ("Manifest.json", "not UTF-8")),
    Attack("manifest is a list", build.with_bytes(MANIFEST, b"[]"), ("Manifest.json", "found list, expected dict")),
    Attack("manifest nested", build.with_bytes(MANIFEST, b"[" * 200_000), ("Manifest.json", "nested too deeply")),
    Attack("manifest too long", build.with_bytes(MANIFEST, b" " * (2**24 + 1)), ("Manifest.json", "16777217 bytes")),
    Attack("number too long", build.with_bytes(MANIFEST, b"1" * 10_000), ("Manifest.json", "not JSON")),
    Attack("manifest is a folder", build.replaced(MANIFEST, build.folder_instead), ("Manifest.json", "is a folder")),
    Attack("key twice", build.with_bytes(MANIFEST, b'{"a": 1, "b": 2, "a": 3}'), ("Manifest.json", "key 'a'", "more than once")),
    Attack(
        "key twice inside",
        build.with_bytes(MANIFEST, b'{"itemInfoEntries": {"X": {"path": "a", "path": "b"}}}'),
        ("Manifest.json", "key 'path'", "more than once"),
    ),
    Attack(
        "no version",
        build.with_manifest(lambda manifest: manifest.pop("fileFormatVersion")),
        ("Manifest.json: fileFormatVersion", "is missing"),
    ),
    Attack(
        "later version",
        build.with_manifest(lambda manifest: manifest.update(fileFormatVersion="2.0.0")),
        ("Manifest.json: fileFormatVersion", "'2.0.0'"),
    ),
    Attack(
        "no items",
        build.with_manifest(lambda manifest: manifest.pop("itemInfoEntries")),
        ("Manifest.json: itemInfoEntries", "is missing"),
    ),
    Attack(
        "item is text",
        build.with_manifest(lambda manifest: manifest["itemInfoEntries"].update(X="text")),
        ("Manifest.json: itemInfoEntries['X']", "found str, expected dict"),
    ),
    Attack(
        "path is a number",
        build.with_manifest(lambda manifest: build.model_item(manifest).update(path=1)),
        (*ITEM_PATH, "found int, expected str"),
    ),
    Attack(
        "item without a name",
        build.with_manifest(lambda manifest: build.model_item(manifest).pop("name")),
        ("Manifest.json: itemInfoEntries[", "].name", "is missing"),
    ),
    Attack(
        "root is no item",
        build.with_manifest(lambda manifest: manifest.update(rootModelIdentifier="X")),
        ("Manifest.json: rootModelIdentifier", "'X' is not one of the 2 items"),
    ),
    Attack(
        "root is a list",
        build.with_manifest(lambda manifest: manifest.update(rootModelIdentifier=["X"])),
        ("Manifest.json: rootModelIdentifier", "found list, expected str"),
    ),
]

PATHS = [
    Attack("parent", build.with_item_path("../../outside/model.mlmodel"), (*ITEM_PATH, "has a '..'")),
    Attack("parent and back", build.with_item_path("a/../com.apple.CoreML/model.mlmodel"), (*ITEM_PATH, "has a '..'")),
    Attack("parent of Windows", build.with_item_path("..\\model.mlmodel"), (*ITEM_PATH, "has a '..'")),
    Attack("absolute", build.with_item_path("/etc/passwd"), (*ITEM_PATH, "is absolute")),
    Attack("absolute on Windows", build.with_item_path("C:\\model.mlmodel"), (*ITEM_PATH, "is absolute")),
    Attack("share of Windows", build.with_item_path("\\\\server\\share\\model"), (*ITEM_PATH, "is absolute")),
    Attack("empty path", build.with_item_path(""), (*ITEM_PATH, "names no file")),
    Attack("dot", build.with_item_path("."), (*ITEM_PATH, "names no file")),
    Attack("zero character", build.with_item_path("a\0b"), (*ITEM_PATH, "names no file")),
    Attack("lone surrogate", build.with_item_path("a\ud800b"), (*ITEM_PATH, "can't be looked up")),
    Attack("very long path", build.with_item_path("a" * 5000), (*ITEM_PATH, "can't be looked up")),
    Attack("missing file", build.with_item_path("com.apple.CoreML/other"), (*ITEM_PATH, "does not exist")),
    Attack("link outside", build.replaced(MODEL, build.link), (*ITEM_PATH, "leads outside")),
    Attack("link to itself", build.replaced(MODEL, build.loop), (*ITEM_PATH, "can't be looked up")),
    Attack("linked Data", build.linked_data, (*ITEM_PATH, "leads outside")),
    Attack("model is a folder", build.with_item_path("com.apple.CoreML"), ("com.apple.CoreML", "is a folder")),
]

BLOBS = [
    Attack("weights missing", build.replaced(WEIGHTS, build.removed), ("weights/weight.bin", "does not exist")),
    Attack("weights linked outside", build.replaced(WEIGHTS, build.link), ("weights/weight.bin", "leads outside")),
    Attack("weights link to itself", build.replaced(WEIGHTS, build.loop), ("weights/weight.bin", "can't be looked up")),
    Attack("weights a folder", build.replaced(WEIGHTS, build.folder_instead), ("weight.bin", "is a folder")),
    Attack("weights empty", build.with_bytes(WEIGHTS, b""), ("weight.bin: header", "0 bytes")),
    Attack("header cut", build.truncated(WEIGHTS, 63), ("weight.bin: header", "63 bytes")),
    Attack("record cut", build.truncated(WEIGHTS, 127), ("weight.bin: header: count", "don't fit")),
    Attack("data cut", build.truncated(WEIGHTS, 193), ("weight.bin: blob at 192: offset", "past the file's 193 bytes")),
    Attack("wrong version", build.with_field(4, "<I", 3), ("weight.bin: header: version", "found 3, expected 2")),
    Attack("wrong sentinel", build.with_field(64, "<I", 0), ("weight.bin: blob at 64: sentinel", "0xdeadbeef")),
    Attack("unknown type", build.with_field(68, "<I", 77), ("weight.bin: blob at 64: type", "found 77")),
    Attack("other type", build.with_field(68, "<I", 5), ("weight.bin: blob at 64: type", "bf16", "declares fp16")),
    Attack("size past the end", build.with_field(72, "<Q", 2**64 - 1), ("weight.bin: blob at 64: size",)),
    Attack("data past the end", build.with_field(80, "<Q", 2**63), ("weight.bin: blob at 64: size",)),
    Attack("data offset not aligned", build.with_field(80, "<Q", 130), ("weight.bin: blob at 64: data offset", "130")),
    Attack("data before the record", build.with_field(80, "<Q", 64), ("weight.bin: blob at 64: data offset", "found 64")),
    Attack("count too high", build.with_field(0, "<I", 2**32 - 1), ("weight.bin: header: count", "don't fit")),
    Attack("padding too large", build.with_field(216, "<Q", 2**64 - 1), ("weight.bin: blob at 192: padding",)),
    Attack(
        "offset past the end",
        build.with_value(lambda value: setattr(value.blobFileValue, "offset", 2**40)),
        ("weight.bin: blob at 1099511627776: offset",),
    ),
    Attack(
        "largest offset",
        build.with_value(lambda value: setattr(value.blobFileValue, "offset", 2**64 - 64)),
        ("weight.bin: blob at 18446744073709551552: offset",),
    ),
    Attack(
        "offset zero",
        build.with_value(lambda value: setattr(value.blobFileValue, "offset", 0)),
        ("weight.bin: blob at 0: offset",),
    ),
    Attack(
        "offset inside data",
        build.with_value(lambda value: setattr(value.blobFileValue, "offset", 128)),
        ("weight.bin: blob at 128: sentinel",),
    ),
    Attack("huge shape product", build.with_shape(2**63, 2**63), ("weight.bin: blob at 64: shape", "64 bits")),
    Attack("product that wraps to 6", build.with_shape(2**63 + 3, 2), ("weight.bin: blob at 64: shape", "64 bits")),
    Attack("shape too large", build.with_shape(2, 4), ("weight.bin: blob at 64: size", "found 6 elements", "has 8")),
    Attack("shape too small", build.with_shape(5), ("weight.bin: blob at 64: size", "found 6 elements", "has 5")),
    Attack("100,000 sizes", build.with_shape(*[2] * 100_000), ("weight.bin: blob at 64: shape", "64 bits")),
    Attack("empty shape", build.with_shape(0, 2**63), ("weight.bin: blob at 64: size", "has 0")),
    Attack(
        "type that the program has no number for",
        build.with_value(lambda value: setattr(value.type.tensorType, "dataType", 99)),
        ("dataType", "found 99"),
    ),
    Attack(
        "unknown dimension",
        build.with_value(lambda value: value.type.tensorType.dimensions[0].unknown.SetInParent()),
        ("dimensions", "not a constant"),
    ),
    Attack(
        "rank is another",
        build.with_value(lambda value: setattr(value.type.tensorType, "rank", 2**40)),
        ("rank", "found 1099511627776 with 2 dimensions"),
    ),
    Attack(
        "file name outside",
        build.with_value(lambda value: setattr(value.blobFileValue, "fileName", "@model_path/../../../weight.bin")),
        ("weight file '@model_path/../../../weight.bin'", "has a '..'"),
    ),
    Attack(
        "file name absolute",
        build.with_value(lambda value: setattr(value.blobFileValue, "fileName", "/etc/hosts")),
        ("weight file '/etc/hosts'", "@model_path/"),
    ),
]


def read_all(path: Path) -> list[np.ndarray]:
    """Opens a model and reads all of its weights, as a model that is loaded does."""
    source = open_source(path)
    return [array for program, where in programs(source.specification) for array in read_blobs(source, program, where)]


def read_blobs(source: ModelSource, program: object, where: str) -> list[np.ndarray]:
    arrays = []
    for place, value in blob_values(program, where):
        file = source.weights(value.blobFileValue.fileName)
        list(file.records())
        arrays.append(file.read(value.blobFileValue.offset, *tensor_type(value.type, place)))
    return arrays


def test_what_the_attacks_are_made_from_is_right(tmp_path: Path) -> None:
    path = build.package(tmp_path)
    assert [array.tolist() for array in read_all(path)] == [[[0, 1, 2], [3, 4, 5]]]
    assert problems(path) == []


@pytest.mark.parametrize("attack", [*MESSAGES, *MANIFESTS, *PATHS, *BLOBS], ids=str)
def test_attack_is_refused_with_file_and_field(attack: Attack, tmp_path: Path) -> None:
    path = attack.make(tmp_path)
    with pytest.raises(FormatError) as caught:
        read_all(path)
    assert [word for word in attack.says if word not in str(caught.value)] == []
    assert len(str(caught.value)) < 12_000


@pytest.mark.parametrize("attack", [*MESSAGES, *MANIFESTS, *PATHS, *BLOBS], ids=str)
def test_attack_is_among_the_problems(attack: Attack, tmp_path: Path) -> None:
    found = [str(problem) for problem in problems(attack.make(tmp_path))]
    assert [text for text in found if all(word in text for word in attack.says)], found


@pytest.mark.parametrize("depth", [10, 30])
def test_moderate_nesting_is_read(depth: int, tmp_path: Path) -> None:
    specification = open_source(build.nested_blocks(depth)(tmp_path)).specification
    block = next(iter(specification.mlProgram.functions["main"].block_specializations.values()))
    for _ in range(depth):
        block = block.operations[0].blocks[0]
    assert not block.operations


def test_model_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = build.package(tmp_path)
    for size in reversed(range(os.path.getsize(path / MODEL))):
        os.truncate(path / MODEL, size)
        with pytest.raises(FormatError, match=r"model\.mlmodel: "):
            read_all(path)


def test_model_name_that_only_json_can_write(tmp_path: Path) -> None:
    path = build.with_item_path("a\ud800b")(tmp_path)
    with pytest.raises(FormatError) as caught:
        open_source(path)
    str(caught.value).encode()  # the message can be printed
    assert json.loads((path / MANIFEST).read_text())["rootModelIdentifier"]
