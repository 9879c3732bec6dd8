"""What every ``coremldata.bin`` is made of: little-endian u64 numbers, and texts of a u64 length and that many bytes of UTF-8."""

from __future__ import annotations

import struct

from moka.errors import FormatError

__all__ = ["Reader", "text", "u64"]

_U64 = struct.Struct("<Q")


def u64(*numbers: int) -> bytes:
    """Numbers one after the other; negative ones as their two's complement."""
    return b"".join(_U64.pack(number % 2**64) for number in numbers)


def text(content: str | bytes) -> bytes:
    """A text, or bytes, behind its length."""
    data = content.encode() if isinstance(content, str) else content
    return u64(len(data)) + data


class Reader:
    """Takes fields one after the other from the bytes of a file; what does not fit into them is a FormatError that names the field.

    Args:
        data: the file's content.
        where: the file, for messages.
    """

    def __init__(self, data: bytes, where: object) -> None:
        self._data = data
        self._where = where
        self._offset = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._offset

    def take(self, size: int, field: str) -> bytes:
        """The next ``size`` bytes."""
        if size > self.left:
            raise FormatError(f"{self._where}: {field}", f"{size} bytes at {self._offset}, but only {self.left} are left")
        start, self._offset = self._offset, self._offset + size
        return self._data[start : self._offset]

    def u64(self, field: str) -> int:
        """The next number."""
        return int.from_bytes(self.take(_U64.size, field), "little")

    def i64(self, field: str) -> int:
        """The next number, with a sign."""
        return int.from_bytes(self.take(_U64.size, field), "little", signed=True)

    def blob(self, field: str) -> bytes:
        """The next bytes behind their length."""
        return self.take(self.u64(f"length of {field}"), field)

    def text(self, field: str) -> str:
        """The next text."""
        try:
            return self.blob(field).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._where}: {field}", f"is not UTF-8: {error.reason}") from error

    def count(self, field: str, entry_size: int = _U64.size) -> int:
        """The number of entries that follow, each of at least ``entry_size`` bytes, checked against the bytes that are left."""
        count = self.u64(field)
        if count * entry_size > self.left:
            raise FormatError(f"{self._where}: {field}", f"{count} entries don't fit into the {self.left} bytes that are left")
        return count

    def expect(self, field: str, allowed: dict[int, str]) -> int:
        """The next number, which must be one of those that are known."""
        number = self.u64(field)
        if number not in allowed:
            known = ", ".join(f"{key} ({meaning})" for key, meaning in allowed.items())
            raise FormatError(f"{self._where}: {field}", f"found {number}, known are {known}")
        return number

    def end(self) -> None:
        """Checks that nothing is left."""
        if self.left:
            raise FormatError(self._where, f"{self.left} bytes are left behind the last field, at {self._offset}")
