"""Networks compiled: equal to what Apple's compiler made of the same sources, and doing what their sources do."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

import moka
from moka.compiler.espresso import compile_network
from moka.errors import UnsupportedError
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, WEIGHT_FILE, EspressoWeights
from moka.formats.mlmodel import write_specification
from moka.formats.source import ModelSource, open_source

PAIRS = [
    "find-four",
    "image-quality",
    "mnist-classifier",
    "ssd-ocr",
    "waifu2x-anime-noise1",
    "waifu2x-photo-noise0",
    "waifu2x-up-anime",
    "updatable-drawing",
]
COMPILED = ["face_detection_short_range", "uxmodel"]

DRIFT = {"is_image_bgr", "attributes", "debug_info", "analyses", "metadata_in_weights", "version", "nd_axis", "hint_fallback_from_metal"}
"""Keys that some releases of Apple's compiler write and others do not."""


def stage(source: ModelSource) -> ModelSource:
    """The network itself, or the one that a pipeline begins with."""
    kind = source.specification.WhichOneof("Type")
    if kind.startswith("pipeline"):
        body = getattr(source.specification, kind)
        source.specification = getattr(body, "pipeline", body).models[0]
    return source


def without_drift(ours: Any, theirs: Any) -> Any:
    """Our JSON without the keys of newer releases that theirs does not have."""
    if isinstance(ours, dict):
        return {key: without_drift(value, theirs.get(key, {})) for key, value in ours.items() if key in theirs or key not in DRIFT}
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        return [without_drift(*pair) for pair in zip(ours, theirs, strict=True)]
    return ours


def check_equal(folder: Path, reference: Path) -> None:
    """Every file of a compiled network as Apple's compiler wrote it."""
    for name in (NET_FILE, SHAPE_FILE):
        ours, theirs = (json.loads((root / name).read_text()) for root in (folder, reference))
        assert without_drift(ours, theirs) == theirs
    weights, expected = EspressoWeights(folder / WEIGHT_FILE), EspressoWeights(reference / WEIGHT_FILE)
    assert weights.spans.keys() == expected.spans.keys()
    for blob in [blob for blob in expected.spans if blob % 2]:  # the release of 2017 left more room for biases
        size = weights.blob(blob).size
        np.testing.assert_array_equal(weights.blob(blob), expected.blob(blob)[:size])
        assert not expected.blob(blob)[size:].any()
    assert (folder / "model/coremldata.bin").read_bytes() == (reference / "model/coremldata.bin").read_bytes()
    optionals = reference / "neural_network_optionals/coremldata.bin"
    if optionals.exists():  # the release of 2019 wrote one number less
        ours_bytes = (folder / "neural_network_optionals/coremldata.bin").read_bytes()
        assert ours_bytes[: optionals.stat().st_size] == optionals.read_bytes()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_real_network_compiles_to_what_apple_made_of_it(corpus: Path, tmp_path: Path, pair: str) -> None:
    (model,), (reference,) = ((corpus / "pairs" / pair).glob(suffix) for suffix in ("*.mlmodel", "*.mlmodelc"))
    source = stage(open_source(model))
    details = compile_network(source, tmp_path)
    check_equal(tmp_path, reference / "model0" if (reference / "model0").is_dir() else reference)
    assert details.guesses == ()
    assert details.layers == len(getattr(source.specification, source.specification.WhichOneof("Type")).layers)


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_network_without_its_source_compiles_again_to_itself(corpus: Path, tmp_path: Path, name: str) -> None:
    reference = corpus / "compiled" / f"{name}.mlmodelc"
    back = moka.decompile(reference, tmp_path)
    (tmp_path / "again").mkdir()
    compile_network(open_source(back), tmp_path / "again")
    check_equal(tmp_path / "again", reference)


Build = Callable[[NeuralNetworkBuilder], None]
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def convolution(net: NeuralNetworkBuilder, name: str = "conv", bottom: str = "x", top: str = "y", **options: Any) -> None:
    given = {
        "height": 3,
        "width": 2,
        "stride_height": 1,
        "stride_width": 1,
        "border_mode": "valid",
        "groups": 1,
        "has_bias": True,
    } | options
    shape = (given["height"], given["width"], 4 // given["groups"], 4)
    net.add_convolution(name, 4 // given["groups"], 4, W=floats(*shape), b=floats(4) if given["has_bias"] else None,
                        input_name=bottom, output_name=top, **given)  # fmt: skip


def batchnorm(net: NeuralNetworkBuilder, bottom: str, top: str) -> None:
    net.add_batchnorm("bn", 4, floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.5, input_name=bottom, output_name=top)


def folded(net: NeuralNetworkBuilder) -> None:
    net.add_padding("pad", left=1, right=0, top=2, bottom=3, input_name="x", output_name="padded")
    convolution(net, bottom="padded", top="c", stride_height=2, stride_width=2, has_bias=False)
    batchnorm(net, "c", "b")
    net.add_activation("relu", "RELU", "b", "r")
    net.add_activation("last", "LEAKYRELU", "r", "y", [0.25])


def instances(net: NeuralNetworkBuilder) -> None:
    """A convolution, and a normalization of each image by itself, which is not folded."""
    convolution(net, top="c", has_bias=False)
    net.add_batchnorm("norm", 4, floats(4), floats(4), epsilon=1e-6, compute_mean_var=True, instance_normalization=True,
                      input_name="c", output_name="y")  # fmt: skip


def unbiased(net: NeuralNetworkBuilder) -> None:
    net.add_flatten("flat", 0, "x", "f")
    net.add_inner_product("first", floats(6, 240), None, 240, 6, False, "f", "i")
    net.add_inner_product("second", floats(3, 6), floats(3), 6, 3, True, "i", "y")


def reduced(net: NeuralNetworkBuilder) -> None:
    net.add_reduce("sum", "x", "s", axis="C", mode="sum")
    net.add_unary("exp", "s", "y", "exp")


def parts(net: NeuralNetworkBuilder) -> None:
    net.add_slice("first", "x", "a", axis="channel", start_index=0, end_index=2)
    net.add_slice("rest", "x", "b", axis="channel", start_index=1, end_index=4)
    net.add_elementwise("joined", ["a", "b"], "y", "CONCAT")


def arithmetic(net: NeuralNetworkBuilder) -> None:
    net.add_elementwise("double", ["x"], "a", "MULTIPLY", alpha=2)
    net.add_elementwise("more", ["a"], "b", "ADD", alpha=0.5)
    net.add_elementwise("both", ["a", "b"], "c", "MULTIPLY")
    net.add_elementwise("sum", ["c", "x"], "d", "ADD")
    net.add_elementwise("high", ["d", "x"], "e", "MAX")
    net.add_elementwise("low", ["e", "b"], "y", "MIN")


def shaped(net: NeuralNetworkBuilder) -> None:
    net.add_permute("turn", [0, 2, 3, 1], "x", "t")
    net.add_reshape("reshape", "t", "r", [1, 2, 24, 5], 0)
    net.add_flatten("flat", 1, "r", "f")
    net.add_softmax("softmax", "f", "y")


def dense(net: NeuralNetworkBuilder) -> None:
    net.add_flatten("flat", 0, "x", "f")
    net.add_inner_product("first", floats(6, 240), floats(6), 240, 6, True, "f", "i")
    net.add_activation("relu", "RELU", "i", "r")
    net.add_inner_product("second", floats(3, 6), floats(3), 6, 3, True, "r", "y")


def pooling(**options: Any) -> Build:
    given = {"height": 3, "width": 2, "stride_height": 2, "stride_width": 1, "layer_type": "MAX", "padding_type": "VALID"} | options
    return lambda net: net.add_pooling("pool", input_name="x", output_name="y", **given)


def function(kind: str, *parameters: float) -> Build:
    return lambda net: net.add_activation("f", kind, "x", "y", parameters[0] if len(parameters) == 1 else list(parameters))


def unary(mode: str, **options: Any) -> Build:
    def build(net: NeuralNetworkBuilder) -> None:
        net.add_unary("square", "x", "positive", "abs")
        net.add_elementwise("away", ["positive"], "a", "ADD", alpha=0.5)
        net.add_unary("u", "a", "y", mode, **options)

    return build


FIVE_AXES: dict[str, Build] = {
    "convolution": convolution,
    "instances": instances,
    "unbiased": unbiased,
    "convolution with padding": lambda net: convolution(net, padding_top=1, padding_left=2, padding_right=1),
    "convolution of the same size": lambda net: convolution(net, border_mode="same", same_padding_asymmetry_mode="TOP_LEFT_HEAVY"),
    "convolution in groups": lambda net: convolution(net, groups=4),
    "convolution with holes": lambda net: convolution(net, dilation_factors=[2, 1]),
    "convolution without biases": lambda net: convolution(net, has_bias=False),
    "convolution of odd strides": lambda net: convolution(net, stride_height=2),
    "deconvolution": lambda net: convolution(net, is_deconv=True, stride_height=2, stride_width=2, padding_top=1),
    "what is folded": folded,
    "padding by reflection": lambda net: net.add_padding("p", 1, 2, 1, 2, input_name="x", output_name="y", padding_type="reflection"),
    "padding with a number": lambda net: net.add_padding("p", 1, 0, 0, 2, value=3, input_name="x", output_name="y"),
    "pooling": pooling(),
    "pooling with padding": pooling(padding_top=1, padding_left=1, layer_type="AVERAGE", exclude_pad_area=True),
    "pooling with the last pixel": pooling(padding_type="INCLUDE_LAST_PIXEL", stride_width=2, padding_top=1, padding_bottom=1),
    "pooling of everything": pooling(layer_type="AVERAGE", is_global=True),
    "arithmetic": arithmetic,
    "parts": parts,
    "reduced": reduced,
    "shaped": shaped,
    "dense": dense,
    "tanh": function("TANH"),
    "sigmoid": function("SIGMOID"),
    "hard sigmoid": function("SIGMOID_HARD", 0.3, 0.4),
    "scaled tanh": function("SCALED_TANH", 0.5, 2),
    "ELU": function("ELU", 0.5),
    "linear": function("LINEAR", 1, 0),
    "softplus": function("SOFTPLUS"),
    "softsign": function("SOFTSIGN"),
    "thresholded ReLU": function("THRESHOLDEDRELU", 0.4),
    "root": unary("sqrt"),
    "inverse root": unary("rsqrt"),
    "inverse": unary("inverse"),
    "logarithm": unary("log"),
    "threshold": unary("threshold", alpha=1.25),
}


def pipe(net: NeuralNetworkBuilder, *steps: tuple[str, dict[str, Any]]) -> None:
    """Layers of one input one after the other, from x to y."""
    for index, (method, options) in enumerate(steps):
        bottom, top = "x" if index == 0 else f"t{index - 1}", "y" if index == len(steps) - 1 else f"t{index}"
        getattr(net, method)(f"l{index}", input_name=bottom, output_name=top, **options)


def step(method: str, **options: Any) -> tuple[str, dict[str, Any]]:
    return method, options


def joined(net: NeuralNetworkBuilder) -> None:
    net.add_load_constant_nd("two", "two", floats(2, 3, 4), [2, 3, 4])
    net.add_concat_nd("joined", ["x", "two"], "j", axis=1)
    net.add_split_nd("split", "j", ["a", "b"], axis=1, num_splits=2)
    net.add_stack("stack", ["a", "b"], "y", axis=-1)


def broadcast(net: NeuralNetworkBuilder) -> None:
    net.add_load_constant_nd("row", "row", np.abs(floats(4)) + 1, [4])
    net.add_subtract_broadcastable("s", ["x", "row"], "s")
    net.add_multiply_broadcastable("m", ["s", "row"], "m")
    net.add_divide_broadcastable("d", ["m", "x"], "d")
    net.add_add_broadcastable("a", ["d", "row"], "a")
    net.add_mod_broadcastable("mod", ["a", "row"], "y")


OWN_AXES: dict[str, Build] = {
    "joined": joined,
    "broadcast": broadcast,
    "turned": lambda net: pipe(net, step("add_transpose", axes=[2, 0, 1]), step("add_reshape_static", output_shape=[3, 8])),
    "axes": lambda net: pipe(
        net, step("add_expand_dims", axes=[0, -1]), step("add_squeeze", axes=[0]), step("add_squeeze", squeeze_all=True)
    ),
    "slice": lambda net: pipe(net, step("add_slice_static", begin_ids=[0, 1, 0], end_ids=[2, 3, 4], strides=[1, 1, 2],
                                        begin_masks=[True, False, False], end_masks=[False] * 3)),
    "padded": lambda net: pipe(net, step("add_constant_pad_", value=2)),
    "softmax": lambda net: pipe(net, step("add_softmax_nd", axis=1)),
    "clip": lambda net: pipe(net, step("add_clip", min_value=-0.5, max_value=0.25)),
    "mathematics": lambda net: pipe(net, step("add_sin"), step("add_atan"), step("add_exp2"), step("add_floor"), step("add_sign")),
    "gelu": lambda net: pipe(net, step("add_gelu", mode="TANH_APPROXIMATION"), step("add_erf")),
    "table": lambda net: pipe(net, step("add_embedding_nd_")),
}  # fmt: skip


class Builder(NeuralNetworkBuilder):  # type: ignore[misc]  # coremltools has no types
    """The builder, with methods that take the one input as all others do."""

    def add_constant_pad_(self, name: str, input_name: str, output_name: str, value: float) -> None:
        self.add_constant_pad(
            name, [input_name], output_name, value=value, pad_to_given_output_size_mode=False, pad_amounts=[0, 0, 1, 0, 0, 2]
        )

    def add_embedding_nd_(self, name: str, input_name: str, output_name: str) -> None:
        self.add_clip("inside", input_name, "inside", 0, 4)
        self.add_round("whole", "inside", "whole")
        self.add_expand_dims("expanded", "whole", "expanded", [-1])
        self.add_embedding_nd(name, "expanded", output_name, vocab_size=5, embedding_size=6, W=floats(6, 5))


def write_network(path: Path, build: Build, shape: Sequence[int], *, exact: bool) -> Path:
    net = Builder([("x", datatypes.Array(*shape))], [("y", None)], disable_rank5_shape_mapping=exact)
    build(net)
    write_specification(net.spec, path)
    return path


CASES = [(name, build, (4, 12, 5), False) for name, build in FIVE_AXES.items()]
CASES += [(name, build, (2, 3, 4), True) for name, build in OWN_AXES.items()]


@pytest.mark.parametrize(("build", "shape", "exact"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_a_compiled_network_does_what_its_source_does(tmp_path: Path, build: Build, shape: tuple[int, ...], exact: bool) -> None:
    source = write_network(tmp_path / "network.mlmodel", build, shape, exact=exact)
    x = floats(*shape)
    expected = moka.load(source).predict({"x": x})["y"]
    compiled = moka.compile(source, tmp_path)
    np.testing.assert_allclose(moka.load(compiled).predict({"x": x})["y"], expected, rtol=2e-5, atol=2e-5)


def compiled_net(tmp_path: Path, build: Build, shape: Sequence[int] = (4, 12, 5), *, exact: bool = False) -> dict[str, Any]:
    compile_network(open_source(write_network(tmp_path / "network.mlmodel", build, shape, exact=exact)), tmp_path)
    net: dict[str, Any] = json.loads((tmp_path / NET_FILE).read_text())
    return net


def test_folding_takes_padding_normalization_and_relu_into_one_layer(tmp_path: Path) -> None:
    first, last = compiled_net(tmp_path, folded)["layers"]
    assert (first["name"], first["bottom"], first["top"], first["fused_relu"], first["has_biases"]) == ("conv", "x", "r", 1, 1)
    assert {edge: first[f"pad_{edge}"] for edge in "tblr"} == {"t": 2, "b": 3, "l": 1, "r": 0}
    assert last["bottom"] == "r"


def test_a_blob_that_two_layers_read_stays(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        convolution(net, top="c")
        batchnorm(net, "c", "b")
        net.add_activation("relu", "RELU", "b", "r")
        net.add_elementwise("sum", ["r", "b"], "y", "ADD")

    layers = compiled_net(tmp_path, build)["layers"]
    assert [layer["type"] for layer in layers] == ["convolution", "activation", "elementwise"]


def test_a_relu_that_is_an_output_stays(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        convolution(net, top="c")
        net.add_activation("relu", "RELU", "c", "y")

    layers = compiled_net(tmp_path, build)["layers"]
    assert [(layer["type"], layer.get("attributes")) for layer in layers] == [("convolution", None), ("activation", {"is_output": 1})]


def test_blobs_are_numbered_one_after_the_other(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        convolution(net, "first", top="a", has_bias=False)
        convolution(net, "second", "a", "b")
        convolution(net, "third", "b", has_bias=False)

    layers = compiled_net(tmp_path, build)["layers"]
    assert [(layer.get("blob_biases"), layer["blob_weights"]) for layer in layers] == [(None, 1), (3, 5), (None, 7)]


@pytest.mark.parametrize(("shape", "hint"), [((4, 64, 32), None), ((4, 57, 36), 1)])
def test_many_channels_over_a_sequence_keep_off_the_gpu(tmp_path: Path, shape: tuple[int, ...], hint: int | None) -> None:
    sequence = shape[1] * shape[2]
    net = compiled_net(tmp_path, lambda net: pipe(net, step("add_reshape", target_shape=[sequence, 4, 1, 1], mode=0)), shape)
    assert net["layers"][0].get("hint_fallback_from_metal") == hint  # more than 8192 channels in all


def test_ranks_on_request(tmp_path: Path) -> None:
    source = write_network(tmp_path / "network.mlmodel", OWN_AXES["joined"], (2, 3, 4), exact=True)
    compile_network(open_source(source), tmp_path, rank_info=True)
    assert json.loads((tmp_path / "model.rank.info.json").read_text()) == {"x": 3, "two": 3, "j": 3, "a": 3, "b": 3, "y": 4}


def test_small_files_of_exact_shapes_have_the_published_sums(tmp_path: Path) -> None:
    """Those that an application pins of ``20440.3_sod_fp16.mlmodelc``, a network whose blobs have the axes of its source."""
    source = write_network(tmp_path / "network.mlmodel", lambda net: net.add_activation("f", "SIGMOID", "x", "y"), (2, 3), exact=True)
    compiled = moka.compile(source, tmp_path)
    found = {name: (compiled / name / "coremldata.bin").read_bytes() for name in ("model", "neural_network_optionals")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == {
        "model": "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b",
        "neural_network_optionals": "5931bd536c4550294a212c6fc8d3c1bee75da817980ba0b671c8603dafb36238",
    }


def gated(net: NeuralNetworkBuilder) -> None:
    zeros = np.zeros((3072, 768), np.float32)
    net.add_inner_product("linear_0", zeros, np.zeros(3072), 768, 3072, True, "x", "linear_0")
    net.add_activation("8__silu_sigmoid__", "SIGMOID", "linear_0", "8__silu_sigmoid__")
    net.add_elementwise("8", ["linear_0", "8__silu_sigmoid__"], "8", "MULTIPLY")
    net.add_inner_product("linear_1", zeros, np.zeros(3072), 768, 3072, True, "x", "linear_1")
    net.add_elementwise("input", ["8", "linear_1"], "input", "MULTIPLY")
    net.add_inner_product("linear_2", zeros.T, np.zeros(768), 3072, 768, True, "input", "y")


def test_a_network_compiles_to_what_a_public_account_has(tmp_path: Path) -> None:
    """The files of ``draft125m_ffn.mlmodelc``, as notes on the format in a public repository print them."""
    source = write_network(tmp_path / "network.mlmodel", gated, (1, 1, 768), exact=True)
    compiled = moka.compile(source, tmp_path)
    net = json.loads((compiled / NET_FILE).read_text())
    first, *_, last = net["layers"]
    assert first == {
        "nB": 768, "top": "linear_0", "has_biases": 1, "weights": {}, "nC": 3072, "blob_weights": 3, "type": "inner_product", "has_relu": 0,
        "bottom": "x", "blob_biases": 1, "has_tanh": 0, "debug_info": "linear_0", "name": "linear_0", "has_prelu": 0,
    }  # fmt: skip
    assert (last["blob_biases"], last["blob_weights"], last["attributes"]) == (9, 11, {"is_output": 1})
    assert net["layers"][2] == {
        "bottom": "linear_0,8__silu_sigmoid__", "alpha": 1, "operation": 1, "weights": {}, "fused_relu": 0, "debug_info": "8", "top": "8",
        "type": "elementwise", "name": "8", "beta": 0,
    }  # fmt: skip
    shapes = json.loads((compiled / SHAPE_FILE).read_text())["layer_shapes"]
    assert shapes["8"] == {"k": 1, "w": 3072, "n": 1, "_rank": 3, "h": 1}
    assert (compiled / WEIGHT_FILE).stat().st_size == 28422400
    assert (compiled / WEIGHT_FILE).read_bytes()[:64] == struct.pack("<8Q", 12, 0, 56, 1, 0xC000, 2, 0, 3)


def test_images_in_the_file_of_images(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        net.add_activation("f", "SIGMOID", "x", "y")
        net.set_pre_processing_parameters(["x"], image_scale=0.5, red_bias=-1, green_bias=-1, blue_bias=-1)

    source = write_network(tmp_path / "network.mlmodel", build, (3, 8, 6), exact=False)
    compile_network(open_source(source), tmp_path)
    data = (tmp_path / "model/coremldata.bin").read_bytes()
    entry = struct.Struct("<QQcf")
    assert [entry.unpack_from(data, entry.size * index) for index in range(8)] == [
        (1, 1, b"x", value) for value in (1.0, 0.0, 0.0, -1.0, -1.0, -1.0, 0.0, 0.5)
    ]
    assert (tmp_path / "neural_network_optionals/coremldata.bin").read_bytes() == bytes(40)


def half(net: NeuralNetworkBuilder) -> None:
    dense(net)
    weights = net.spec.neuralNetwork.layers[1].innerProduct.weights
    weights.float16Value = np.array(weights.floatValue, np.float16).tobytes()
    del weights.floatValue[:]


def quantized(net: NeuralNetworkBuilder) -> None:
    net.add_convolution("conv", 4, 4, 1, 1, 1, 1, "valid", 1, W=bytes(range(16)), b=None, has_bias=False, input_name="x", output_name="y",
                        quantization_type="linear", nbits=8, quant_scale=[0.5], quant_bias=[-1.0])  # fmt: skip


REFUSED: dict[str, tuple[Build, str]] = {
    "half-precision inner product": (half, "layer 'first' (innerProduct): weights: half-precision weights"),
    "quantized weights": (quantized, "layer 'conv' (convolution): weights: quantized"),
    "pooling of the same size": (pooling(padding_type="SAME"), "layer 'pool' (pooling): same padding"),
    "normalization alone": (lambda net: batchnorm(net, "x", "y"), "layer 'bn' (batchnorm): statistics of its own"),
    "upsampling": (lambda net: net.add_upsample("up", 2, 2, "x", "y"), "layer 'up' (upsample): this kind of layer"),
    "reshape to three sizes": (lambda net: pipe(net, step("add_reshape", target_shape=[12, 4, 5], mode=0)), "targetShape of 3 sizes"),
    "slice of rows": (lambda net: net.add_slice("s", "x", "y", axis="height", start_index=1, end_index=3), "axis"),
}


@pytest.mark.parametrize(("build", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_no_real_network_shows_is_a_guess(tmp_path: Path, build: Build, problem: str) -> None:
    source = open_source(write_network(tmp_path / "network.mlmodel", build, (4, 12, 5), exact=False))
    with pytest.raises(UnsupportedError, match="--unverified") as refusal:
        compile_network(source, tmp_path)
    assert problem in str(refusal.value)
    assert not (tmp_path / NET_FILE).exists()
    guesses = compile_network(source, tmp_path, unverified=True).guesses
    assert any(problem in guess for guess in guesses)
    assert (tmp_path / WEIGHT_FILE).exists()


def test_a_layer_of_no_known_form_is_marked(tmp_path: Path) -> None:
    source = open_source(write_network(tmp_path / "network.mlmodel", lambda net: net.add_mvn("mvn", "x", "y"), (4, 12, 5), exact=False))
    with pytest.raises(UnsupportedError, match=r"layer 'mvn' \(mvn\): this kind of layer: how Apple's compiler writes it is not known"):
        compile_network(source, tmp_path)
    (guess,) = compile_network(source, tmp_path, unverified=True).guesses
    assert "a form of Moka's own" in guess
    (layer,) = json.loads((tmp_path / NET_FILE).read_text())["layers"]
    assert (layer["type"], layer["moka_layer"]) == ("mvn", "mvn")
    assert layer["moka_parameters"]["epsilon"] == np.float32(1e-5)


def test_biases_that_differ_between_colors_are_a_guess(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        net.add_activation("f", "SIGMOID", "x", "y")
        net.set_pre_processing_parameters(["x"], red_bias=-1, green_bias=-2, blue_bias=-3)

    source = open_source(write_network(tmp_path / "network.mlmodel", build, (3, 8, 6), exact=False))
    with pytest.raises(UnsupportedError, match="preprocessing of 'x': biases that differ"):
        compile_network(source, tmp_path)


def test_an_empty_message_about_training_is_no_training(tmp_path: Path) -> None:
    """As coremltools leaves it in the classifiers that it converts."""

    def build(net: NeuralNetworkBuilder) -> None:
        net.add_activation("f", "SIGMOID", "x", "y")
        net.nn_spec.updateParams.SetInParent()

    compiled = moka.compile(write_network(tmp_path / "network.mlmodel", build, (4, 12, 5), exact=False), tmp_path)
    assert moka.metadata(compiled)[0]["isUpdatable"] == "0"


def test_a_blob_that_two_layers_write_is_refused(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        net.add_activation("first", "SIGMOID", "x", "y")
        net.add_activation("second", "SIGMOID", "x", "z")
        net.spec.neuralNetwork.layers[1].output[0] = "y"

    source = open_source(write_network(tmp_path / "network.mlmodel", build, (4, 12, 5), exact=False))
    with pytest.raises(UnsupportedError, match="blob 'y' is written by 2 layers"):
        compile_network(source, tmp_path)


Change = Callable[[Any], object]

DAMAGED: dict[str, tuple[Build, Change, str]] = {
    "channels": (convolution, lambda layers: setattr(layers[0].convolution, "outputChannels", 2**40), "expected 26388279066624"),
    "kernel": (convolution, lambda layers: layers[0].convolution.kernelSize.__setitem__(0, 2**63), "has 96 weights; expected"),
    "weights too many": (convolution, lambda layers: layers[0].convolution.weights.floatValue.append(1), "has 97 weights; expected 96"),
    "biases missing": (convolution, lambda layers: layers[0].convolution.bias.Clear(), "bias: has no weights"),
    "normalization": (folded, lambda layers: setattr(layers[2].batchnorm, "channels", 2**50), "gamma: has 4 weights"),
    "products": (dense, lambda layers: setattr(layers[1].innerProduct, "inputChannels", 2**60), "has 1440 weights"),
    "window": (pooling(), lambda layers: layers[0].pooling.kernelSize.append(3), "kernelSize has 3 entries"),
    "blob of nowhere": (convolution, lambda layers: layers[0].input.__setitem__(0, "w"), "reads the blob 'w'"),
    "no output": (convolution, lambda layers: layers[0].output.__setitem__(0, "w"), "output 'y' is a blob that no layer writes"),
    "no kind": (convolution, lambda layers: layers[0].ClearField("convolution"), "of the kind None"),
    "number": (function("LINEAR", 1, 0), lambda layers: setattr(layers[0].activation.linear, "alpha", float("inf")), "finite numbers only"),
    "outputs": (convolution, lambda layers: layers[0].output.append("z"), "outputs; expected 1"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "change", "problem"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_networks(tmp_path: Path, build: Build, change: Change, problem: str) -> None:
    def damaged(net: NeuralNetworkBuilder) -> None:
        build(net)
        change(net.spec.neuralNetwork.layers)

    source = open_source(write_network(tmp_path / "network.mlmodel", damaged, (4, 12, 5), exact=False))
    with pytest.raises(moka.MokaError, match=problem):
        compile_network(source, tmp_path, unverified=True)


def test_a_comma_in_the_name_of_a_blob(tmp_path: Path) -> None:
    def build(net: NeuralNetworkBuilder) -> None:
        convolution(net, top="a,b")
        net.add_softmax("softmax", "a,b", "y")

    source = open_source(write_network(tmp_path / "network.mlmodel", build, (4, 12, 5), exact=False))
    with pytest.raises(UnsupportedError, match="blob 'a,b' has a comma in its name"):
        compile_network(source, tmp_path)


def test_an_input_of_too_many_elements(tmp_path: Path) -> None:
    path = write_network(tmp_path / "network.mlmodel", convolution, (4, 2**30, 2**30), exact=False)
    with pytest.raises(moka.MokaError, match="input 'x' has the shape"):
        compile_network(open_source(path), tmp_path)
