"""Folders as one run of bytes, the way ExecuTorch keeps Core ML models in its programs.

The files' contents come first. At the end stands, with its bytes in reverse order, a JSON text

    {"nodes": [{"name": "weight.bin", "kind": 0, "dataRegion": {"offset": 0, "size": 256}, "children": {}}, ...]}

in which ``kind`` 0 is a file and 1 a folder, ``children`` are indices into the list by name, and the last node is the folder itself.
Children come before their folder. Source: ExecuTorch 1.5, ``backends/apple/coreml/runtime/inmemoryfs``, and what its
``flatten_directory_contents`` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moka.errors import FormatError
from moka.formats.mlpackage import relative_path_problem

__all__ = ["pack_files", "unpack_files", "write_files"]

_LARGEST_INDEX = 16 * 2**20
_DEEPEST = 32
_FILE, _FOLDER = 0, 1


def unpack_files(blob: memoryview, where: str) -> dict[str, memoryview]:
    """The files by their relative path, not copied; a folder with nothing in it is there by its path and ``/``, without content.

    Raises:
        FormatError: the index is damaged, a name is no name of a file, or files overlap or lie outside the blob.
    """
    nodes, end = _index(blob, where)
    try:
        files = dict(_walk(nodes, len(nodes) - 1, "", blob[:end], set()))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(where, f"index of files is damaged: {type(error).__name__}: {error}") from error
    if sum(map(len, files.values())) > end:
        raise FormatError(where, "files overlap in the payload")
    for name in files:
        if problem := relative_path_problem(name):
            raise FormatError(where, problem)
    return files


def write_files(files: Mapping[str, memoryview], folder: Path) -> None:
    """Writes files and empty folders into a folder, by the paths that `unpack_files` checked."""
    for name, content in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """The bytes that `unpack_files` reads."""
    nodes: list[dict[str, Any]] = []
    contents: list[bytes] = []
    tree: dict[str, Any] = {}
    for name, content in files.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        if last:
            place[last] = content
    _pack(tree, "", nodes, contents)
    return b"".join(contents) + json.dumps({"nodes": nodes}, ensure_ascii=False).encode()[::-1]


def _pack(item: Any, name: str, nodes: list[dict[str, Any]], contents: list[bytes]) -> int:
    children, region = {}, {"offset": 0, "size": 0}
    if isinstance(item, dict):
        children = {child: _pack(content, child, nodes, contents) for child, content in item.items()}
    else:
        region = {"offset": sum(map(len, contents)), "size": len(item)}
        contents.append(item)
    kind = _FOLDER if isinstance(item, dict) else _FILE
    nodes.append({"name": name, "kind": kind, "dataRegion": region, "children": children})
    return len(nodes) - 1


def _index(blob: memoryview, where: str) -> tuple[list[Any], int]:
    """The nodes, and where the files' contents end."""
    tail = bytes(blob[-_LARGEST_INDEX:])[::-1].decode("latin-1")  # one character a byte: what follows the JSON text is no text
    try:
        _, length = json.JSONDecoder().raw_decode(tail)
        nodes = json.loads(tail[:length].encode("latin-1"))["nodes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(where, "ends with no index of files, as ExecuTorch's Core ML payloads do") from error
    if not isinstance(nodes, list) or not nodes:
        raise FormatError(where, "index of files has no nodes")
    return nodes, len(blob) - length


def _walk(nodes: list[Any], index: int, prefix: str, data: memoryview, seen: set[int]) -> Iterator[tuple[str, memoryview]]:
    """The files below a node; each node is in one place, which ``seen`` watches."""
    if index in seen or prefix.count("/") > _DEEPEST:
        raise ValueError(f"node {index} is in two places, or {prefix!r} is too deep")
    seen.add(index)
    node = nodes[index]
    if node["kind"] == _FILE:
        offset, size = node["dataRegion"]["offset"], node["dataRegion"]["size"]
        if not (type(offset) is type(size) is int and offset >= 0 and size >= 0 and offset + size <= len(data)):
            raise ValueError(f"file {prefix!r}: {size} bytes at {offset} of {len(data)}")
        yield prefix, data[offset : offset + size]
        return
    if node["kind"] != _FOLDER:
        raise ValueError(f"node {index} is of kind {node['kind']!r}")
    if prefix and not node["children"]:
        yield f"{prefix}/", data[:0]
    for name, child in node["children"].items():
        if type(child) is not int or not 0 <= child < index or "/" in name or name in ("", "."):
            raise ValueError(f"node {index}: child {name!r} is {child!r}")
        yield from _walk(nodes, child, f"{prefix}/{name}" if prefix else name, data, seen)
