"""Zip files whose members are used where they lie; the oracles are Python's zipfile, Info-ZIP, and bytes that say otherwise."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from moka.errors import FormatError
from moka.formats import dtypes
from moka.formats.stored import StoredZip, store
from moka.formats.weights import WeightFile, WeightWriter

NAMES = ("a", "folder/größe.bin", "x" * 61, "empty", "weights/weight.bin")


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    with WeightWriter(tmp_path / "weight.bin") as writer:
        writer.write(np.arange(100, dtype=np.float32), dtypes.FP32)
    made = {name: bytes(range(256)) * (index + 1) + b"end"[:index] for index, name in enumerate(NAMES)}
    return made | {"empty": b"", "weights/weight.bin": (tmp_path / "weight.bin").read_bytes()}


@pytest.fixture
def stored(contents: dict[str, bytes], tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "stored.zip", "w") as archive:
        for name, data in contents.items():
            (tmp_path / "member").write_bytes(data)
            store(archive, name, tmp_path / "member")
        archive.writestr("last.json", "{}")
    return tmp_path / "stored.zip"


def test_other_readers_read_what_we_write(stored: Path, contents: dict[str, bytes], tmp_path: Path) -> None:
    with zipfile.ZipFile(stored) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in contents} == contents
        assert not any(info.extra for info in archive.infolist())
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-q", str(stored), "weights/*", "-d", str(tmp_path / "out")], check=True)
        assert (tmp_path / "out/weights/weight.bin").read_bytes() == contents["weights/weight.bin"]


def test_members_lie_aligned_and_are_read_in_place(stored: Path, contents: dict[str, bytes], tmp_path: Path) -> None:
    opened, whole = StoredZip(stored), stored.read_bytes()
    for name, data in contents.items():
        section = opened.section(name)
        assert (opened.is_aligned(name), section.offset % 64, section.size) == (True, 0, len(data))
        assert whole[section.offset : section.offset + section.size] == data == bytes(opened.read(name))
        opened.extract(name, tmp_path / "extracted" / name)
        assert (tmp_path / "extracted" / name).read_bytes() == data
    assert not opened.is_aligned("last.json")


def test_a_section_is_a_weight_file(stored: Path, contents: dict[str, bytes]) -> None:
    file = WeightFile(StoredZip(stored).section("weights/weight.bin"))
    stored.unlink()  # the map stays
    array = file.read(64, dtypes.FP32, (100,))
    assert array.tolist() == list(range(100))
    assert array.ctypes.data % 64 == 0
    array[0] = 7  # writable, as PyTorch wants it
    assert [record.record_offset for record in file.records()] == [64]
    assert file.size == len(contents["weights/weight.bin"])


def test_a_section_ends_where_it_ends(contents: dict[str, bytes], tmp_path: Path) -> None:
    """A record whose data is longer than the member is refused, whatever follows in the file."""
    data = bytearray(contents["weights/weight.bin"])
    struct.pack_into("<Q", data, 64 + 8, 404)
    (tmp_path / "longer").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "longer.zip", "w") as archive:
        store(archive, "longer", tmp_path / "longer")
        archive.writestr("next", bytes(1000))
    with pytest.raises(FormatError, match=r"longer\.zip: longer: blob at 64: size: data from 128 to 532, the file has 528 bytes"):
        WeightFile(StoredZip(tmp_path / "longer.zip").section("longer")).record(64)
    (tmp_path / "short").write_bytes(b"x" * 63)
    with zipfile.ZipFile(tmp_path / "short.zip", "w") as archive:
        store(archive, "short", tmp_path / "short")
    with pytest.raises(FormatError, match=r"short\.zip: short: header: the file has 63 bytes"):
        WeightFile(StoredZip(tmp_path / "short.zip").section("short"))


def test_changed_members_stay_unread_until_they_are_compared(stored: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(stored) as archive:
        place = StoredZip(stored).section("weights/weight.bin").offset
        assert archive.getinfo("weights/weight.bin").header_offset < place
    data = bytearray(stored.read_bytes())
    data[place + 200] ^= 1
    stored.write_bytes(data)
    opened = StoredZip(stored)
    for compare in (opened.read, lambda name: opened.extract(name, tmp_path / "target")):
        with pytest.raises(zipfile.BadZipFile, match=r"checksum of weights/weight\.bin is another"):
            compare("weights/weight.bin")
    assert not (tmp_path / "target").exists()
    assert bytes(opened.read("a")) == bytes(range(256))


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (0, b"PK\3\5"),
        (6, struct.pack("<H", 1)),
        (8, struct.pack("<H", 8)),
        (14, struct.pack("<L", 1)),
        (18, struct.pack("<L", 5)),
        (22, struct.pack("<L", 5)),
        (26, struct.pack("<H", 7)),
        (26, struct.pack("<H", 2**16 - 1)),
        (28, struct.pack("<H", 0)),
        (28, struct.pack("<H", 3000)),
        (28, struct.pack("<H", 2**16 - 1)),
        (30, b"weightz"),
        (30 + 18 + 2, struct.pack("<H", 2**16 - 1)),
    ],
)
def test_headers_that_say_something_else_than_the_directory_are_refused(place: int, new: bytes, stored: Path) -> None:
    with zipfile.ZipFile(stored) as archive:
        start = archive.getinfo("weights/weight.bin").header_offset
    data = bytearray(stored.read_bytes())
    assert data[start + place : start + place + len(new)] != new
    data[start + place : start + place + len(new)] = new
    stored.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile):
        StoredZip(stored)


@pytest.mark.parametrize(
    ("name", "offset", "message"),
    [("last.json", 0, "begins inside of"), ("a", 2**31, "cut off"), ("a", 5, "cut off|not what the directory says")],
)
def test_members_in_other_places_are_refused(name: str, offset: int, message: str, stored: Path) -> None:
    """The directory's entry of a member is 46 bytes and the name; at 42 of it is where the header lies."""
    data = bytearray(stored.read_bytes())
    entry = data.index(b"PK\1\2")
    while not data.startswith(name.encode(), entry + 46):
        entry = data.index(b"PK\1\2", entry + 1)
    data[entry + 42 : entry + 46] = struct.pack("<L", offset)
    stored.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match=message):
        StoredZip(stored)


def described(name: str, size: int, crc: int = 0, offset: int = 0) -> zipfile.ZipInfo:
    """What a directory says of a member that is written by hand."""
    info = zipfile.ZipInfo(name)
    info.file_size, info.compress_size, info.CRC, info.header_offset = size, size, crc, offset
    return info


def test_members_within_others_are_refused(tmp_path: Path) -> None:
    """A member whose data is a zip file's beginning, and a directory that names what is in there, too."""
    inner = described("inner", 4, crc=zlib.crc32(b"data"), offset=30 + len("outer"))
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("outer", inner.FileHeader() + b"data")
        archive.filelist.append(inner)
    with zipfile.ZipFile(tmp_path / "nested.zip") as archive:
        assert archive.read("inner") == b"data"
    with pytest.raises(zipfile.BadZipFile, match="inner begins inside of what is before it"):
        StoredZip(tmp_path / "nested.zip")


def test_members_longer_than_the_file_are_refused(tmp_path: Path) -> None:
    info = described("long", 2**40)
    with (tmp_path / "long.zip").open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        file.write(info.FileHeader(zip64=True) + b"data")
        archive.filelist.append(info)
        archive.start_dir = file.tell()
        archive.comment = b"so that the directory is written"
    with pytest.raises(zipfile.BadZipFile, match="long ends outside of the file"):
        StoredZip(tmp_path / "long.zip")


def test_members_and_places_above_4_gib(tmp_path: Path) -> None:
    """A file with holes, so that it takes no room: a member of more than 4 GiB, and one behind it."""
    size = 2**32 + 2**20
    info = described("large", size)
    (tmp_path / "member").write_bytes(b"behind")
    with (tmp_path / "large.zip").open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        header = info.FileHeader(zip64=True)
        file.write(header)
        file.seek(len(header) + size - 3)
        file.write(b"end")
        archive.filelist.append(info)
        archive.NameToInfo["large"] = info
        archive.start_dir = file.tell()
        store(archive, "behind", tmp_path / "member")
    opened = StoredZip(tmp_path / "large.zip")
    section = opened.section("large")
    assert (section.size, section.content[section.offset + size - 3 : section.offset + size]) == (size, b"end")
    assert opened.section("behind").offset > 2**32
    assert opened.is_aligned("behind")
    assert bytes(opened.read("behind")) == b"behind"


def test_zip_files_of_others_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("größe", b"1")
        archive.writestr("b", b"22")
    opened = StoredZip(tmp_path / "plain.zip")
    assert {name: bytes(opened.read(name)) for name in opened.members} == {"größe": b"1", "b": b"22"}
    assert not opened.is_aligned("größe")


def test_names_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    with pytest.raises(zipfile.BadZipFile, match="a name is there twice"):
        StoredZip(tmp_path / "twice.zip")
