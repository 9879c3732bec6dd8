"""Builders of hostile files: each takes an empty folder and returns the path to open, made from a model that is right."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from moka.formats import dtypes, schema
from moka.formats.mlmodel import read_specification, write_specification
from moka.formats.mlpackage import write_package
from moka.formats.weights import WeightWriter

WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
MANIFEST = Path("Manifest.json")


def program_with_blob() -> Any:
    """An ML Program with one constant: six fp16 values of shape 2 × 3 in the blob at 64."""
    specification = schema.model().Model(specificationVersion=8)
    function = specification.mlProgram.functions["main"]
    function.opset = "CoreML7"
    block = function.block_specializations["CoreML7"]
    block.outputs.append("weight")
    constant = block.operations.add(type="const")
    value = constant.attributes["val"]
    tensor = value.type.tensorType
    tensor.dataType, tensor.rank = dtypes.FP16.mil, 2
    for size in (2, 3):
        tensor.dimensions.add().constant.size = size
    value.blobFileValue.fileName = "@model_path/weights/weight.bin"
    value.blobFileValue.offset = 64
    constant.outputs.add(name="weight").type.CopyFrom(value.type)
    return specification


def constant_value(specification: Any) -> Any:
    """The ``Value`` message of the constant."""
    block = specification.mlProgram.functions["main"].block_specializations["CoreML7"]
    return block.operations[0].attributes["val"]


def package(folder: Path) -> Path:
    """A package that is right: a program, and a weight file of two blobs (fp16 at 64, uint3 at 192)."""
    with WeightWriter(folder / "weight.bin") as writer:
        writer.write(np.arange(6, dtype=np.float16).reshape(2, 3), dtypes.FP16)
        writer.write(np.arange(5, dtype=np.uint8), dtypes.UINT3)
    path = folder / "model.mlpackage"
    write_package(path, program_with_blob(), {"weight.bin": folder / "weight.bin"})
    return path


Builder = Callable[[Path], Path]


def model_bytes(data: bytes) -> Builder:
    """A file ``model.mlmodel`` with this content."""

    def build(folder: Path) -> Path:
        path = folder / "model.mlmodel"
        path.write_bytes(data)
        return path

    return build


def with_value(change: Callable[[Any], None]) -> Builder:
    """A package whose constant has a changed ``Value`` message."""

    def build(folder: Path) -> Path:
        path = package(folder)
        specification = read_specification(path / MODEL)
        change(constant_value(specification))
        write_specification(specification, path / MODEL)
        return path

    return build


def with_shape(*sizes: int) -> Builder:
    def change(value: Any) -> None:
        tensor = value.type.tensorType
        tensor.rank = len(sizes)
        del tensor.dimensions[:]
        for size in sizes:
            tensor.dimensions.add().constant.size = size

    return with_value(change)


def with_manifest(change: Callable[[dict[str, Any]], None]) -> Builder:
    """A package whose manifest is changed."""

    def build(folder: Path) -> Path:
        path = package(folder)
        manifest = json.loads((path / MANIFEST).read_bytes())
        change(manifest)
        (path / MANIFEST).write_text(json.dumps(manifest))
        return path

    return build


def model_item(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]


def with_item_path(path: str) -> Builder:
    return with_manifest(lambda manifest: model_item(manifest).update(path=path))


def with_bytes(file: Path, data: bytes) -> Builder:
    """A package with another content of one file."""

    def build(folder: Path) -> Path:
        path = package(folder)
        (path / file).write_bytes(data)
        return path

    return build


def with_field(position: int, form: str, value: int) -> Builder:
    """A package whose weight file has another number at a position."""

    def build(folder: Path) -> Path:
        path = package(folder)
        data = bytearray((path / WEIGHTS).read_bytes())
        struct.pack_into(form, data, position, value)
        (path / WEIGHTS).write_bytes(data)
        return path

    return build


def truncated(file: Path, size: int) -> Builder:
    """A package with only the first bytes of one file."""

    def build(folder: Path) -> Path:
        path = package(folder)
        os.truncate(path / file, size)
        return path

    return build


def replaced(file: Path, make: Callable[[Path, Path], None]) -> Builder:
    """A package with something else in place of one file; ``make`` gets its path, and that of the file kept outside."""

    def build(folder: Path) -> Path:
        path = package(folder)
        outside = folder / "outside" / file.name
        outside.parent.mkdir()
        (path / file).rename(outside)
        make(path / file, outside)
        return path

    return build


def removed(path: Path, outside: Path) -> None:
    """For ``replaced``: nothing in place of the file."""


def link(path: Path, outside: Path) -> None:
    """For ``replaced``: a link to the file outside."""
    path.symlink_to(outside)


def loop(path: Path, outside: Path) -> None:
    """For ``replaced``: a link to itself."""
    path.symlink_to(path.name)


def folder_instead(path: Path, outside: Path) -> None:
    """For ``replaced``: a folder of the same name."""
    path.mkdir()


def linked_data(folder: Path) -> Path:
    """A package whose whole ``Data`` folder is a link to a folder outside."""
    path = package(folder)
    (path / "Data").rename(folder / "outside")
    (path / "Data").symlink_to(folder / "outside")
    return path


def pipe(folder: Path) -> Path:
    """A pipe that nobody writes to: opening it would wait for ever."""
    os.mkfifo(folder / "model.mlmodel")
    return folder / "model.mlmodel"


def nested_blocks(depth: int) -> Builder:
    """A program of blocks in operations in blocks, written as bytes: protobuf's own writer would recurse."""

    def build(folder: Path) -> Path:
        mil, root = schema.mil(), schema.model().Model
        numbers = {name: mil.Block.DESCRIPTOR.fields_by_name[name].number for name in ("operations",)}
        numbers |= {name: mil.Operation.DESCRIPTOR.fields_by_name[name].number for name in ("blocks",)}
        block = b""
        for _ in range(depth):
            block = _field(numbers["operations"], _field(numbers["blocks"], block))
        function = _field(mil.Function.DESCRIPTOR.fields_by_name["block_specializations"].number, _entry(block))
        program = _field(mil.Program.DESCRIPTOR.fields_by_name["functions"].number, _entry(function))
        return model_bytes(_field(root.DESCRIPTOR.fields_by_name["mlProgram"].number, program))(folder)

    return build


def _entry(value: bytes) -> bytes:
    """An entry of a map: the key is field 1, the value field 2."""
    return _field(1, b"main") + _field(2, value)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
