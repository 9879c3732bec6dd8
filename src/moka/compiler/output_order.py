"""The order in which a compiled network names its outputs: that of the hash table which Apple's compiler keeps them in.

Names in the root files of real networks do not stand in the order of the description. All that have been seen stand as iterating over
a ``std::unordered_set<std::string>`` of LLVM's libc++ gives them when they are put in in the description's order: a list in which a
bucket's newest name comes first, and a new bucket comes before the others. The hash is CityHash64 (G. Pike and J. Alakuijala, 2011)
as libc++ has it, and the number of buckets grows as libc++ grows it: 2, 5, 11, 23, ...
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["city_hash", "output_order"]

_MASK = 2**64 - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MULTIPLIER = 0x9DDFEA08EB382D69


def output_order(names: Iterable[str]) -> list[str]:
    """Names, each once, in the order of the table that they are put into one after the other."""
    buckets, entries = 0, list[tuple[int, str]]()
    for name in dict.fromkeys(names):
        if len(entries) >= buckets:
            buckets = _grown(buckets, len(entries) + 1)
            entries = _regrouped(entries, buckets)
        entry = (city_hash(name.encode()), name)
        entries.insert(_bucket_start(entries, entry[0] % buckets, buckets) or 0, entry)
    return [name for _, name in entries]


def _bucket_start(entries: list[tuple[int, str]], bucket: int, buckets: int) -> int | None:
    """Where a bucket's entries begin; None for an empty one."""
    return next((index for index, (value, _) in enumerate(entries) if value % buckets == bucket), None)


def _regrouped(entries: list[tuple[int, str]], buckets: int) -> list[tuple[int, str]]:
    """The entries when the number of buckets has grown: each stays behind the ones before it, or joins the front of its bucket."""
    grouped: list[tuple[int, str]] = []
    for entry in entries:
        bucket = entry[0] % buckets
        start = _bucket_start(grouped, bucket, buckets)
        follows = start is not None and grouped[-1][0] % buckets == bucket
        grouped.insert(len(grouped) if start is None or follows else start, entry)
    return grouped


def _grown(buckets: int, needed: int) -> int:
    wanted = max(2 * buckets + (buckets <= 2 or buckets & (buckets - 1) != 0), needed)
    return 2 if wanted <= 2 else _next_prime(wanted)


def _next_prime(number: int) -> int:
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number


def city_hash(data: bytes) -> int:
    """CityHash64 in its first version, which libc++ hashes strings with where addresses have 64 bits."""
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 32:
        return _up_to_32(data)
    return _up_to_64(data) if size <= 64 else _longer(data)


def _word(data: bytes, start: int, size: int = 8) -> int:
    """A little-endian number; a negative start counts from the end."""
    start %= len(data)
    return int.from_bytes(data[start : start + size], "little")


def _rotated(value: int, shift: int) -> int:
    value &= _MASK
    return ((value >> shift) | (value << (64 - shift))) & _MASK


def _folded(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _joined(low: int, high: int) -> int:
    first = _folded(((low ^ high) & _MASK) * _MULTIPLIER)
    return _folded((high & _MASK ^ first) * _MULTIPLIER) * _MULTIPLIER & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size > 8:
        first, last = _word(data, 0), _word(data, -8)
        return _joined(first, _rotated(last + size, size)) ^ last
    if size >= 4:
        return _joined(size + (_word(data, 0, 4) << 3) % 2**32, _word(data, -4, 4))
    if size > 0:
        first, second = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _folded(first * _K2 ^ second * _K3) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, -8) * _K2, _word(data, -16) * _K0
    return _joined(_rotated(a - b, 43) + _rotated(c, 30) + d, a + _rotated(b ^ _K3, 20) - c + size)


def _up_to_64(data: bytes) -> int:
    size, z = len(data), _word(data, 24)
    v = _half(_word(data, 0) + (size + _word(data, -16)) * _K0, z, _word(data, 8), _word(data, 16))
    w = _half(_word(data, 16) + _word(data, -32), z + _word(data, -8), _word(data, -24), _word(data, -16))
    mixed = _folded((v[0] + w[1]) * _K2 + (w[0] + v[1]) * _K0)
    return _folded(mixed * _K0 + v[1]) * _K2 & _MASK


def _half(a: int, z: int, second: int, third: int) -> tuple[int, int]:
    b, c = _rotated(a + z, 52), _rotated(a, 37)
    c += _rotated(a + second, 7)
    a += second + third
    return a + z, b + _rotated(a, 31) + c


def _longer(data: bytes) -> int:
    size = len(data)
    x, y = _word(data, -40), _word(data, -16) + _word(data, -56)
    z = _joined(_word(data, -48) + size, _word(data, -24))
    v, w = _weak(data, size - 64, size, z), _weak(data, size - 32, y + _K1, x)
    x = x * _K1 + _word(data, 0)
    for start in range(0, (size - 1) & ~63, 64):
        x = _rotated(x + y + v[0] + _word(data, start + 8), 37) * _K1 & _MASK ^ w[1]
        y = _rotated(y + v[1] + _word(data, start + 48), 42) * _K1 + v[0] + _word(data, start + 40)
        z = _rotated(z + w[0], 33) * _K1
        v, w = _weak(data, start, v[1] * _K1, x + w[0]), _weak(data, start + 32, z + w[1], y + _word(data, start + 16))
        x, z = z, x
    return _joined(_joined(v[0], w[0]) + _folded(y) * _K1 + z, _joined(v[1], w[1]) + x)


def _weak(data: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    """A quick hash of 32 bytes with two seeds."""
    first, second, third, fourth = (_word(data, start + 8 * index) for index in range(4))
    a += first
    b = _rotated(b + a + fourth, 21)
    total = a + second + third
    return (total + fourth) & _MASK, (b + _rotated(total, 44) + a) & _MASK
