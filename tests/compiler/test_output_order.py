"""The order of outputs against what a program of C++ prints that is built with libc++ 14 (clang++ -stdlib=libc++)."""

from __future__ import annotations

import pytest

from moka.compiler.output_order import city_hash, output_order

LETTERS = b"abcdefghijklmnopqrstuvwxyz_0123456789" * 9

# std::hash<std::string> of the letters from the row's number on, by how many.
HASHES = [
    (1, 0x2420662CD003ACFA),
    (2, 0xE52723AF96F42077),
    (3, 0x65D356C44E636B9A),
    (4, 0x2DC1C2580AC82B2B),
    (7, 0x19779ED2304CB4FB),
    (8, 0x7066537CC3A84DC0),
    (9, 0xB39B1E14CC910FB1),
    (15, 0x4CF9D8710CCDE73A),
    (16, 0x4309C8749812244D),
    (17, 0x256AC65DE816A42C),
    (24, 0x6658D0C7A22E9B3F),
    (32, 0xAAABECE9C4E72CFF),
    (33, 0x495251B4B514272C),
    (48, 0xB7ACE964C20A5EDC),
    (63, 0xF43AE21241B5464D),
    (64, 0x8DC7FE36AF08F69A),
    (65, 0x0B1DEB84A129E655),
    (100, 0x722C6540F79E2B21),
    (128, 0xBD1188E2AC9E2568),
    (129, 0x3B5FFC5C5DC33168),
    (300, 0x1C879E7E3B32A422),
]


@pytest.mark.parametrize(("start", "size", "expected"), [(start, *row) for start, row in enumerate(HASHES)])
def test_hash_of_libcxx(start: int, size: int, expected: int) -> None:
    assert city_hash(LETTERS[start : start + size]) == expected


# What iterating over a std::unordered_set<std::string> gives after the names were put in one after the other.
ORDERS = [
    ("scores boxes filter", "filter boxes scores"),
    ("a b c d e f", "f c e d b a"),
    (
        " ".join(f"output_{index}" for index in range(12)),
        "output_11 output_10 output_9 output_4 output_6 output_7 output_2 output_5 output_1 output_8 output_3 output_0",
    ),
    (
        " ".join(f"var_{index}" for index in range(700, 725)),
        "var_724 var_722 var_701 var_721 var_720 var_705 var_719 var_710 var_716 var_707 var_715 var_713 var_714 var_706 var_700 var_708 "
        "var_712 var_704 var_718 var_723 var_709 var_703 var_717 var_702 var_711",
    ),
]


@pytest.mark.parametrize(("names", "expected"), ORDERS)
def test_order_of_libcxx(names: str, expected: str) -> None:
    assert " ".join(output_order(names.split())) == expected


def test_every_name_comes_once() -> None:
    assert output_order(["a", "b", "a"]) == output_order(["a", "b"]) == ["b", "a"]
    assert output_order([]) == []
