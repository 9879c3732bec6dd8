"""Text of compiled programs; the oracles are files that Apple's compiler made, coremltools' own messages, and C's ``printf``."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moka.errors import FormatError, InputError
from moka.formats import dtypes, schema
from moka.formats.mil_text import parse_program, print_model, print_program, unverified_forms, write_model, write_program
from moka.formats.source import open_source
from moka.importers.ml_program import import_value

SPECIAL = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, 0.1, 2.0**-24, 2.0**-149, 65504.0, 3.4028234663852886e38, 1e-30, 10000.0, 2.0**-1022]


def real_texts(corpus: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(corpus.rglob("model.mil")):
        yield path, path.read_text()


def compiler_info(text: str) -> dict[str, str]:
    """What the compiler that wrote a text added to its ``buildInfo``."""
    return dict(re.findall(r'\{"(coremlc-[^"]*)", "([^"]*)"\}', text))


def in_text_order(program: Any) -> Any:
    """A copy with inputs of functions and entries of dictionaries sorted: a text does not hold their order."""
    copy = type(program)()
    copy.CopyFrom(program)
    for function in copy.functions.values():
        function.inputs.sort(key=lambda item: item.name)
    for value in copy.attributes.values():
        value.immediateValue.dictionary.values.sort(key=lambda pair: pair.key.immediateValue.tensor.strings.values[0])
    return copy


def constant(value: Any) -> Any:
    """A program with one constant."""
    mil = schema.mil()
    program = mil.Program(version=1)
    function = program.functions["main"]
    function.opset = "CoreML8"
    operation = function.block_specializations["CoreML8"].operations.add(type="const")
    operation.attributes["val"].CopyFrom(value)
    operation.outputs.add(name="c").type.CopyFrom(value.type)
    return program


def tensor(array: np.ndarray[Any, Any]) -> Any:
    """An array as coremltools encodes it."""
    helper = pytest.importorskip("coremltools.converters.mil.backend.mil.helper")
    return helper.create_tensor_value(array)


def strings(texts: list[str], *shape: int) -> Any:
    mil = schema.mil()
    value = mil.Value(immediateValue=mil.Value.ImmediateValue(tensor=mil.TensorValue(strings={"values": texts})))
    value.type.tensorType.dataType = mil.STRING
    value.type.tensorType.rank = len(shape)
    for size in shape:
        value.type.tensorType.dimensions.add().constant.size = size
    return value


def literal(program: Any) -> str:
    """The value of the only constant in a program's text."""
    found = re.search(r"\[val = (.*)\];\n", print_program(program))
    assert found
    return found[1]


def test_text_of_each_pair_is_that_of_apples_compiler(corpus: Path) -> None:
    packages = sorted((corpus / "pairs").glob("*/*.mlpackage"))
    assert packages
    for package in packages:
        (compiled,) = package.parent.glob("*.mlmodelc/model.mil")
        expected = compiled.read_text()
        assert print_model(open_source(package).specification, compiler_info(expected)) == expected, package.name


def test_real_texts_come_back_byte_for_byte(corpus: Path) -> None:
    count = 0
    for path, text in real_texts(corpus):
        version = text[len("program(") : text.index(")")]
        assert print_program(parse_program(text, path), version=version) == text.rstrip("\n"), path
        count += 1
    assert count


def test_parsed_message_is_that_of_the_source(corpus: Path) -> None:
    for package in sorted((corpus / "pairs").glob("*/*.mlpackage")):
        (compiled,) = package.parent.glob("*.mlmodelc/model.mil")
        program = parse_program(compiled.read_bytes(), compiled)
        source = open_source(package).specification.mlProgram
        program.ClearField("attributes")  # the compiler's build information; compared with the text above
        source.ClearField("attributes")
        assert program == in_text_order(source), package.name


@pytest.mark.parametrize(("specification_version", "version"), [(6, "1.0"), (7, "1.0"), (8, "1.0"), (9, "1.3"), (10, "1.3")])
def test_version_follows_the_specification_not_the_opset(specification_version: int, version: str) -> None:
    # A model of specification 9 with the functions of iOS 17 has text 1.3, as compiled models of WebNN converters show.
    model = schema.model().Model(specificationVersion=specification_version)
    function = model.mlProgram.functions["main"]
    function.opset = "CoreML7"
    function.block_specializations["CoreML7"].outputs.append("x")
    expected = f"program({version})\n{{\n    func main<ios17>() {{\n        }} -> (x);\n}}"
    assert print_model(model) == expected


def test_unknown_version_to_print() -> None:
    with pytest.raises(InputError, match=r"version of the text: found '2\.0', expected one of 1\.0"):
        print_program(schema.mil().Program(), version="2.0")


def test_streams_get_the_same_text(tmp_path: Path) -> None:
    model = schema.model().Model(specificationVersion=9)
    model.mlProgram.CopyFrom(constant(tensor(np.arange(6, dtype=np.int32).reshape(2, 3))))
    with (tmp_path / "model.mil").open("w") as stream:
        write_model(model, stream, {"coremlc-version": "1"})
    with (tmp_path / "program.mil").open("w") as stream:
        write_program(model.mlProgram, stream, {"coremlc-version": "1"})
    assert (tmp_path / "model.mil").read_text() == print_model(model, {"coremlc-version": "1"})
    assert (tmp_path / "program.mil").read_text() == print_program(model.mlProgram, {"coremlc-version": "1"})


@pytest.mark.parametrize("value", SPECIAL)
def test_floats_print_as_c_does(value: float) -> None:
    buffer = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).snprintf(buffer, 64, b"%a", ctypes.c_double(value))
    array = np.array(value)
    assert literal(constant(tensor(array))) == f"fp64({buffer.value.decode()})"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_come_back_bit_for_bit(dtype: Any) -> None:
    bits = {np.float16: np.uint16, np.float32: np.uint32, np.float64: np.uint64}[dtype]
    random = np.random.default_rng(0).integers(0, np.iinfo(bits).max, 4000, dtype=bits).view(dtype)
    with np.errstate(over="ignore"):
        values = np.concatenate([random[~np.isnan(random)], np.array(SPECIAL).astype(dtype)])
    program = constant(tensor(values))
    assert parse_program(print_program(program), Path("model.mil")) == program


def test_not_a_number() -> None:
    program = constant(tensor(np.array([np.nan, 1], np.float16)))
    assert literal(program) == "tensor<fp16, [2]>([nan, 0x1p+0])"
    assert parse_program(print_program(program), Path("model.mil")) == program


def test_decimal_floats_are_read() -> None:
    text = "program(1.3){func main<ios18>(){tensor<fp32, [4]> c = const()[val = tensor<fp32, [4]>([0.5, -1e3, 7, 0X1P-1])];} -> (c);}"
    assert literal(parse_program(text, Path("model.mil"))) == "tensor<fp32, [4]>([0x1p-1, -0x1.f4p+9, 0x1.cp+2, 0x1p-1])"


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.float16, np.float32])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 2), (1, 1, 1, 1), (0,), (0, 3), (2, 0)])
def test_constants_of_each_type_and_shape(dtype: Any, shape: tuple[int, ...]) -> None:
    values = (np.arange(math.prod(shape)) - 1).astype(dtype).reshape(shape)
    program = constant(tensor(values))
    assert parse_program(print_program(program), Path("model.mil")) == program
    plain = print_program(program, version="1.0")
    assert parse_program(plain, Path("model.mil")) == program
    assert print_program(parse_program(plain, Path("model.mil")), version="1.0") == plain


@pytest.mark.parametrize("name", ["int4", "uint1", "uint2", "uint3", "uint4", "uint6"])
def test_constants_smaller_than_a_byte(name: str) -> None:
    types = pytest.importorskip("coremltools.converters.mil.mil.types")
    bits, low = int(name[-1]), -8 if name == "int4" else 0
    values = np.arange(low, low + 2**bits)
    program = constant(tensor(values.astype(types.nptype_from_builtin(getattr(types, name)))))
    assert literal(program) == f"tensor<{name}, [{2**bits}]>([{', '.join(map(str, values))}])"
    assert parse_program(print_program(program), Path("model.mil")) == program


@pytest.mark.parametrize("dtype", [dtypes.BF16, dtypes.FP8E4M3FN, dtypes.FP8E5M2], ids=str)
def test_floats_that_coremltools_has_not(dtype: dtypes.DType) -> None:
    values = np.array([0, -1.5, 0.125, 224]).astype(dtype.numpy)
    mil = schema.mil()
    value = mil.Value(immediateValue=mil.Value.ImmediateValue(tensor=mil.TensorValue(bytes={"values": values.tobytes()})))
    value.type.tensorType.dataType = dtype.mil
    value.type.tensorType.rank = 1
    value.type.tensorType.dimensions.add().constant.size = 4
    program = constant(value)
    assert literal(program) == f"tensor<{dtype}, [4]>([0x0p+0, -0x1.8p+0, 0x1p-3, 0x1.cp+7])"
    parsed = parse_program(print_program(program), Path("model.mil"))
    assert parsed == program
    imported = import_value(parsed.functions["main"].block_specializations["CoreML8"].operations[0].attributes["val"], None)  # type: ignore[arg-type]
    assert np.array_equal(imported.value, values)


@pytest.mark.parametrize(
    "text", ["", "plain", 'a "quoted" word', "back\\slash", "line\nbreak\r\ttab", "\x00\x01\x7f", "émoji 😀 汉字", "\\n", "];}", "\\"]
)
def test_strings_come_back(text: str) -> None:
    program = constant(strings([text]))
    printed = print_program(program)
    assert parse_program(printed, Path("model.mil")) == program
    assert len(printed.splitlines()) == len(print_program(constant(strings(["x"]))).splitlines())


def test_strings_in_arrays() -> None:
    program = constant(strings(["a", "][", '", "', ""], 2, 2))
    assert parse_program(print_program(program), Path("model.mil")) == program
    assert literal(program).startswith('tensor<string, [2, 2]>([["a", "]["], ["')


@pytest.mark.parametrize(
    "name", ["x", "_1", "x.1", "x y", "0", "a-b", "tensor", "inf", "BLOBFILE", "name\n", "日本", "", 'q"', "func", "x/y:0"]
)
def test_names_come_back(name: str) -> None:
    mil = schema.mil()
    program = mil.Program(version=1)
    function = program.functions["main"]
    function.opset = "CoreML8"
    item = function.inputs.add(name=name)
    item.type.tensorType.dataType = mil.FLOAT32
    block = function.block_specializations["CoreML8"]
    operation = block.operations.add(type="identity")
    operation.inputs["x"].arguments.add().name = name
    operation.outputs.add(name=f"{name}_out").type.CopyFrom(item.type)
    block.outputs.append(f"{name}_out")
    assert parse_program(print_program(program), Path("model.mil")) == program
    assert bool(unverified_forms(program)) == (re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII) is None)


def test_values_in_lists_tuples_and_dictionaries() -> None:
    text = (
        "program(1.3)\n[a = tuple<int32, tuple<string, list<tensor<fp16, [2]>, ?>>, dict<int64, bool>>"
        '((-3, ("s", [[0x1p+0, -inf], [nan, 0x0p+0]]), {{-1, true}, {2, false}})), '
        'b = list<string, 2>(["x", "y"]), c = list<int64, 0>([]), d = dict<string, int32>({}), e = tuple<>(())]\n'
        "{\n    func main<ios18>() {\n        } -> ();\n}"
    )
    program = parse_program(text, Path("model.mil"))
    assert print_program(program) == text
    value = import_value(program.attributes["a"], None)  # type: ignore[arg-type]
    assert value.value[0] == -3
    assert value.value[1][0] == "s"
    assert value.value[2] == {-1: True, 2: False}
    assert np.array_equal(value.value[1][1][0], np.array([1, -np.inf], np.float16))
    assert import_value(program.attributes["b"], None).value == ["x", "y"]  # type: ignore[arg-type]


def test_sizes_that_a_type_leaves_open_are_those_of_the_values() -> None:
    value = 'dict<string, tensor<int32, [?, 2]>>({{"k", [[1, 2], [3, 4], [5, 6]]}})'
    text = f"program(1.3)\n[a = {value}]\n{{\n    func f<ios18>() {{\n        }} -> ();\n}}"
    program = parse_program(text, Path("model.mil"))
    assert print_program(program) == text
    assert np.array_equal(import_value(program.attributes["a"], None).value["k"], np.arange(1, 7).reshape(3, 2))  # type: ignore[arg-type]


def test_build_information_is_sorted_and_extended() -> None:
    program = parse_program(
        'program(1.3)[buildInfo = dict<string, string>({{"b", "1"}, {"coremlc-version", "0"}, {"a", "2"}})]{func f<ios18>() {} -> ();}',
        Path("m"),
    )
    printed = print_program(program, {"coremlc-version": "9", "zz": '"'})
    assert (
        printed.splitlines()[1] == '[buildInfo = dict<string, string>({{"a", "2"}, {"b", "1"}, {"coremlc-version", "9"}, {"zz", "\\""}})]'
    )
    assert print_program(schema.mil().Program(), {"k": "v"}, version="1.0").splitlines()[1] == (
        '[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"k", "v"}})]'
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda value: value.ClearField("type"), "has no type"),
        (lambda value: setattr(value.type.tensorType, "dataType", 99), "data type 99"),
        (
            lambda value: setattr(value.type.tensorType.dimensions[0].constant, "size", 2**60),
            "holds 2 elements, expected 1152921504606846976",
        ),
        (lambda value: value.type.tensorType.dimensions[0].unknown.SetInParent(), "expected a constant shape"),
        (lambda value: value.immediateValue.Clear(), "holds nothing"),
        (lambda value: value.immediateValue.tensor.floats.values.extend([1, 2]), "holds floats"),
        (lambda value: value.immediateValue.tensor.strings.values.extend(["1", "2"]), "holds strings"),
        (lambda value: setattr(value.immediateValue.tensor.bytes, "values", b"123"), "holds 3 bytes, expected 8"),
    ],
)
def test_broken_messages_are_refused(change: Any, says: str) -> None:
    value = tensor(np.array([1, 2], np.int32))
    change(value)
    with pytest.raises(FormatError, match=says):
        print_program(constant(value))


def test_function_without_a_block_for_its_opset() -> None:
    program = schema.mil().Program()
    program.functions["f"].opset = "CoreML7"
    with pytest.raises(FormatError, match="function 'f': has no block for its opset 'CoreML7'"):
        print_program(program)
