"""Loading and predicting: features in and out, with models that coremltools wrote."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from PIL import Image

import moka
from tests import builders
from tests.builders import convert, traced

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def doubled(folder: Path) -> moka.Model:
    """y = 2 * x for x float32 [2, 3]."""
    module = traced(lambda x: x * 2, torch.zeros(2, 3))
    return moka.load(convert(module, folder / "doubled.mlpackage", inputs=[ct.TensorType("x", (2, 3))], outputs=[ct.TensorType("y")]))


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float64).reshape(2, 3),
        np.arange(6, dtype=np.int64).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0, requires_grad=True).reshape(2, 3),
        torch.arange(6.0, dtype=torch.bfloat16).reshape(2, 3),
        [[0, 1, 2], [3, 4, 5]],
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    ],
    ids=["float32", "float64", "int64", "tensor", "tensor with gradient", "bfloat16", "list", "view"],
)
def test_takes_anything_like_an_array(doubled: moka.Model, value: Any) -> None:
    result = doubled.predict({"x": value})["y"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0, 2, 4], [6, 8, 10]])


def test_a_scalar_comes_out_as_a_vector_of_one(folder: Path) -> None:
    module = traced(lambda x: x.sum(), torch.zeros(2, 3))
    path = convert(module, folder / "total.mlpackage", inputs=[ct.TensorType("x", (2, 3))], outputs=[ct.TensorType("y")])
    result = moka.load(path).predict({"x": np.arange(6).reshape(2, 3)})["y"]
    assert result.shape == (1,)
    assert result[0] == 15


def test_predicts_for_a_list(doubled: moka.Model) -> None:
    results = doubled.predict([{"x": np.full((2, 3), number)} for number in range(3)])
    assert [float(result["y"][0, 0]) for result in results] == [0, 2, 4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"z": 1}, "input 'z': the model has none of that name; it takes x"),
        ({}, r"input 'x' \(multi-array float32 \[2, 3\]\) is missing"),
        ({"x": np.zeros((3, 2))}, r"input 'x' has shape \[3, 2\]; expected \[2, 3\]"),
        ({"x": np.array(["a"])}, "input 'x' is .* expected numbers"),
        ({"x": [[1, 2, 3], [4, 5]]}, "input 'x' is not a rectangular array"),
        (7, "data is a int; expected a dict"),
    ],
)
def test_wrong_inputs_are_named(doubled: moka.Model, data: Any, message: str) -> None:
    with pytest.raises(moka.InputError, match=message):
        doubled.predict(data)


def test_results_are_copies(folder: Path) -> None:
    module = traced(lambda x: x.reshape(3, 2), torch.zeros(2, 3))
    model = moka.load(convert(module, folder / "view.mlpackage", inputs=[ct.TensorType("x", (2, 3))], outputs=[ct.TensorType("y")]))
    given = np.zeros((2, 3), np.float32)
    result = model.predict({"x": given})["y"]
    given[:] = 5
    assert result.max() == 0


def test_integers_must_be_whole_and_fit(folder: Path) -> None:
    module = traced(lambda x: x + 1, torch.zeros(2, dtype=torch.int32))
    inputs = [ct.TensorType("x", (2,), dtype=np.int32)]
    model = moka.load(convert(module, folder / "integers.mlpackage", inputs=inputs, outputs=[ct.TensorType("y")]))
    np.testing.assert_array_equal(model.predict({"x": np.array([1.0, 2.0])})["y"], [2, 3])
    with pytest.raises(moka.InputError, match="fractions"):
        model.predict({"x": np.array([1.5, 2.0])})
    with pytest.raises(moka.InputError, match="int32 holds"):
        model.predict({"x": np.array([2**31, 0])})


def test_flexible_shapes(folder: Path) -> None:
    module = traced(lambda x: x * 2, torch.zeros(1, 4))
    ranged = ct.TensorType("x", ct.Shape((1, ct.RangeDim(2, 6, default=4))))
    model = moka.load(convert(module, folder / "ranged.mlpackage", inputs=[ranged], outputs=[ct.TensorType("y")]))
    assert model.predict({"x": np.ones((1, 6))})["y"].shape == (1, 6)
    with pytest.raises(moka.InputError, match=r"has shape \[1, 7\]; expected \[1, 2 to 6\]: Size \(7\)"):
        model.predict({"x": np.ones((1, 7))})
    enumerated = ct.TensorType("x", ct.EnumeratedShapes([(1, 4), (1, 8)], default=(1, 4)))
    model = moka.load(convert(module, folder / "enumerated.mlpackage", inputs=[enumerated], outputs=[ct.TensorType("y")]))
    assert model.predict({"x": np.ones((1, 8))})["y"].shape == (1, 8)
    with pytest.raises(moka.InputError, match=r"expected one of \[1, 4\], \[1, 8\]"):
        model.predict({"x": np.ones((1, 6))})


def test_optional_inputs_have_defaults(folder: Path) -> None:
    module = traced(lambda x, y: x + y, torch.zeros(2), torch.zeros(2))
    inputs = [ct.TensorType("x", (2,)), ct.TensorType("y", (2,), default_value=np.full(2, 3.0, np.float32))]
    model = moka.load(convert(module, folder / "optional.mlpackage", inputs=inputs, outputs=[ct.TensorType("sum")]))
    np.testing.assert_array_equal(model.predict({"x": [1, 2]})["sum"], [4, 5])
    np.testing.assert_array_equal(model.predict({"x": [1, 2], "y": [0, 1]})["sum"], [1, 3])


def image_model(folder: Path, layout: str, *, output: bool = False) -> moka.Model:
    channels = 3 if layout in ("RGB", "BGR") else 1
    shape = (1, channels, 4, 5)
    module = traced(lambda x: x + 1, torch.zeros(shape))
    color = getattr(ct.colorlayout, layout)
    outputs = [ct.ImageType("y", color_layout=color) if output else ct.TensorType("y")]
    path = folder / f"{layout}-{output}.mlpackage"
    return moka.load(convert(module, path, inputs=[ct.ImageType("x", shape, color_layout=color)], outputs=outputs))


RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 250, (4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(("layout", "order"), [("RGB", 1), ("BGR", -1)])
def test_color_images(folder: Path, layout: str, order: int) -> None:
    model = image_model(folder, layout)
    expected = PIXELS.transpose(2, 0, 1)[None, ::order].astype(np.float32) + 1
    np.testing.assert_array_equal(model.predict({"x": Image.fromarray(PIXELS)})["y"], expected)
    np.testing.assert_array_equal(model.predict({"x": PIXELS})["y"], expected)


def test_gray_images(folder: Path) -> None:
    gray = PIXELS[:, :, 0]
    model = image_model(folder, "GRAYSCALE")
    np.testing.assert_array_equal(model.predict({"x": Image.fromarray(gray)})["y"][0, 0], gray.astype(np.float32) + 1)
    half = image_model(folder, "GRAYSCALE_FLOAT16")
    values = RANDOM.normal(size=(4, 5)).astype(np.float16).astype(np.float32)
    result = half.predict({"x": Image.fromarray(values)})["y"][0, 0]
    np.testing.assert_allclose(result, values + 1, atol=2e-3)


@pytest.mark.parametrize("layout", ["RGB", "BGR", "GRAYSCALE"])
def test_image_outputs(folder: Path, layout: str) -> None:
    model = image_model(folder, layout, output=True)
    pixels = PIXELS if layout != "GRAYSCALE" else PIXELS[:, :, 0]
    result = model.predict({"x": Image.fromarray(pixels)})["y"]
    assert result.mode == ("L" if layout == "GRAYSCALE" else "RGB")
    np.testing.assert_array_equal(np.asarray(result), pixels + 1)


def test_wrong_images_are_named(folder: Path) -> None:
    model = image_model(folder, "RGB")
    with pytest.raises(moka.InputError, match=r"is 6 x 4 pixels \(width x height\); expected 5 x 4: resize"):
        model.predict({"x": Image.new("RGB", (6, 4))})
    with pytest.raises(moka.InputError, match=r"has mode 'L'; RGB takes 'RGB': convert"):
        model.predict({"x": Image.new("L", (5, 4))})
    with pytest.raises(moka.InputError, match=r"expected a PIL image or an array \[height, width, 3\]"):
        model.predict({"x": np.zeros((1, 3, 4, 5), np.uint8)})
    with pytest.raises(moka.InputError, match="dtype float64; expected uint8"):
        model.predict({"x": np.zeros((4, 5, 3))})


@pytest.mark.parametrize("labels", [["cat", "dog", "bird"], [10, 20, 30]])
def test_classifiers(folder: Path, labels: list[Any]) -> None:
    module = traced(lambda x: torch.softmax(x, -1), torch.zeros(1, 3))
    path = folder / f"classifier-{labels[0]}.mlpackage"
    inputs = [ct.TensorType("x", (1, 3))]
    model = moka.load(convert(module, path, inputs=inputs, classifier_config=ct.ClassifierConfig(labels, "label")))
    logits = np.array([[0.1, 2.0, -1.0]], np.float32)
    result = model.predict({"x": logits})
    expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert result["label"] == labels[1]
    (probabilities,) = [value for value in result.values() if isinstance(value, dict)]
    assert list(probabilities) == labels
    np.testing.assert_allclose(list(probabilities.values()), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def counter(folder: Path) -> moka.Model:
    return moka.load(builders.counter(folder / "counter.mlpackage", step="x", total="y"))


def test_states_live_between_predictions(counter: moka.Model) -> None:
    state, other = counter.make_state(), counter.make_state()
    for _ in range(3):
        result = counter.predict({"x": [1, 2]}, state=state)["y"]
    np.testing.assert_array_equal(result, [3, 6])
    np.testing.assert_array_equal(other.read_state("total"), [0, 0])
    state.write_state("total", [10, 20])
    np.testing.assert_array_equal(counter.predict({"x": [1, 2]}, state=state)["y"], [11, 22])
    assert state.read_state("total").dtype == np.float16


def test_misused_states_are_named(counter: moka.Model, doubled: moka.Model) -> None:
    with pytest.raises(moka.InputError, match=r"is stateful: make a state with make_state\(\)"):
        counter.predict({"x": [1, 2]})
    with pytest.raises(moka.InputError, match="has no states"):
        doubled.make_state()
    with pytest.raises(moka.InputError, match="has no states; predict takes none"):
        doubled.predict({"x": np.zeros((2, 3))}, state=counter.make_state())
    with pytest.raises(moka.InputError, match="state 'sum': the model has none of that name; it has total"):
        counter.make_state().read_state("sum")
    with pytest.raises(moka.InputError, match=r"has shape \[3\]; expected \[2\]"):
        counter.make_state().write_state("total", [1, 2, 3])


def test_functions_are_chosen_by_name(folder: Path) -> None:
    parts = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("twice", 2.0), ("thrice", 3.0)):
        module = traced(lambda x, factor=factor: x * factor, torch.zeros(2))
        options = {"inputs": [ct.TensorType("x", (2,))], "outputs": [ct.TensorType("y")]}
        path = convert(module, folder / f"{name}.mlpackage", minimum_deployment_target=ct.target.iOS18, **options)
        parts.add_function(str(path), "main", name)
    parts.default_function_name = "thrice"
    ct.utils.save_multifunction(parts, str(folder / "functions.mlpackage"))
    results = {
        name: moka.load(folder / "functions.mlpackage", function=name).predict({"x": [1, 2]})["y"].tolist()
        for name in ("twice", "thrice", None)
    }
    assert results == {"twice": [2, 4], "thrice": [3, 6], None: [3, 6]}
    with pytest.raises(moka.InputError, match="function 'half': the model has none of that name; it has"):
        moka.load(folder / "functions.mlpackage", function="half")


def test_threads_share_a_model(doubled: moka.Model) -> None:
    def predict(number: int) -> bool:
        return bool((doubled.predict({"x": np.full((2, 3), number)})["y"] == 2 * number).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(predict, range(200)))


def test_wrong_options_are_named(folder: Path, doubled: moka.Model) -> None:
    with pytest.raises(moka.InputError, match="compute_units is 'GPU'; expected one of ALL"):
        moka.load(doubled.path, compute_units="GPU")
    with pytest.raises(moka.InputError, match="numerics is 'slow'"):
        moka.load(doubled.path, numerics="slow")
    assert moka.load(doubled.path, compute_units=ct.ComputeUnit.CPU_ONLY).compute_units == "CPU_ONLY"
