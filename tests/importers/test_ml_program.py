"""ML Program messages to the program: what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moka.errors import FormatError, ProgramError
from moka.formats import schema
from moka.formats.mlmodel import write_specification
from moka.formats.source import ModelSource, open_source
from moka.importers.ml_program import import_program, import_type
from moka.ir.types import DictionaryType, ListType, StateType, TensorType

DATA_TYPE = schema.mil().DataType


def empty() -> tuple[Any, Any]:
    """A model with an empty function, and its block."""
    model = schema.model().Model(specificationVersion=8)
    function = model.mlProgram.functions["main"]
    function.opset = "CoreML7"
    return model, function.block_specializations["CoreML7"]


def opened(model: Any, folder: Path) -> ModelSource:
    path = folder / "model.mlmodel"
    write_specification(model, path)
    return open_source(path)


def constant(block: Any, name: str, data_type: int, shape: tuple[int, ...], **values: Any) -> Any:
    operation = block.operations.add(type="const")
    for message in (operation.outputs.add(name=name).type, operation.attributes["val"].type):
        message.tensorType.dataType, message.tensorType.rank = data_type, len(shape)
        for size in shape:
            message.tensorType.dimensions.add().constant.size = size
    tensor = operation.attributes["val"].immediateValue.tensor
    for field, numbers in values.items():
        part = getattr(tensor, field)
        if field == "bytes":
            part.values = numbers
        else:
            part.values.extend(numbers)
    return operation


@pytest.mark.parametrize(
    ("data_type", "values", "expected"),
    [
        (DATA_TYPE.FLOAT32, {"floats": [1.5, -2]}, np.array([1.5, -2], np.float32)),
        (DATA_TYPE.FLOAT16, {"bytes": np.array([1.5, -2], "<f2").tobytes()}, np.array([1.5, -2], np.float16)),
        (DATA_TYPE.INT32, {"ints": [7, -7]}, np.array([7, -7], np.int32)),
        (DATA_TYPE.INT16, {"ints": [7, -7]}, np.array([7, -7], np.int16)),
        (DATA_TYPE.INT8, {"bytes": bytes([1, 255])}, np.array([1, -1], np.int8)),
        (DATA_TYPE.UINT8, {"bytes": bytes([1, 255])}, np.array([1, 255], np.uint8)),
        (DATA_TYPE.INT4, {"bytes": bytes([0xF1])}, np.array([1, -1], np.int8)),
        (DATA_TYPE.UINT4, {"bytes": bytes([0xF1])}, np.array([1, 15], np.uint8)),
        (DATA_TYPE.UINT1, {"bytes": bytes([0b10])}, np.array([0, 1], np.uint8)),
        (DATA_TYPE.BOOL, {"bools": [True, False]}, np.array([True, False])),
        (DATA_TYPE.INT64, {"longInts": [2**40, -1]}, np.array([2**40, -1], np.int64)),
        (DATA_TYPE.FLOAT64, {"doubles": [0.1, 1]}, np.array([0.1, 1], np.float64)),
        (DATA_TYPE.STRING, {"strings": ["a", "ü"]}, np.array(["a", "ü"], object)),
    ],
)
def test_immediate_values(tmp_path: Path, data_type: int, values: dict[str, Any], expected: np.ndarray[Any, Any]) -> None:
    model, block = empty()
    constant(block, "c", data_type, (2,), **values)
    block.outputs.append("c")
    (operation,) = import_program(opened(model, tmp_path)).functions["main"].body.operations
    found = operation.attributes["val"].value
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda block: constant(block, "c", DATA_TYPE.FLOAT32, (3,), floats=[1, 2]), "holds 2 elements; expected 3"),
        (lambda block: constant(block, "c", DATA_TYPE.FLOAT16, (3,), bytes=b"12345"), "holds 5 bytes; expected 6"),
        (lambda block: constant(block, "c", DATA_TYPE.STRING, (1,), floats=[1]), "holds floats"),
        (lambda block: constant(block, "c", 99, (1,), floats=[1]), "data type 99 is none that the Core ML schema defines"),
        (lambda block: block.outputs.append("ghost"), "output of function 'main': 'ghost' is not defined"),
    ],
)
def test_broken_values_are_named(tmp_path: Path, change: Any, message: str) -> None:
    model, block = empty()
    change(block)
    with pytest.raises(ProgramError, match=message):
        import_program(opened(model, tmp_path))


def test_a_name_must_be_defined_before_it_is_used(tmp_path: Path) -> None:
    model, block = empty()
    operation = block.operations.add(type="relu")
    operation.inputs["x"].arguments.add(name="later")
    operation.outputs.add(name="y").type.tensorType.dataType = DATA_TYPE.FLOAT32
    with pytest.raises(ProgramError, match="input 'x' of relu 'y': 'later' is not defined before it is used"):
        import_program(opened(model, tmp_path))


def test_the_functions_opset_must_have_a_block(tmp_path: Path) -> None:
    model, _ = empty()
    model.mlProgram.functions["main"].opset = "CoreML8"
    with pytest.raises(ProgramError, match="its opset 'CoreML8' has no block; there is CoreML7"):
        import_program(opened(model, tmp_path))


def test_a_weight_file_outside_the_model_is_refused(tmp_path: Path) -> None:
    model, block = empty()
    operation = constant(block, "c", DATA_TYPE.FLOAT32, (1,))
    operation.attributes["val"].blobFileValue.fileName = "@model_path/../../secrets.bin"
    with pytest.raises(FormatError, match="secrets"):
        import_program(opened(model, tmp_path))


def test_types() -> None:
    message = schema.mil().ValueType()
    message.listType.type.tensorType.dataType = DATA_TYPE.STRING
    message.listType.length.constant.size = 4
    assert str(import_type(message)) == "list<tensor<string, []>, 4>"
    assert isinstance(import_type(message), ListType)
    message.dictionaryType.keyType.tensorType.dataType = DATA_TYPE.STRING
    message.dictionaryType.valueType.tensorType.dataType = DATA_TYPE.FLOAT32
    assert isinstance(import_type(message), DictionaryType)
    message.stateType.wrappedType.tensorType.dataType = DATA_TYPE.FLOAT16
    assert isinstance(import_type(message), StateType)
    message.tensorType.dataType, message.tensorType.rank = DATA_TYPE.FLOAT32, 2
    message.tensorType.dimensions.add().unknown.variadic = False
    message.tensorType.dimensions.add().constant.size = 3
    found = import_type(message)
    assert isinstance(found, TensorType)
    assert found.shape == (None, 3)
    assert found.static_shape is None
    message.tensorType.dimensions[0].unknown.variadic = True
    assert str(import_type(message)) == "tensor<fp32, [...]>"
    with pytest.raises(ProgramError, match="a value without a type"):
        import_type(schema.mil().ValueType())
