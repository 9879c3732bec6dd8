"""Programs that are not at hand, but of which it is public how they are made and what text and metadata Apple's compiler made of them.

The texts are those of releases 3520 and 3600 in github.com/rebeckerspecialties/mlmodelc-export, ``tests/fixtures`` and
``tests/pipeline-fixtures``, which also say what is in each source; here the sources are built anew.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import moka
from moka.formats import schema
from moka.formats.mlmodel import write_specification

STRING, FLOAT16, FLOAT32, INT8, INT32 = 2, 10, 11, 21, 23
ARRAYS = {FLOAT16: 65552, FLOAT32: 65568}
Shape = Sequence[int | None]


class Tensor(NamedTuple):
    """A named tensor; sizes that are None are unknown."""

    name: str
    dtype: int
    shape: Shape

    def set_type(self, message: Any) -> None:
        message.tensorType.dataType, message.tensorType.rank = self.dtype, len(self.shape)
        for size in self.shape:
            dimension = message.tensorType.dimensions.add()
            if size is None:
                dimension.unknown.SetInParent()
            else:
                dimension.constant.size = size


def value(dtype: int, shape: Shape, numbers: Sequence[Any] | bytes) -> Any:
    message = schema.mil().Value()
    Tensor("", dtype, shape).set_type(message.type)
    tensor = message.immediateValue.tensor
    if isinstance(numbers, bytes):
        tensor.bytes.values = numbers
    else:
        field = {STRING: tensor.strings, FLOAT32: tensor.floats, INT32: tensor.ints}[dtype]
        field.values.extend(numbers)
    return message


def operation(block: Any, kind: str, output: Tensor, *, attributes: dict[str, Any] | None = None, **inputs: Any) -> None:
    message = block.operations.add(type=kind)
    for name, argument in inputs.items():
        binding = {"name": argument} if isinstance(argument, str) else {"value": argument}
        message.inputs[name].arguments.add(**binding)
    result = message.outputs.add(name=output.name)
    output.set_type(result.type)
    for name, content in (attributes or {}).items():
        message.attributes[name].CopyFrom(content)


def function(model: Any, opset: str, parameter: Tensor, output: str, name: str = "main") -> Any:
    """The block of a new function."""
    message = model.mlProgram.functions[name]
    message.opset = opset
    parameter.set_type(message.inputs.add(name=parameter.name).type)
    block = message.block_specializations[opset]
    block.outputs.append(output)
    return block


def describe(features: Any, name: str, default: int, largest: int | None = None, dtype: int = FLOAT32) -> None:
    array = features.add(name=name).type.multiArrayType
    array.dataType = ARRAYS[dtype]
    array.shape.append(default)
    if largest is not None:
        array.shapeRange.sizeRanges.add(lowerBound=0, upperBound=largest)


def new_model() -> Any:
    return schema.model().Model(specificationVersion=9)


def several_functions(folder: Path) -> Any:
    model = new_model()
    for name, default in (("first", 4), ("second", 2)):
        block = function(model, "CoreML8", Tensor("input", FLOAT32, (None,)), "output", name)
        operation(block, "relu", Tensor("output", FLOAT32, (None,)), x="input")
        description = model.description.functions.add(name=name)
        describe(description.input, "input", default, 4)
        describe(description.output, "output", 4, 4)
    model.description.defaultFunctionName = "second"
    return model


def quantized(folder: Path) -> Any:
    model = new_model()
    describe(model.description.input, "input", 4)
    describe(model.description.output, "output", 4)
    data = value(INT8, (4,), b"")
    data.ClearField("immediateValue")
    data.blobFileValue.fileName, data.blobFileValue.offset = "@model_path/weights/weights.bin", 64
    attributes = {"zero_point": value(INT8, (), b"\xff"), "scale": value(FLOAT32, (), [0.5])}
    attributes |= {"quantized_data": data, "axis": value(INT32, (), [0])}
    block = function(model, "CoreML7", Tensor("input", FLOAT32, (4,)), "output")
    operation(block, "constexpr_affine_dequantize", Tensor("constant", FLOAT32, (4,)), attributes=attributes)
    operation(block, "add", Tensor("output", FLOAT32, (4,)), x="input", y="constant")
    (folder / "weights").mkdir()
    header = struct.pack("<II56x", 1, 2) + struct.pack("<IIQQ40x", 0xDEADBEEF, 4, 4, 128)
    (folder / "weights" / "weights.bin").write_bytes(header + struct.pack("<4b60x", -128, -1, 0, 127))
    return model


def half(folder: Path) -> Any:
    model = new_model()
    describe(model.description.input, "input", 5)
    describe(model.description.output, "output", 5)
    block = function(model, "CoreML7", Tensor("input", FLOAT32, (5,)), "output")
    numbers = value(FLOAT16, (5,), struct.pack("<5H", 0x0001, 0x00A8, 0x03FF, 0x0400, 0x80A8))
    operation(block, "const", Tensor("half", FLOAT16, (5,)), attributes={"val": numbers})
    operation(block, "cast", Tensor("constant", FLOAT32, (5,)), dtype=value(STRING, (), ["fp32"]), x="half")
    operation(block, "add", Tensor("output", FLOAT32, (5,)), x="input", y="constant")
    return model


def casts(folder: Path) -> Any:
    pipeline = new_model()
    describe(pipeline.description.input, "input", 8, 8)
    describe(pipeline.description.output, "result", 8, 8)
    for source, target, name in ((("input", FLOAT32), ("rounded", FLOAT16), "fp16"), (("rounded", FLOAT16), ("result", FLOAT32), "fp32")):
        model = pipeline.pipeline.models.add(specificationVersion=9)
        describe(model.description.input, source[0], 8, 8, source[1])
        describe(model.description.output, target[0], 8, 8, target[1])
        block = function(model, "CoreML7", Tensor(*source, (None,)), target[0])
        operation(block, "cast", Tensor(*target, (None,)), dtype=value(STRING, (), [name]), x=source[0])
    return pipeline


def flexible(name: str, default: int, largest: int) -> str:
    types = "tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>"
    values = f'("DefaultShapes", {{{{"{name}", [{default}]}}}}), ("RangeDims", {{{{"{name}", [[0, {largest}]]}}}})'
    return f" [FlexibleShapeInformation = tuple<{types}>(({values}))]"


RELU = ["            tensor<fp32, [?]> output = relu(x = input);", "        } -> (output);"]
ADD = ["            tensor<fp32, [{0}]> output = add(x = input, y = constant);", "        }} -> (output);"]

CASES: dict[Any, tuple[dict[str, list[str]], dict[str, Any]]] = {
    several_functions: (
        {
            "model.mil": [
                f"    func first<ios18>(tensor<fp32, [?]> input){flexible('input', 4, 4)} {{",
                *RELU,
                f"    func second<ios18>(tensor<fp32, [?]> input){flexible('input', 2, 4)} {{",
                *RELU,
            ]
        },
        {"mlProgramOperationTypeHistogram": {"Ios18.relu": 1}, "computePrecision": "Float32", "defaultFunctionName": "second"},
    ),
    quantized: (
        {
            "model.mil": [
                "    func main<ios17>(tensor<fp32, [4]> input) {",
                "            tensor<fp32, [4]> constant = constexpr_affine_dequantize()[axis = int32(0), quantized_data = tensor<int8, [4]>"
                '(BLOBFILE(path = string("@model_path/weights/weights.bin"), offset = uint64(64))), scale = fp32(0x1p-1), '
                "zero_point = int8(-1)];",
                *(line.format(4) for line in ADD),
            ]
        },
        {
            "mlProgramOperationTypeHistogram": {"Ios17.add": 1, "Ios16.constexprAffineDequantize": 1},
            "storagePrecision": "Int8",
            "computePrecision": "Float32",
        },
    ),
    half: (
        {
            "model.mil": [
                "    func main<ios17>(tensor<fp32, [5]> input) {",
                "            tensor<fp16, [5]> half = const()[val = tensor<fp16, [5]>"
                "([0x1p-24, 0x1.5p-17, 0x1.ff8p-15, 0x1p-14, -0x1.5p-17])];",
                '            tensor<fp32, [5]> constant = cast(dtype = string("fp32"), x = half);',
                *(line.format(5) for line in ADD),
            ]
        },
        {"mlProgramOperationTypeHistogram": {"Ios17.cast": 1, "Ios17.add": 1}},
    ),
    casts: (
        {
            "model0/model.mil": [
                f"    func main<ios17>(tensor<fp32, [?]> input){flexible('input', 8, 8)} {{",
                '            tensor<fp16, [?]> rounded = cast(dtype = string("fp16"), x = input);',
                "        } -> (rounded);",
            ],
            "model1/model.mil": [
                f"    func main<ios17>(tensor<fp16, [?]> rounded){flexible('rounded', 8, 8)} {{",
                '            tensor<fp32, [?]> result = cast(dtype = string("fp32"), x = rounded);',
                "        } -> (result);",
            ],
        },
        {
            "modelType": {"name": "MLModelType_pipeline", "structure": [{"name": "MLModelType_mlProgram"}] * 2},
            "computePrecision": "Mixed (Float16, Float32)",
        },
    ),
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_text_and_metadata_are_those_of_apples_compiler(tmp_path: Path, build: Any) -> None:
    write_specification(build(tmp_path), tmp_path / "input.mlmodel")
    compiled = moka.compile(tmp_path / "input.mlmodel", tmp_path)
    texts, metadata = CASES[build]
    for name, lines in texts.items():
        version, _, *rest = (compiled / name).read_text(encoding="utf-8").split("\n")
        assert version == "program(1.3)"
        assert rest == ["{", *lines, "}"]
    entry = json.loads((compiled / "metadata.json").read_text(encoding="utf-8"))[0]
    assert {key: entry[key] for key in metadata} == metadata
    assert "mokaUnverified" not in entry
