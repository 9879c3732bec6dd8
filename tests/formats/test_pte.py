"""ExecuTorch programs: files built here with the FlatBuffers library, damaged in every way, and those that ExecuTorch itself writes."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from moka.errors import FormatError, MokaError
from moka.formats.inmemoryfs import pack_files, unpack_files, write_files
from moka.formats.pte import Call, TensorValue, is_program, read_program

flatbuffers = pytest.importorskip("flatbuffers", reason="the package flatbuffers, which builds the programs, is not installed")

FLOAT = 6
KERNEL, DELEGATE, MOVE = 1, 2, 3
SPECS = {"compute_units": b"cpu_only", "model_type": b"model"}


class Builder:
    """Writes ``program.fbs`` tables with the FlatBuffers library, by their fields' indices."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(self, fields: dict[int, tuple[str, Any]], count: int = 10) -> int:
        """A table; each field is (``"o"`` for a reference, else a scalar's name, value)."""
        self.builder.StartObject(count)
        for index, (kind, value) in fields.items():
            if kind == "o":
                self.builder.PrependUOffsetTRelativeSlot(index, value, 0)
            else:
                getattr(self.builder, f"Prepend{kind}Slot")(index, value, 0)
        return int(self.builder.EndObject())

    def vector(self, items: list[int], kind: str = "UOffsetTRelative", size: int = 4) -> int:
        self.builder.StartVector(size, len(items), size)
        for item in reversed(items):
            getattr(self.builder, f"Prepend{kind}")(item)
        return int(self.builder.EndVector())

    def text(self, text: str) -> int:
        return int(self.builder.CreateString(text))

    def bytes(self, data: bytes) -> int:
        return int(self.builder.CreateByteVector(data))


def program(
    payload: bytes,
    *,
    inline: bool = False,
    backend: str = "CoreMLBackend",
    arguments: tuple[int, ...] = (0, 1),
    sizes: tuple[int, ...] = (2, 3),
    kernel: str = "",
    named: dict[str, bytes] | None = None,
) -> bytes:
    """A program with the method ``forward``: a tensor in, one delegate or kernel, a tensor out."""
    b = Builder()
    values = []
    for _ in range(2):
        tensor = b.table({0: ("Int8", FLOAT), 2: ("o", b.vector(list(sizes), "Int32"))})
        values.append(b.table({0: ("Uint8", 5), 1: ("o", tensor)}, 2))
    reference = b.table({0: ("Int8", 0 if inline else 1), 1: ("Uint32", 0)}, 2)
    specs = [b.table({0: ("o", b.text(key)), 1: ("o", b.bytes(value))}, 2) for key, value in SPECS.items()]
    delegate = b.table({0: ("o", b.text(backend)), 1: ("o", reference), 2: ("o", b.vector(specs))}, 3)
    operator = b.table({0: ("o", b.text(kernel)), 1: ("o", b.text("out"))}, 2)
    call = b.table({0: ("Int32", 0), 1: ("o", b.vector(list(arguments), "Int32"))}, 2)
    instruction = b.table({0: ("Uint8", KERNEL if kernel else DELEGATE), 1: ("o", call)}, 2)
    chain = b.table({2: ("o", b.vector([instruction]))}, 4)
    plan = b.table(
        {
            0: ("o", b.text("forward")),
            2: ("o", b.vector(values)),
            3: ("o", b.vector([0], "Int32")),
            4: ("o", b.vector([1], "Int32")),
            5: ("o", b.vector([chain])),
            6: ("o", b.vector([operator] if kernel else [])),
            7: ("o", b.vector([delegate] if not kernel else [])),
        }
    )
    segments = [] if inline else [payload]
    keys = list(named or {})
    entries = [b.table({0: ("o", b.text(key)), 1: ("Uint32", len(segments) + index)}, 2) for index, key in enumerate(keys)]
    segments += (named or {}).values()
    starts = [sum(map(len, segments[:index])) for index in range(len(segments))]
    tables = [b.table({0: ("Uint64", start), 1: ("Uint64", len(data))}, 2) for start, data in zip(starts, segments, strict=True)]
    held = [b.table({0: ("o", b.bytes(payload))}, 1)] if inline else []
    fields = {1: ("o", b.vector([plan])), 3: ("o", b.vector(held)), 4: ("o", b.vector(tables)), 7: ("o", b.vector(entries))}
    root = b.table(fields, 8)
    b.builder.Finish(root, file_identifier=b"ET12")
    return with_header(bytes(b.builder.Output()), b"".join(segments))


def with_header(data: bytes, segments: bytes) -> bytes:
    """The extended header between the identifier and the rest, and the segments behind."""
    size = len(data) + 32
    start = struct.unpack_from("<I", data)[0] + 32
    header = struct.pack("<4sIQQQ", b"eh00", 32, size, size, len(segments))
    return struct.pack("<I", start) + data[4:8] + header + data[8:] + segments


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("inline", [False, True])
def test_reads_what_the_flatbuffers_library_wrote(inline: bool, tmp_path: Path) -> None:
    found = read_program(saved(tmp_path / "a.pte", program(b"payload", inline=inline, named={"shared": b"12345"})))
    (method,) = found.methods
    assert (method.name, method.inputs, method.outputs) == ("forward", (0,), (1,))
    assert method.values == (TensorValue("float32", (2, 3), "static"),) * 2
    assert method.calls == (Call("delegate", 0, (0, 1)),)
    (delegate,) = method.delegates
    assert (delegate.backend, bytes(delegate.payload), delegate.compile_specs) == ("CoreMLBackend", b"payload", SPECS)
    if not inline:
        assert {key: bytes(data) for key, data in found.named_data.items()} == {"shared": b"12345"}


def test_operators_have_their_overload(tmp_path: Path) -> None:
    (method,) = read_program(saved(tmp_path / "a.pte", program(b"", kernel="aten::add"))).methods
    assert method.operators == ("aten::add.out",)
    assert method.calls == (Call("kernel", 0, (0, 1)),)


def test_is_told_by_its_content(tmp_path: Path) -> None:
    assert is_program(saved(tmp_path / "a.bin", program(b"")))
    assert not is_program(saved(tmp_path / "b.pte", b"something else"))
    assert not is_program(saved(tmp_path / "c.pte", b""))
    assert not is_program(tmp_path)
    assert not is_program(tmp_path / "missing.pte")
    with pytest.raises(FormatError, match="is no ExecuTorch program"):
        read_program(tmp_path / "b.pte")


@pytest.mark.parametrize("kept", [9, 20, 60, 200, -1, -5])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        read_program(saved(tmp_path / "a.pte", program(b"payload")[:kept]))


@pytest.mark.parametrize("arguments", [(0, 2), (-1, 1), (2**31 - 1, 0)])
def test_an_index_of_nothing_is_refused(arguments: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="index"):
        read_program(saved(tmp_path / "a.pte", program(b"", arguments=arguments)))


def test_damage_anywhere_is_an_error_of_mokas_or_harmless(tmp_path: Path) -> None:
    """Any one changed byte: nothing but a FormatError may come of it."""
    good, chance = program(b"payload", named={"key": b"123"}), random.Random(0)
    refused = 0
    for place in range(len(good)):
        for value in {0, 1, 0x7F, 0xFF, chance.randrange(256)}:
            bad = good[:place] + bytes([value]) + good[place + 1 :]
            try:
                read_program(saved(tmp_path / "a.pte", bad))
            except MokaError:
                refused += 1
    assert refused > len(good)


def test_references_that_repeat_are_bounded(tmp_path: Path) -> None:
    """A vector of 10,000 references to one method with 10,000 references to one value stands for 100 million tables."""
    b = Builder()
    value = b.table({0: ("Uint8", 2), 1: ("o", b.table({0: ("Int64", 7)}, 1))}, 2)
    plan = b.table({0: ("o", b.text("forward")), 2: ("o", b.vector([value] * 10_000))})
    root = b.table({1: ("o", b.vector([plan] * 10_000))}, 8)
    b.builder.Finish(root, file_identifier=b"ET12")
    with pytest.raises(FormatError, match="more than the file holds"):
        read_program(saved(tmp_path / "a.pte", bytes(b.builder.Output())))


FILES = {
    "metadata.json": b"{}",
    "model.mlpackage/Manifest.json": b"manifest",
    "model.mlpackage/Data/weights/ä.bin": bytes(range(256)),
    "model.mlpackage/Data/analytics/": b"",
    "empty": b"",
}


def test_files_come_back(tmp_path: Path) -> None:
    found = unpack_files(memoryview(pack_files(FILES)), "payload")
    assert {name: bytes(content) for name, content in found.items()} == FILES
    write_files(found, tmp_path)
    for name, content in FILES.items():
        assert (tmp_path / name).is_dir() if name.endswith("/") else (tmp_path / name).read_bytes() == content


def node(name: str, kind: int, offset: int = 0, size: int = 0, children: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "dataRegion": {"offset": offset, "size": size}, "children": children or {}}


BAD_NODES: dict[str, Any] = {
    "no list": 3,
    "no nodes": [],
    "not an object": [1],
    "outside": [node("a", 0, 0, 99), node("", 1, children={"a": 0})],
    "negative": [node("a", 0, -4, 2), node("", 1, children={"a": 0})],
    "no number": [node("a", 0, 0, True), node("", 1, children={"a": 0})],
    "absolute": [node("a", 0), node("", 1, children={"/a": 0})],
    "up": [node("a", 0), node("", 1, children={"..": 0})],
    "up below": [node("a", 0), node("b", 1, children={"..": 0}), node("", 1, children={"x": 1})],
    "nameless": [node("a", 0), node("", 1, children={"": 0})],
    "cycle": [node("", 1, children={"a": 0})],
    "forward": [node("", 1, children={"a": 1}), node("", 1, children={"a": 0})],
    "twice": [node("a", 0, 0, 4), node("", 1, children={"a": 0, "b": 0})],
    "overlap": [node("a", 0, 0, 4), node("b", 0, 0, 4), node("", 1, children={"a": 0, "b": 1})],
    "kind": [node("a", 2), node("", 1, children={"a": 0})],
    "deep": [node("a", 0), *(node("d", 1, children={"d": index}) for index in range(100))],
}


@pytest.mark.parametrize("name", BAD_NODES)
def test_hostile_indices_of_files_are_refused(name: str) -> None:
    blob = b"1234" + json.dumps({"nodes": BAD_NODES[name]}).encode()[::-1]
    with pytest.raises(FormatError, match="payload"):
        unpack_files(memoryview(blob), "payload")


@pytest.mark.parametrize("blob", [b"", b"no index", b"}", b"[" * 100_000, b'"'[::-1], b"\xff\xfe"])
def test_payloads_without_index_are_refused(blob: bytes) -> None:
    with pytest.raises(FormatError, match="payload"):
        unpack_files(memoryview(blob), "payload")
