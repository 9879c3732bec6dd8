"""Programs that coremltools builds, as text and back: the same message, and the same predictions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813  the name that coremltools' users know
from coremltools.converters.mil.mil import types

import moka
from moka.errors import FormatError
from moka.formats import schema
from moka.formats.mil_text import parse_program, print_model, print_program, unverified_forms
from moka.formats.source import open_source
from tests.builders import convert
from tests.formats.test_mil_text import in_text_order

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18, "ios19": ct.target.iOS26}
X = np.linspace(-2, 3, 6, dtype=np.float32).reshape(2, 3)


def build(program: Any, folder: Path, **options: Any) -> Any:
    """The ``Model`` message of a program as it was built, without coremltools' passes."""
    options = {"minimum_deployment_target": ct.target.iOS18, "pass_pipeline": ct.PassPipeline.EMPTY} | options
    return open_source(convert(program, folder / "built.mlpackage", **options)).specification


def same(model: Any) -> str:
    """The model's text, once it is seen to hold the whole program."""
    text = print_program(model.mlProgram)
    assert parse_program(text, Path("model.mil")) == in_text_order(model.mlProgram)
    return text


def predicts_equally(package: Path, inputs: dict[str, Any]) -> None:
    """Replaces a package's program by the one that its text gives, and compares what both predict."""
    source = open_source(package)
    expected = moka.load(package).predict(inputs)
    parsed = parse_program(print_model(source.specification), Path("model.mil"))
    for function in parsed.functions.values():
        function.attributes.pop("FlexibleShapeInformation", None)  # what the compiler takes from the description
    source.specification.mlProgram.CopyFrom(parsed)
    source.model_file.write_bytes(source.specification.SerializeToString())
    found = moka.load(package).predict(inputs)
    assert found.keys() == expected.keys() != set()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("opset", TARGETS)
def test_each_opset(opset: str, tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((2, 1))], opset_version=TARGETS[opset])
    def program(x: Any, a: Any) -> Any:
        y = mb.concat(values=(mb.mul(x=x, y=a), x), axis=1)
        return mb.split(x=mb.relu(x=y), num_splits=2, axis=1)

    model = build(program, tmp_path, minimum_deployment_target=TARGETS[opset])
    text = same(model)
    new = opset in ("ios18", "ios19")
    assert text.startswith(f"program({'1.3' if new else '1.0'})\n[buildInfo = ")
    assert f"    func main<{opset}>(tensor<fp32, [2, 1]> a, tensor<fp32, [2, 3]> x) {{\n" in text
    assert (' = const()[name = string("' in text) == new
    assert (' = const()[name = tensor<string, []>("' in text) == (not new)
    assert text == print_model(model)
    assert unverified_forms(model.mlProgram) == []
    predicts_equally(tmp_path / "built.mlpackage", {"x": X, "a": X[:, :1]})


def cond(x: Any) -> Any:
    total = mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False)
    inner = mb.greater(x=total, y=-1.0)

    def nested() -> Any:
        return mb.cond(pred=inner, _true_fn=lambda: mb.sqrt(x=mb.abs(x=x)), _false_fn=lambda: mb.add(x=x, y=total))

    return mb.cond(pred=mb.greater(x=total, y=1.0), _true_fn=lambda: mb.mul(x=x, y=2.0), _false_fn=nested)


def loop(x: Any) -> Any:
    return mb.while_loop(
        _cond=lambda i, value: mb.less(x=i, y=3),
        _body=lambda i, value: (mb.add(x=i, y=1), mb.mul(x=value, y=1.5)),
        loop_vars=(np.int32(0), x),
    )


def lists(x: Any) -> Any:
    items = mb.make_list(init_length=2, dtype="fp32", elem_shape=(3,), dynamic_length=True)
    items = mb.list_write(ls=items, index=0, value=mb.slice_by_index(x=x, begin=[1, 0], end=[2, 3], squeeze_mask=[True, False]))
    return mb.list_gather(ls=items, indices=[0, 0])


@pytest.mark.parametrize("function", [cond, loop, lists], ids=lambda function: function.__name__)
@pytest.mark.parametrize("opset", ["ios15", "ios18"])
def test_control_flow_and_lists(function: Callable[[Any], Any], opset: str, tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=TARGETS[opset])
    def program(x: Any) -> Any:
        return function(x)

    model = build(program, tmp_path, minimum_deployment_target=TARGETS[opset])
    text = same(model)
    assert text.count("{\n") == text.count("} -> (") + 1
    assert bool(unverified_forms(model.mlProgram)) == (function is not lists)
    predicts_equally(tmp_path / "built.mlpackage", {"x": X})


def test_states(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 4), types.fp16), mb.StateTensorSpec((1, 4), types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any, total: Any) -> Any:
        value = mb.add(x=x, y=mb.read_state(input=total))
        mb.coreml_update_state(state=total, value=value)
        return mb.mul(x=value, y=np.float16(2))

    model = build(program, tmp_path)
    text = same(model)
    assert "func main<ios18>(state<tensor<fp16, [1, 4]>> total, tensor<fp16, [1, 4]> x) {" in text
    assert re.search(r"^ {12}write_state\(data = \w+, input = total\)\[name = ", text, re.MULTILINE)
    source = moka.load(tmp_path / "built.mlpackage")
    model.mlProgram.CopyFrom(parse_program(text, Path("model.mil")))
    open_source(tmp_path / "built.mlpackage").model_file.write_bytes(model.SerializeToString())
    again = moka.load(tmp_path / "built.mlpackage")
    for loaded in (source, again):
        state = loaded.make_state()
        outputs = [next(iter(loaded.predict({"x": np.full((1, 4), step, np.float16)}, state=state).values())) for step in (1, 2, 3)]
        np.testing.assert_array_equal(np.concatenate(outputs)[:, 0], [2, 6, 12])


def test_several_functions(tmp_path: Path) -> None:
    def times(number: float) -> Any:
        return mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)(lambda x: mb.mul(x=x, y=number))

    for name, number in (("double", 2.0), ("triple", 3.0)):
        convert(times(number), tmp_path / f"{name}.mlpackage", minimum_deployment_target=ct.target.iOS18)
    functions = ct.utils.MultiFunctionDescriptor()
    for name in ("triple", "double"):
        functions.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    functions.default_function_name = "triple"
    ct.utils.save_multifunction(functions, str(tmp_path / "both.mlpackage"))
    text = same(open_source(tmp_path / "both.mlpackage").specification)
    assert re.findall(r"^    func (\w+)<ios18>", text, re.MULTILINE) == ["double", "triple"]
    predicts_equally(tmp_path / "both.mlpackage", {"x": X})


def flexible(folder: Path, **inputs: Any) -> tuple[Any, str]:
    """A model whose inputs have these shapes, and its text from the attribute of the function to the end of the line."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, *values: Any) -> Any:
            return tuple(value + 1 for value in values)

    examples = [torch.zeros(*item.shape.default) for item in inputs.values()]
    for name, item in inputs.items():
        item.name = name
    traced = torch.jit.trace(Module().eval(), examples)
    path = convert(traced, folder / "flexible.mlpackage", inputs=list(inputs.values()), minimum_deployment_target=ct.target.iOS18)
    model = open_source(path).specification
    found = re.search(r" \[FlexibleShapeInformation = (.*)\] \{\n", print_model(model))
    return model, found[1] if found else ""


DEFAULTS = "tuple<string, dict<string, tensor<int32, [?]>>>"
RANGES = "tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>"


def test_ranges_of_sizes(tmp_path: Path) -> None:
    size = ct.RangeDim(1, 5, default=2)
    model, text = flexible(tmp_path, z=ct.TensorType(shape=(1, size)), a=ct.TensorType(shape=(3, 4)), b=ct.TensorType(shape=(size, 7)))
    assert text == (
        f'tuple<{DEFAULTS}, {RANGES}>((("DefaultShapes", {{{{"b", [2, 7]}}, {{"z", [1, 2]}}}}), '
        '("RangeDims", {{"b", [[1, 5], [7, 7]]}, {"z", [[1, 1], [1, 5]]}})))'
    )
    assert "tensor<fp32, [?, 7]> b" in same(model)
    predicts_equally(tmp_path / "flexible.mlpackage", {"z": X[:1, :3], "a": np.ones((3, 4), np.float32), "b": np.ones((4, 7), np.float32)})


def test_enumerated_shapes(tmp_path: Path) -> None:
    model, text = flexible(tmp_path, x=ct.TensorType(shape=ct.EnumeratedShapes(shapes=[(1, 4), (2, 4), (3, 5)], default=(2, 4))))
    entry = r'\{"[0-9a-f]{8}", \{\{"x", \[(\d, \d)\]\}\}\}'
    assert sorted(re.findall(entry, text)) == ["1, 4", "2, 4", "3, 5"]
    assert re.sub(rf"{entry}(, )?", "", text) == (
        f'tuple<{DEFAULTS}, tuple<string, dict<string, dict<string, tensor<int32, [?]>>>>>((("DefaultShapes", {{{{"x", [2, 4]}}}}), '
        '("EnumeratedShapes", {})))'
    )
    assert print_model(model) == print_model(model)  # keys don't change from one run to the next
    again = parse_program(print_model(model), Path("model.mil"))
    assert print_program(again) == print_model(model)


def test_image_sizes() -> None:
    description = schema.model().ModelDescription()
    image = description.input.add(name="image").type.imageType
    image.width, image.height, image.colorSpace = 30, 20, image.RGB
    image.imageSizeRange.widthRange.lowerBound, image.imageSizeRange.widthRange.upperBound = 10, 40
    image.imageSizeRange.heightRange.lowerBound, image.imageSizeRange.heightRange.upperBound = 1, -1
    model = schema.model().Model(specificationVersion=8, description=description)
    model.mlProgram.functions["main"].opset = "CoreML7"
    model.mlProgram.functions["main"].block_specializations["CoreML7"].SetInParent()
    assert '{{"image", [1, 3, 20, 30]}}' in print_model(model)
    assert '{{"image", [[1, 1], [3, 3], [1, -1], [10, 40]]}}' in print_model(model)


def test_ranges_beside_enumerated_shapes() -> None:
    description = schema.model().ModelDescription()
    description.input.add(name="a").type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=1, upperBound=2)
    description.input.add(name="b").type.multiArrayType.enumeratedShapes.shapes.add(shape=[1])
    model = schema.model().Model(specificationVersion=8, description=description)
    model.mlProgram.functions["main"].opset = "CoreML7"
    with pytest.raises(FormatError, match="input 'b': has enumerated shapes and 'a' has ranges"):
        print_model(model)


def test_shapes_that_go_together_are_as_many() -> None:
    description = schema.model().ModelDescription()
    for name, sizes in (("a", (1, 2)), ("b", (1, 2, 3))):
        feature = description.input.add(name=name)
        for size in sizes:
            feature.type.multiArrayType.enumeratedShapes.shapes.add(shape=[size])
    model = schema.model().Model(specificationVersion=8, description=description)
    model.mlProgram.functions["main"].opset = "CoreML7"
    with pytest.raises(FormatError, match="'a' has 2, 'b' has 3; expected as many"):
        print_model(model)


def test_compressed_weights_stay_references(tmp_path: Path) -> None:
    import coremltools.optimize.coreml as cto

    @mb.program(input_specs=[mb.TensorSpec((2, 64))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        weight = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
        return mb.linear(x=x, weight=weight)

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32, skip_model_load=True)
    options = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32, weight_threshold=0)
    cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=options)).save(str(tmp_path / "int4.mlpackage"))
    text = same(open_source(tmp_path / "int4.mlpackage").specification)
    assert re.search(
        r'data = tensor<int4, \[96, 64\]>\(BLOBFILE\(path = string\("@model_path/weights/weight.bin"\), offset = uint64\(\d+\)\)\)', text
    )
    predicts_equally(tmp_path / "int4.mlpackage", {"x": np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)})


def test_classes_of_a_classifier(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((3,))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.softmax(x=x, axis=0)

    config = ct.ClassifierConfig(["tabby, cat", 'a "dog"', "ox"])
    path = convert(program, tmp_path / "classifier.mlpackage", classifier_config=config)
    model = open_source(path).specification
    text = same(model)
    assert 'list<tensor<string, []>, 3>(["tabby, cat", "a \\"dog\\"", "ox"])' in text
    assert unverified_forms(model.mlProgram) == ["quotes, backslashes or control characters in a string"]
