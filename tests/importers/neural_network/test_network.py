"""What lies around the layers: inputs, preprocessing, outputs, labels, shapes that vary, and networks that are refused."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.models.neural_network import flexible_shape_utils
from PIL import Image

import moka
from tests.importers.neural_network.networks import Array, built, loaded, noise


def linear(builder: Any) -> None:
    builder.add_activation("double", "LINEAR", "x", "y", [2.0, 0.0])


def image_network(color: str, channels: int, *, exact: bool = False, size: tuple[int, int] = (4, 6), build: Any = None) -> Any:
    """A network with an image input; by default its output is the image as the network sees it."""

    def identity(builder: Any) -> None:
        builder.add_activation("copy", "LINEAR", "x", "y", [1.0, 0.0])

    specification = built({"x": (channels, *size)}, build or identity, exact=exact)
    feature = specification.description.input[0].type
    feature.imageType.width, feature.imageType.height = size[1], size[0]
    feature.imageType.colorSpace = feature.imageType.ColorSpace.Value(color)
    specification.neuralNetwork.imageInputShapeMapping = int(exact)
    return specification


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
PLANES = PIXELS.transpose(2, 0, 1).astype(np.float32)


class TestArrays:
    @pytest.mark.parametrize(
        ("declared", "given", "result"),
        [
            ((5,), (5,), (1, 1, 5, 1, 1)),
            ((5,), (3, 2, 5), (3, 2, 5, 1, 1)),
            ((5,), (3, 2, 5, 1, 1), (3, 2, 5, 1, 1)),
            ((2, 3, 4), (2, 3, 4), (1, 1, 2, 3, 4)),
            ((2, 3, 4), (5, 1, 2, 3, 4), (5, 1, 2, 3, 4)),
        ],
    )
    def test_become_blobs_of_five_axes(self, declared: Any, given: Any, result: Any) -> None:
        x = noise(*given)
        y = loaded(built({"x": declared}, linear)).predict({"x": x})["y"]
        assert y.shape == result
        np.testing.assert_array_equal(y.reshape(-1), x.reshape(-1) * 2)

    @pytest.mark.parametrize("given", [(6,), (3, 5), (3, 2, 6), (3, 2, 5, 2, 1), (1, 1, 1, 1, 1)])
    def test_of_other_shapes_are_refused(self, given: Any) -> None:
        with pytest.raises(moka.InputError, match=r"input 'x' has shape .* expected \[5\]"):
            loaded(built({"x": (5,)}, linear)).predict({"x": np.zeros(given)})

    @pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4, 5), (1, 2, 3, 2, 1)])
    def test_are_exact_from_version_4_on(self, shape: Any) -> None:
        x = noise(*shape)
        y = loaded(built({"x": shape}, linear, exact=True)).predict({"x": x})["y"]
        np.testing.assert_array_equal(y, x * 2)

    def test_of_a_rank_that_older_networks_do_not_have_are_refused(self) -> None:
        specification = built({"x": (2, 3)}, linear, exact=True)
        specification.neuralNetwork.arrayInputShapeMapping = 0
        with pytest.raises(moka.ProgramError, match=r"input 'x' has shape \[2, 3\]; a network of this age takes \[C\], \[C, H, W\]"):
            loaded(specification)

    @pytest.mark.parametrize("declared", [(24,), (2, 3, 4), (1, 24), (6, 4, 1)])
    def test_come_out_with_the_declared_shape(self, declared: Any) -> None:
        specification = built({"x": (2, 3, 4)}, linear)
        specification.description.output[0].type.multiArrayType.shape.extend(declared)
        x = noise(2, 3, 4)
        np.testing.assert_array_equal(loaded(specification).predict({"x": x})["y"], (x * 2).reshape(declared))

    def test_that_left_out_are_optional_ones(self) -> None:
        def add(builder: Any) -> None:
            builder.add_elementwise("sum", ["x", "more"], "y", "ADD")

        specification = built({"x": (3,), "more": (3,)}, add)
        specification.description.input[1].type.isOptional = True
        model = loaded(specification)
        np.testing.assert_array_equal(model.predict({"x": [1, 2, 3]})["y"].reshape(-1), [1, 2, 3])
        np.testing.assert_array_equal(model.predict({"x": [1, 2, 3], "more": [1, 1, 1]})["y"].reshape(-1), [2, 3, 4])


class TestImages:
    @pytest.mark.parametrize(("exact", "leading"), [(False, (1, 1)), (True, (1,))])
    @pytest.mark.parametrize(("color", "planes"), [("RGB", PLANES), ("BGR", PLANES[::-1]), ("GRAYSCALE", PLANES[:1])])
    def test_become_blobs(self, color: str, planes: Array, exact: bool, leading: tuple[int, ...]) -> None:
        image = Image.fromarray(PIXELS[..., 0] if color == "GRAYSCALE" else PIXELS)
        y = loaded(image_network(color, len(planes), exact=exact)).predict({"x": image})["y"]
        np.testing.assert_array_equal(y, planes.reshape(*leading, *planes.shape))

    @pytest.mark.parametrize(("order", "shape"), [("NCHW", (3, 4, 6)), ("NHWC", (4, 6, 3))])
    def test_take_the_place_of_arrays_of_three_axes(self, order: str, shape: tuple[int, ...]) -> None:
        """coremltools makes an image of an array input in this way, and its tests expect outputs of the declared shape."""
        features = [("x", ct.models.datatypes.Array(*shape))]
        builder = ct.models.neural_network.NeuralNetworkBuilder(features, [("y", features[0][1])], disable_rank5_shape_mapping=True)
        linear(builder)
        builder.set_pre_processing_parameters(image_input_names=["x"], image_format=order, red_bias=5, image_scale=0.5)
        y = loaded(builder.spec).predict({"x": Image.fromarray(PIXELS)})["y"]
        expected = PIXELS + np.array([10, 0, 0], np.float32)
        np.testing.assert_array_equal(y, expected.transpose(2, 0, 1) if order == "NCHW" else expected)

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize(("color", "biases"), [("RGB", (1, 2, 3)), ("BGR", (3, 2, 1)), ("GRAYSCALE", (4,))])
    def test_are_scaled_and_shifted(self, color: str, biases: tuple[int, ...], named: bool) -> None:
        specification = image_network(color, len(biases))
        step = specification.neuralNetwork.preprocessing.add(featureName="x" if named else "")
        step.scaler.channelScale = 0.5
        step.scaler.redBias, step.scaler.greenBias, step.scaler.blueBias, step.scaler.grayBias = 1, 2, 3, 4
        image = Image.fromarray(PIXELS[..., 0] if color == "GRAYSCALE" else PIXELS)
        y = loaded(specification).predict({"x": image})["y"]
        planes = {"RGB": PLANES, "BGR": PLANES[::-1], "GRAYSCALE": PLANES[:1]}[color]
        for channel, (plane, bias) in enumerate(zip(planes, biases, strict=True)):
            np.testing.assert_array_equal(y[0, 0, channel], plane / 2 + bias)

    def test_lose_their_mean_image_before_they_are_scaled(self) -> None:
        specification, mean = image_network("RGB", 3), noise(3, 4, 6) * 50
        steps = specification.neuralNetwork.preprocessing
        steps.add(featureName="x").meanImage.meanImage.extend(mean.reshape(-1))
        steps.add(featureName="x").scaler.channelScale = 0.25
        y = loaded(specification).predict({"x": Image.fromarray(PIXELS)})["y"]
        np.testing.assert_allclose(y[0, 0], (PLANES - mean) / 4, rtol=1e-6)

    def test_are_preprocessed_by_name(self) -> None:
        def add(builder: Any) -> None:
            builder.add_elementwise("sum", ["x", "z"], "y", "ADD")

        specification = image_network("GRAYSCALE", 1, build=add)
        specification.description.input.add(name="z").CopyFrom(specification.description.input[0])
        specification.description.input[1].name = "z"
        specification.neuralNetwork.preprocessing.add(featureName="z").scaler.channelScale = 0.5
        image = Image.fromarray(PIXELS[..., 0])
        y = loaded(specification).predict({"x": image, "z": image})["y"]
        np.testing.assert_array_equal(y[0, 0], PLANES[:1] * 1.5)
        specification.neuralNetwork.preprocessing[0].featureName = ""
        with pytest.raises(moka.ProgramError, match="preprocessing: featureName is ''; expected an input that is an image: 'x', 'z'"):
            loaded(specification)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda steps: setattr(steps.add(featureName="q").scaler, "channelScale", 2), "featureName is 'q'; expected an input .* 'x'"),
            (lambda steps: steps.add(featureName="x").meanImage.meanImage.extend([0, 1]), r"meanImage has 2 numbers; expected 72"),
            (lambda steps: steps.add(featureName="x"), "preprocessing of 'x' is of no known kind"),
        ],
    )
    def test_with_broken_preprocessing_are_refused(self, change: Any, problem: str) -> None:
        specification = image_network("RGB", 3)
        change(specification.neuralNetwork.preprocessing)
        with pytest.raises(moka.ProgramError, match=problem):
            loaded(specification)

    def test_come_out(self) -> None:
        def clipped(builder: Any) -> None:
            builder.add_activation("brighter", "LINEAR", "x", "y", [1.0, 100.4])

        specification = image_network("BGR", 3, build=clipped)
        output = specification.description.output[0].type.imageType
        output.width, output.height, output.colorSpace = 6, 4, output.ColorSpace.Value("BGR")
        picture = loaded(specification).predict({"x": Image.fromarray(PIXELS)})["y"]
        np.testing.assert_array_equal(np.asarray(picture), np.clip(PIXELS.astype(int) + 100, 0, 255))


def classifier(labels: list[Any], layer_name: str = "") -> Any:
    """A classifier of four numbers, whose probabilities are their softmax; a further layer comes after it."""

    def build(builder: Any) -> None:
        builder.add_softmax("soft", "x", "probabilities")
        builder.add_activation("late", "LINEAR", "probabilities", "negative", [-1.0, 0.0])
        builder.set_class_labels(labels, "label", layer_name)

    return built({"x": (4,)}, build, mode="classifier")


NUMBERS = np.array([0.5, 3.0, -1.0, 2.0])
SHARES = np.exp(NUMBERS) / np.exp(NUMBERS).sum()


class TestClassifiers:
    @pytest.mark.parametrize("labels", [["a", "b", "ç", "d"], [10, -20, 30, 2**40]])
    def test_give_a_label_and_probabilities(self, labels: list[Any]) -> None:
        specification = classifier(labels, "probabilities")
        result = loaded(specification).predict({"x": NUMBERS})
        assert result[specification.description.predictedFeatureName] == labels[1]
        shares = result[specification.description.predictedProbabilitiesName]
        assert list(shares) == labels
        np.testing.assert_allclose(list(shares.values()), SHARES, rtol=1e-5)

    def test_take_probabilities_from_the_last_layer_if_none_is_named(self) -> None:
        specification = classifier(["a", "b", "c", "d"], "probabilities")
        specification.neuralNetworkClassifier.labelProbabilityLayerName = ""
        assert loaded(specification).predict({"x": NUMBERS})["label"] == "c"

    def test_may_have_further_outputs(self) -> None:
        specification = classifier(["a", "b", "c", "d"], "probabilities")
        specification.description.output.add(name="negative").type.multiArrayType.dataType = 65568
        result = loaded(specification).predict({"x": NUMBERS})
        assert result["label"] == "b"
        np.testing.assert_allclose(result["negative"].reshape(-1), -SHARES, rtol=1e-5)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda body: body.ClearField("stringClassLabels"), "classLabels: the classifier has none"),
            (lambda body: body.stringClassLabels.vector.append("e"), r"classLabels: there are 5 labels, but 'probabilities' has the shape"),
            (lambda body: setattr(body, "labelProbabilityLayerName", "q"), "labelProbabilityLayerName: the blob 'q' .* no layer writes"),
        ],
    )
    def test_that_are_broken_are_refused(self, change: Any, problem: str) -> None:
        specification = classifier(["a", "b", "c", "d"], "probabilities")
        change(specification.neuralNetworkClassifier)
        with pytest.raises(moka.ProgramError, match=problem):
            loaded(specification)


def test_a_regressor_gives_a_number() -> None:
    specification = built({"x": (3,)}, lambda builder: builder.add_reduce("sum", "x", "y", "C", "sum"), mode="regressor")
    specification.description.output[0].type.doubleType.SetInParent()
    specification.description.predictedFeatureName = "y"
    result = loaded(specification).predict({"x": [1.0, 2.5, 3.0]})["y"]
    assert isinstance(result, float)
    assert result == 6.5


def test_shapes_of_arrays_vary_within_their_ranges() -> None:
    specification = built({"x": (2, 3)}, linear, exact=True)
    flexible_shape_utils.set_multiarray_ndshape_range(specification, "x", [1, 3], [-1, 5])
    model = loaded(specification)
    for shape in [(1, 3), (70, 5), (2, 4), (1, 3)]:
        x = noise(*shape)
        np.testing.assert_array_equal(model.predict({"x": x})["y"], x * 2)
    with pytest.raises(moka.InputError, match=r"expected \[1 to any, 3 to 5\]"):
        model.predict({"x": np.zeros((2, 6))})


def test_sizes_of_images_vary_within_their_ranges() -> None:
    specification = image_network("RGB", 3)
    sizes = flexible_shape_utils.NeuralNetworkImageSizeRange((2, 8), (3, 9))
    flexible_shape_utils.update_image_size_range(specification, "x", sizes)
    model = loaded(specification)
    for height, width in [(2, 3), (8, 9), (4, 6)]:
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        y = model.predict({"x": Image.fromarray(pixels)})["y"]
        np.testing.assert_array_equal(y[0, 0], pixels.transpose(2, 0, 1))


def test_programs_are_made_once_for_each_set_of_shapes() -> None:
    specification = built({"x": (2,)}, linear, exact=True)
    flexible_shape_utils.set_multiarray_ndshape_range(specification, "x", [1], [-1])
    model: Any = loaded(specification)
    for size in (*range(1, 40), 39, 2):
        assert model.predict({"x": np.ones(size)})["y"].shape == (size,)
    assert len(model._executables) == 16
    before = dict(model._executables)
    model.predict({"x": np.ones(39)})
    assert all(model._executables[shapes] is executable for shapes, executable in before.items())


def test_a_network_may_need_longer_sequences_than_one_step() -> None:
    """It can't be made ready for the shape that its description states, [C], but runs with what users give it."""

    def build(builder: Any) -> None:
        builder.add_permute("p", [3, 1, 2, 0], "x", "turned")
        builder.add_flatten("f", 0, "turned", "flat")
        builder.add_inner_product("ip", np.ones((2, 12)), None, 12, 2, False, "flat", "y")

    model = loaded(built({"x": (3,)}, build))
    x = noise(4, 1, 3)
    np.testing.assert_allclose(model.predict({"x": x})["y"].reshape(-1), [x.sum()] * 2, rtol=1e-5)
    with pytest.raises(moka.ProgramError, match=r"layer 'ip' \(innerProduct\).*does not take inputs of shape"):
        model.predict({"x": noise(3, 1, 3)})


def two_layers(builder: Any) -> None:
    builder.add_activation("first", "RELU", "x", "a")
    builder.add_activation("second", "RELU", "a", "y")


def scaled(builder: Any) -> None:
    builder.add_scale("s", np.ones(3), None, False, "x", "y", [3])


BROKEN: dict[str, tuple[Any, Any, str]] = {
    "unwritten": (two_layers, lambda layers: layers[1].input.__setitem__(0, "q"), r"layer 'second' \(activation\) reads the blob 'q'"),
    "cycle": (
        two_layers,
        lambda layers: layers[0].input.__setitem__(0, "y"),
        r"layer 'first' \(activation\) reads the blob 'y', .* layer 'second' writes it, which needs this layer or comes after it",
    ),
    "itself": (
        two_layers,
        lambda layers: layers[0].input.__setitem__(0, "a"),
        "layer 'first' .* reads the blob 'a', .*layer 'first' writes it",
    ),
    "output": (two_layers, lambda layers: layers[1].output.__setitem__(0, "q"), "output 'y' is a blob that no layer writes"),
    "no kind": (two_layers, lambda layers: layers[1].ClearField("activation"), "layer 'second' is of the kind None, which Moka has no"),
    "no function": (two_layers, lambda layers: layers[1].activation.ClearField("ReLU"), "layer 'second' .*NonlinearityType is not set"),
    "inputs": (two_layers, lambda layers: layers[1].input.append("x"), r"layer 'second' \(activation\) has 2 inputs; expected 1"),
    "outputs": (two_layers, lambda layers: layers[1].output.append("z"), r"layer 'second' \(activation\) has 2 outputs; expected 1"),
    "weights": (
        scaled,
        lambda layers: layers[0].scale.scale.floatValue.append(1),
        r"layer 's' \(scale\): scale: has 4 weights; expected 3",
    ),
    "shape": (scaled, lambda layers: layers[0].scale.shapeScale.append(1), r"layer 's' \(scale\): scale has the shape \[3, 1\]; expected"),
    "enormous": (scaled, lambda layers: layers[0].scale.shapeScale.extend([2**63, 2**63]), "layer 's' .*has 3 weights; expected 2552"),
    "enumeration": (
        lambda builder: builder.add_reduce("r", "x", "y", "CHW", "sum"),
        lambda layers: setattr(layers[0].reduce, "mode", 99),
        r"layer 'r' \(reduce\): mode is 99; expected one of SUM, AVG",
    ),
    "inner enumeration": (
        lambda builder: builder.add_resize_bilinear("r", "x", "y", 2, 2),
        lambda layers: setattr(layers[0].resizeBilinear.mode, "samplingMethod", 9),
        r"layer 'r' \(resizeBilinear\): samplingMethod is 9; expected one of STRICT_ALIGN_ENDPOINTS_MODE",
    ),
    "padding": (
        lambda builder: builder.add_pooling("p", 2, 2, 1, 1, "MAX", "VALID", "x", "y"),
        lambda layers: layers[0].pooling.ClearField("valid"),
        r"layer 'p' \(pooling\): PoolingPaddingType is not set",
    ),
    "borders": (
        lambda builder: builder.add_padding("p", 1, 1, 1, 1, 0, "x", "y"),
        lambda layers: layers[0].padding.paddingAmounts.borderAmounts.add(),
        r"layer 'p' \(padding\): paddingAmounts has 3 borderAmounts; expected 2",
    ),
    "kernel": (
        lambda builder: builder.add_pooling("p", 2, 2, 1, 1, "MAX", "VALID", "x", "y"),
        lambda layers: layers[0].pooling.kernelSize.append(2),
        r"layer 'p' \(pooling\): kernelSize has 3 entries; expected 2",
    ),
    "order": (
        lambda builder: builder.add_permute("p", [0, 1, 2, 3], "x", "y"),
        lambda layers: layers[0].permute.axis.__setitem__(0, 3),
        r"layer 'p' \(permute\): axis is \[3, 1, 2, 3\]; expected an order of 0, 1, 2, 3",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_networks_are_refused(name: str) -> None:
    build, change, problem = BROKEN[name]
    specification = built({"x": (3, 4, 5)}, build)
    change(specification.neuralNetwork.layers)
    with pytest.raises(moka.MokaError, match=rf"network\.mlmodel: .*{problem}"):
        loaded(specification)


def test_layers_that_do_not_fit_their_input_are_named() -> None:
    specification = image_network("RGB", 3, build=lambda builder: builder.add_split("third", "x", ["y", "z"]))
    with pytest.raises(moka.ProgramError, match=r"layer 'third' \(split\).*shape \[1, 1, 3, 4, 6\]"):
        loaded(specification)


def test_inputs_that_networks_do_not_take_are_refused() -> None:
    specification = built({"x": (3,)}, linear)
    specification.description.input[0].type.dictionaryType.stringKeyType.SetInParent()
    with pytest.raises(moka.ProgramError, match=r"input 'x' is a dictionary .*; a network takes multi-arrays and images"):
        loaded(specification)


def test_an_output_may_be_an_input() -> None:
    specification = built({"x": (3,)}, linear)
    specification.description.output.add(name="x").type.multiArrayType.dataType = 65568
    result = loaded(specification).predict({"x": [1, 2, 3]})
    np.testing.assert_array_equal(result["x"].reshape(-1), [1, 2, 3])
    np.testing.assert_array_equal(result["y"].reshape(-1), [2, 4, 6])
