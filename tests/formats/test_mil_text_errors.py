"""Hostile and broken texts are refused with file, line and column, what was found and what was expected."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from moka.errors import FormatError
from moka.formats.mil_text import parse_program, print_program

PATH = Path("m.mlmodelc/model.mil")
HEAD = "program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2]> x) {\n        "
TAIL = "\n    } -> (x);\n}"


def const(value: str) -> str:
    return f"{HEAD}int32 c = const()[val = {value}];{TAIL}"


def refused(text: str | bytes) -> str:
    with pytest.raises(FormatError) as caught:
        parse_program(text, PATH)
    return str(caught.value)


WHOLE = const('dict<string, list<tensor<fp16, [2, 1]>, ?>>({{"k", [[[0x1p+0], [inf]]]}})')
VALUE = f"{PATH}: line 4, column 33: "

CASES = {
    "empty": ("", "line 1, column 1: found the end of the file, expected 'program'"),
    "another file": ('{"a": 1}', "line 1, column 1: found '{', expected 'program'"),
    "unknown version": ("program(2.0){}", "column 9: found '2.0', expected a version of the text: 1.0, 1.1, 1.2, 1.3"),
    "version without a number": ("program(){}", "found ')', expected a version of the text"),
    "more behind the end": ("program(1.0){} {}", "column 16: found '{', expected the end of the file"),
    "not a character of the language": ("program(1.0){ # }", "column 15: found character '#', expected a name, a number"),
    "string without an end": ('program(1.0)[a = string("x)]{}', "column 25: found a string that is not closed"),
    "string that ends in an escape": ('program(1.0)[a = string("x\\")]{}', "found a string that is not closed"),
    "function without an opset": ("program(1.0){func main() {} -> ();}", "found '(', expected '<'"),
    "function twice": (f"program(1.3){{{'func f<ios18>() {} -> ();' * 2}}}", "column 44: 'f' is there already, expected another name"),
    "input twice": ("program(1.3){func f<ios18>(bool a, bool a) {} -> ();}", "'a' is there already"),
    "value twice": (f"{HEAD}bool x = a();{TAIL}", "line 4, column 14: 'x' is there already"),
    "attribute twice": (f"{HEAD}bool y = a()[k = bool(true), k = bool(true)];{TAIL}", "'k' is there already"),
    "operation's input twice": (f"{HEAD}bool y = a(k = x, k = x);{TAIL}", "'k' is there already"),
    "no semicolon": (f"{HEAD}bool y = a(){TAIL}", "line 5, column 5: found '}', expected ';'"),
    "no arrow": ("program(1.3){func f<ios18>() {} (x);}", "found '(', expected '->'"),
    "unknown element type": (const("int7(1)"), f"{VALUE}found 'int7', expected a type; element types are bool, string, fp16"),
    "unknown element type of a tensor": (const("tensor<float, [1]>([1])"), "found 'float', expected an element type"),
    "value without a type": (const("5"), f"{VALUE}found '5', expected a type"),
    "type that is not closed": (const("tensor<int32, [1]"), "found ']', expected '>'"),
    "size below zero": (const("tensor<int32, [-1]>([1])"), "found '-1', expected a dimension"),
    "gigantic size": (const(f"tensor<int32, [{'9' * 30}]>([1])"), "expected a dimension: '?', '...' or a number up to 9223372036854775807"),
    "too few elements": (const("tensor<int32, [3]>([1, 2])"), "found 2 elements, expected 3 on axis 0 of a tensor of type int32"),
    "too few rows": (const("tensor<int32, [2, 2]>([[1, 2]])"), "found 1 elements, expected 2 on axis 0"),
    "rows of different lengths": (const("tensor<int32, [2, ?]>([[1, 2], [3]])"), "found 1 elements, expected 2 on axis 1"),
    "huge shape": (const(f"tensor<int32, [{2**62}, {2**62}]>([[1]])"), f"found 1 elements, expected {2**62} on axis 1"),
    "huge rank": (const(f"tensor<int32, [{', '.join(['1'] * 50_000)}]>([1])"), "expected a tensor of rank 32 at most"),
    "missing brackets": (const("tensor<int32, [2, 1]>([1, 2])"), "found '1', expected '['"),
    "scalar in brackets": (const("int32([1])"), "found '[', expected a value of type int32"),
    "integer out of range": (const("tensor<int8, [3]>([1, 2, 128])"), "found '128', expected an integer of type int8, from -128 to 127"),
    "unsigned below zero": (const("uint4(-1)"), "found '-1', expected an integer of type uint4, from 0 to 15"),
    "float as an integer": (const("int32(1.5)"), "found '1.5', expected an integer of type int32"),
    "hexadecimal integer": (const("int32(0x10)"), "found '0x10', expected an integer of type int32"),
    "digits with underscores": (const("tensor<int32, [1]>([1_0])"), "found '1_0', expected an integer"),
    "gigantic integer": (const(f"int64({'9' * 100_000})"), "expected an integer of type int64"),
    "gigantic float": (const("fp64(1e999999999)"), "found '1e999999999', expected a number of type fp64"),
    "gigantic hexadecimal float": (const("fp32(0x1p+99999)"), "found '0x1p+99999', expected a number of type fp32"),
    "float that the type can't hold": (
        const("tensor<fp16, [2]>([0x1p+0, 0x1p+16])"),
        "column 60: found '0x1p+16', expected a number of type fp16",
    ),
    "not a number": (const("tensor<fp32, [2, 1]>([[1], [one]])"), "column 61: found 'one', expected a number of type fp32"),
    "an element is missing": (const("tensor<fp32, [3]>([1, , 2])"), "found nothing, expected a number of type fp32"),
    "not a boolean": (const("tensor<bool, [2]>([true, 1])"), "found '1', expected true or false"),
    "number as a string": (const("string(1)"), "found '1', expected a string in quotes"),
    "list of another length": (const('list<string, 2>(["a"])'), "found 1 values, expected a list of 2"),
    "tuple of another length": (const("tuple<bool, bool>((true))"), "found ')', expected ','"),
    "key twice": (const('dict<string, bool>({{"a", true}, {"a", false}})'), "found a key that is there already"),
    "value of a state": (const("state<tensor<fp16, [1]>>(1)"), "found '1', expected no value: a state has none"),
    "value of any rank": (const("tensor<fp16, [...]>([1])"), "expected a type whose rank is known"),
    "path is no string": (const("int32(BLOBFILE(path = int32(1), offset = uint64(1)))"), "expected a scalar of type string"),
    "path is an array": (
        const('int32(BLOBFILE(path = tensor<string, [1]>(["a"]), offset = uint64(1)))'),
        "expected a scalar of type string",
    ),
    "gigantic offset": (const(f'int32(BLOBFILE(path = string("a"), offset = uint64({2**64})))'), "expected an integer of type uint64"),
    "deep type": (const("list<" * 100_000), "found a type that nests more than 32 deep"),
    "deep tuple": (const("tuple<" * 40 + ">" * 40), "found a type that nests more than 32 deep"),
    "deep value": (const("tensor<int32, [1, 1]>(" + "[" * 100_000), "found '[', expected a value of type int32"),
    "deep blocks": (f"{HEAD}" + "a() () { " * 50_000, "found a block that nests more than 32 deep"),
}


@pytest.mark.parametrize(("text", "says"), CASES.values(), ids=CASES)
def test_broken_texts(text: str, says: str) -> None:
    message = refused(text)
    assert message.startswith(f"{PATH}: line ")
    assert says in message
    assert len(message) < 500


def test_bytes_that_are_not_utf8() -> None:
    assert refused(b"program(1.0)\xff") == f"{PATH}: byte 12: is not UTF-8, expected the text of an ML Program"


def test_the_whole_text_of_the_truncations_is_right() -> None:
    assert parse_program(WHOLE, PATH) == parse_program(print_program(parse_program(WHOLE, PATH)), PATH)


def test_every_truncation_is_refused_where_it_ends() -> None:
    for end in range(len(WHOLE) - 1):
        message = refused(WHOLE[:end])
        line, column = map(int, re.findall(r"line (\d+), column (\d+)", message)[0])
        assert (line, column) <= (WHOLE.count("\n", 0, end) + 1, 200), message
        assert "found" in message


def test_every_missing_character_gives_an_error_or_another_program() -> None:
    whole = parse_program(WHOLE, PATH)
    broken = 0
    for position, character in enumerate(WHOLE):
        try:
            program = parse_program(WHOLE[:position] + WHOLE[position + 1 :], PATH)
        except FormatError as error:
            broken += error.where.startswith(f"{PATH}: line ")
        else:
            assert program != whole or character in " \n+"  # a number without its sign is the same number
    assert broken > len(WHOLE) / 2


def program_of(operations: int) -> str:
    lines = [
        f'        tensor<fp16, [1, 128, ?]> v{i} = mul(x = x, y = tensor<fp16, [2]>([0x1p-{i % 9}, nan]))[name = string("n")];'
        for i in range(operations)
    ]
    return "\n".join([HEAD, *lines, TAIL])


def test_three_thousand_operations_take_well_under_a_second_or_two() -> None:
    text = program_of(3000)
    started = time.perf_counter()
    again = print_program(parse_program(text, PATH))
    assert time.perf_counter() - started < 2
    assert again.count("\n") > 3000


@pytest.mark.parametrize(
    "text",
    [
        const(f"tensor<fp32, [200000, 1]>([{', '.join(['[0x1.8p+1]'] * 200_000)}])"),
        const(f"tensor<int32, [200000]>([{', '.join(['7'] * 200_000)}])"),
        const(f"list<tensor<int32, [1, 2]>, ?>([{', '.join(['[[1, 2]]'] * 50_000)}])"),
        const(f"list<tensor<int32, [0, 2]>, ?>([{', '.join(['[]'] * 50_000)}])"),
        const(f"dict<int32, tensor<bool, [?]>>({{{', '.join(f'{{{i}, [true]}}' for i in range(50_000))}}})"),
        const(f'string("{"a" * 5_000_000}")'),
    ],
    ids=["rows of one", "one row", "list of arrays", "empty arrays", "dictionary", "string"],
)
def test_large_values_take_time_in_proportion(text: str) -> None:
    started = time.perf_counter()
    assert len(print_program(parse_program(text, PATH))) > 100_000
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "text", ['"' * 300_000, "[" * 300_000, " \n" * 300_000, "//\n" * 300_000, "1" * 300_000, "a " * 300_000, "\\" * 300_000]
)
def test_repetitions_end_soon(text: str) -> None:
    started = time.perf_counter()
    for place in (text, f"{HEAD}{text}", const(f"tensor<int32, [2, 2]>({text}")):
        refused(place)
    assert time.perf_counter() - started < 5
