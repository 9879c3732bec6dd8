"""Reads and writes the three files of a compiled network: its layers, the shapes of its blobs, and its weights.

    model.espresso.net      JSON: {"format_version", "storage", "layers": [...], "transform_params", ...}
    model.espresso.shape    JSON: {"layer_shapes": {blob: {"n", "k", "h", "w" and in newer files "_rank"}}}
    model.espresso.weights  u64 number of blobs; for each blob u64 id, u64 size; then their bytes in that order

Numbers are little-endian. In a weight file the ids are 0, 1, 2 ...: odd ones hold data, and each even one is the padding
that brings what follows it to a multiple of 64. Read off compiled models of 2017 to 2025.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from moka.errors import FormatError, InputError
from moka.formats.files import read_bytes, regular_file_size, replacing_file

__all__ = [
    "FORMAT_VERSION",
    "NET_FILE",
    "SHAPE_FILE",
    "WEIGHT_FILE",
    "BlobShape",
    "EspressoWeights",
    "Layer",
    "Net",
    "padding_before",
    "read_net",
    "read_shapes",
    "write_net",
    "write_shapes",
    "write_weights",
]

NET_FILE = "model.espresso.net"
SHAPE_FILE = "model.espresso.shape"
WEIGHT_FILE = "model.espresso.weights"
FORMAT_VERSION = 200

Layer = dict[str, Any]
"""One layer of a net: "name", "type", "bottom" and "top" (names of blobs, joined by commas) and its attributes."""

Net = dict[str, Any]
"""What a ``.net`` file holds: "layers" is a list of ``Layer``, "storage" the name of the weight file."""

BlobShape = dict[str, int]
"""A blob's sizes by axis: "n" batch, "k" channels, "h" height, "w" width, and "_rank" in newer files."""

_LARGEST_TEXT = 2**28
_TEXT_LIMIT_REASON = "the largest nets known have a hundredth of that"
_ALIGNMENT = 64
_COUNT = struct.Struct("<Q")
_ENTRY = struct.Struct("<QQ")
_TEXTS = ("name", "type")


def read_net(path: Path) -> Net:
    """The net in a file, with what every reader relies on checked: its version, and the names of layers and blobs.

    Raises:
        FormatError: missing, longer than 256 MiB, not JSON, another version, or a layer without name and type.
    """
    net = _read_json(path)
    if net.get("format_version") != FORMAT_VERSION:
        raise FormatError(f"{path}: format_version", f"found {net.get('format_version')!r:.80}, known is {FORMAT_VERSION}")
    if not isinstance(net.get("storage"), str):
        raise FormatError(f"{path}: storage", "expected the name of the weight file")
    if not isinstance(net.get("layers"), list):
        raise FormatError(f"{path}: layers", "expected a list")
    for index, layer in enumerate(net["layers"]):
        _check_layer(layer, f"{path}: layer {index}")
    return net


def _check_layer(layer: object, where: str) -> None:
    if not isinstance(layer, dict):
        raise FormatError(where, "expected an object")
    for key in _TEXTS:
        if not isinstance(layer.get(key), str):
            raise FormatError(f"{where}: {key}", f"found {layer.get(key)!r:.80}, expected a text")
    for key in ("bottom", "top"):
        if not isinstance(layer.get(key, ""), str):
            raise FormatError(f"{where} {layer['name']!r:.80}: {key}", "expected names of blobs, joined by commas")


def write_net(path: Path, net: Net) -> None:
    """Writes a net; InputError for a number that JSON has no text for (infinite, or not a number)."""
    _write_json(path, net)


def read_shapes(path: Path) -> dict[str, BlobShape]:
    """The shapes of a network's blobs, by name.

    Raises:
        FormatError: missing, longer than 256 MiB, not JSON, or a size that is no integer from 0 to 2³¹ - 1.
    """
    shapes = _read_json(path).get("layer_shapes")
    if not isinstance(shapes, dict):
        raise FormatError(f"{path}: layer_shapes", "expected an object of shapes by blob")
    for name, shape in shapes.items():
        if not isinstance(shape, dict) or not {"n", "k", "h", "w"} <= shape.keys():
            raise FormatError(f"{path}: blob {name!r:.80}", "expected an object with n, k, h and w")
        for axis, size in shape.items():
            if type(size) is not int or not 0 <= size < 2**31:
                raise FormatError(f"{path}: blob {name!r:.80}: {axis}", f"found {size!r:.80}, expected 0 to 2³¹ - 1")
    return shapes


def write_shapes(path: Path, shapes: Mapping[str, BlobShape]) -> None:
    """Writes the shapes of a network's blobs."""
    _write_json(path, {"layer_shapes": dict(shapes)})


def _read_json(path: Path) -> dict[str, Any]:
    data = read_bytes(path, _LARGEST_TEXT, _TEXT_LIMIT_REASON)
    try:
        content = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not JSON that can be read: {error}") from error
    if not isinstance(content, dict):
        raise FormatError(path, f"is a JSON {type(content).__name__}, expected an object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(content, indent=2, separators=(",", " : "), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{path}: a number that JSON can't hold: {error}") from error
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class EspressoWeights:
    """A network's weight file, mapped into memory: blobs are views of the map, read when they are touched.

    The map is private and copy-on-write, as PyTorch wants its memory writable; nothing reaches the file. It lives as
    long as the last array that refers to it.

    Attributes:
        path: the file.
        spans: for each blob's id, where it starts and its size in bytes.

    Raises:
        FormatError: missing, not a regular file, a table or a blob that ends past the file, or an id that comes twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        size = regular_file_size(self.path)
        if size < _COUNT.size:
            raise FormatError(self.path, f"has {size} bytes, the number of blobs alone has {_COUNT.size}")
        self._map = _map(self.path, size)
        self.spans = _spans(self._map, size, self.path)

    def blob(self, identifier: int) -> npt.NDArray[np.uint8]:
        """The bytes of a blob, as a view of the map; FormatError where the file has no blob of that id."""
        if identifier not in self.spans:
            raise FormatError(f"{self.path}: blob {identifier}", f"is not there, the file has {len(self.spans)} blobs")
        start, size = self.spans[identifier]
        return np.frombuffer(self._map, np.uint8, size, start)

    def array(self, identifier: int, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """The first ``count`` elements of a blob, which may be padded; FormatError where it has fewer."""
        blob, size = self.blob(identifier), np.dtype(dtype).itemsize * count
        if not 0 <= size <= blob.size:
            raise FormatError(f"{self.path}: blob {identifier}", f"has {blob.size} bytes, expected {count} of {np.dtype(dtype)}")
        return np.frombuffer(blob[:size].data, dtype)

    def __repr__(self) -> str:
        return f"EspressoWeights({str(self.path)!r}: {len(self.spans)} blobs)"


def _map(path: Path, size: int) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        raise FormatError(path, f"can't be mapped into memory: {error}") from error


def _spans(data: mmap.mmap, file_size: int, path: Path) -> dict[int, tuple[int, int]]:
    (count,) = _COUNT.unpack_from(data)
    start = _COUNT.size + count * _ENTRY.size
    if start > file_size:
        raise FormatError(f"{path}: number of blobs", f"{count} don't fit into a file of {file_size} bytes")
    spans: dict[int, tuple[int, int]] = {}
    for identifier, size in _ENTRY.iter_unpack(data[_COUNT.size : start]):
        if identifier in spans:
            raise FormatError(f"{path}: blob {identifier}", "comes twice")
        if start + size > file_size:
            raise FormatError(f"{path}: blob {identifier}", f"bytes {start} to {start + size}, the file has {file_size}")
        spans[identifier] = (start, size)
        start += size
    return spans


def padding_before(offset: int) -> int:
    """The bytes of padding that bring an offset to a multiple of 64."""
    return -offset % _ALIGNMENT


def write_weights(path: Path, sizes: Sequence[int], blobs: Iterable[npt.NDArray[Any]]) -> None:
    """Writes a weight file of the given blobs, as ids 1, 3, 5 ..., each at a multiple of 64; the file ends on one.

    Before each blob stands its padding as a blob of its own, with the even id below. Sizes in bytes are given beforehand, so that
    only one blob at a time need be in memory.

    Raises:
        InputError: a blob of another size, or more or fewer of them.
    """
    offset = _COUNT.size + 2 * len(sizes) * _ENTRY.size
    table = bytearray(_COUNT.pack(2 * len(sizes)))
    for index, size in enumerate(sizes):
        padding = padding_before(offset)
        table += _ENTRY.pack(2 * index, padding) + _ENTRY.pack(2 * index + 1, size)
        offset += padding + size
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        file.write(table)
        for index, blob in _counted(path, len(sizes), blobs):
            if blob.nbytes != sizes[index]:
                raise InputError(f"{path}: blob {2 * index + 1}: has {blob.nbytes} bytes, expected {sizes[index]}")
            file.write(b"\0" * padding_before(file.tell()))
            file.write(np.ascontiguousarray(blob).data)
        file.write(b"\0" * padding_before(file.tell()))


def _counted(path: Path, count: int, blobs: Iterable[npt.NDArray[Any]]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    index = 0
    for index, blob in enumerate(blobs, start=1):
        if index > count:
            break
        yield index - 1, blob
    if index != count:
        raise InputError(f"{path}: found {index} blobs or more, expected {count}")
