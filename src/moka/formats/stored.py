"""Zip files in which every member is stored as it is and starts at a multiple of 64 bytes, so that members can be used where they lie.

    local header   30 bytes: signature, version, flags, method, time, CRC-32, sizes, lengths of name and extra fields
    name
    extra fields   alignment (id 0xD935, the one that Android's aligners write): u16 64, zeros; sizes above 4 GiB (id 1): u64, u64
    data           as many bytes as the directory says

The directory at the file's end has it all a second time. Any reader of zip files reads these; zip files of other writers are read, too, but
their members may lie anywhere. Numbers are little-endian. Source: PKWARE's APPNOTE.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

from moka.formats.files import FileSection

__all__ = ["StoredZip", "store"]

_ALIGNMENT = 64
_LOCAL = struct.Struct("<4s5H3L2H")
_FIELD = struct.Struct("<HH")
_SIZES = struct.Struct("<QQ")
_ALIGNMENT_ID, _SIZES_ID = 0xD935, 1
_SIGNATURE = b"PK\3\4"
_UTF8 = 0x800
"""The only flag allowed: the name is UTF-8."""
_IN_EXTRA = 2**32 - 1
"""A size that the local header leaves to an extra field."""


def store(archive: zipfile.ZipFile, name: str, file: Path) -> None:
    """Adds a file to a zip file that is open for writing, its data aligned."""
    info = zipfile.ZipInfo.from_file(file, name)
    start = archive.start_dir + _LOCAL.size + len(info.filename.encode()) + _FIELD.size + 2 + _FIELD.size + _SIZES.size
    padding = -start % _ALIGNMENT
    info.extra = _FIELD.pack(_ALIGNMENT_ID, 2 + padding) + _ALIGNMENT.to_bytes(2, "little") + bytes(padding)
    with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:  # so that the header's length is known
        shutil.copyfileobj(source, target, 2**20)
    info.extra = b""  # the directory needs none


class StoredZip:
    """A zip file that is mapped into memory, its members checked to lie where the directory says, apart from each other.

    It stays what it is when another file takes its path. Checksums are compared when a member is read or extracted.

    Attributes:
        path: the file.
        members: what the directory says, by name.

    Raises:
        zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError: no zip file, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.members = {info.filename: info for info in infos}
        if len(self.members) < len(infos):
            raise zipfile.BadZipFile("a name is there twice")
        self._starts = self._checked(archive.start_dir)

    def is_aligned(self, name: str) -> bool:
        """Whether a member's data starts at a multiple of 64."""
        return self._starts[name] % _ALIGNMENT == 0

    def section(self, name: str) -> FileSection:
        """A member where it lies, to be read as a file; its checksum is not compared."""
        return FileSection(f"{self.path}: {name}", self._private, self._starts[name], self.members[name].file_size)

    def read(self, name: str) -> memoryview:
        """A member's content; BadZipFile if its checksum is another than the directory's."""
        start = self._starts[name]
        with memoryview(self._content) as content:
            data = content[start : start + self.members[name].file_size]
        if zlib.crc32(data) != self.members[name].CRC:
            raise zipfile.BadZipFile(f"the checksum of {name} is another")
        return data

    def extract(self, name: str, target: Path) -> None:
        """Writes a member into a file of its own, whose folder is made where there is none; BadZipFile if its checksum is another."""
        with self.read(name) as data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def _checked(self, end: int) -> dict[str, int]:
        """Where the members' data starts, all of it before the directory."""
        starts, last = {}, 0
        for info in sorted(self.members.values(), key=lambda info: info.header_offset):
            if info.header_offset < last:
                raise zipfile.BadZipFile(f"{info.filename} begins inside of what is before it")
            try:
                starts[info.filename] = self._start(info)
            except struct.error as error:
                raise zipfile.BadZipFile(f"{info.filename}: the header before it is cut off") from error
            last = starts[info.filename] + info.file_size
            if last > end:
                raise zipfile.BadZipFile(f"{info.filename} ends outside of the file")
        return starts

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where a member's data starts; BadZipFile if the header before it says anything else of it than the directory."""
        signature, _, flags, method, _, _, crc, packed, size, length, extra = _LOCAL.unpack_from(self._content, info.header_offset)
        begin = info.header_offset + _LOCAL.size
        start: int = begin + length + extra
        if _IN_EXTRA in (packed, size):
            wide = _sizes(self._content[begin + length : start])
            size, packed = (stated if stated != _IN_EXTRA else meant for stated, meant in zip((size, packed), wide, strict=True))
        name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
        found = (signature, flags, method, crc, packed, size, self._content[begin : begin + length])
        if found != (_SIGNATURE, info.flag_bits & _UTF8, zipfile.ZIP_STORED, info.CRC, info.file_size, info.file_size, name):
            raise zipfile.BadZipFile(f"{info.filename}: the header before it is not what the directory says")
        return start


def _sizes(extra: bytes) -> tuple[int, int]:
    """The two sizes in a local header's extra fields; struct.error if they are not there."""
    place = 0
    while True:
        kind, length = _FIELD.unpack_from(extra, place)
        place += _FIELD.size
        if kind == _SIZES_ID:
            return _SIZES.unpack_from(extra, place)
        place += length
