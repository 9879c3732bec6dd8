"""Every type of compiled layer, written by hand, against PyTorch and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812  PyTorch's own abbreviation

from moka.formats.espresso.reading import READERS
from tests.formats.espresso_networks import Array, Layer, layer, run

RANDOM = np.random.default_rng(5)


def noise(*shape: int) -> Array:
    """Seeded normal noise."""
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def positive(*shape: int) -> Array:
    """Seeded noise between a half and two."""
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A layer, what it reads, and what PyTorch makes of that.

    Attributes:
        name: of the case.
        layer: as it stands in the file.
        inputs: by blob; [channels, height, width], or of any rank where the network is exact.
        expected: what the layer makes of them, one array for each result.
        blobs: weights.
        exact: whether blobs have axes of their own.
    """

    name: str
    layer: Layer
    inputs: dict[str, Array]
    expected: Callable[..., Any]
    blobs: Sequence[Array] = field(default_factory=tuple)
    exact: bool = False


X = noise(6, 7, 8)
WIDE = noise(2, 3, 4, 5)
PADS = {"pad_t": 0, "pad_b": 0, "pad_l": 0, "pad_r": 0, "pad_mode": 0, "pad_fill_mode": 0, "pad_value": 0}
CONV = {
    **PADS,
    "C": 4,
    "K": 6,
    "Nx": 3,
    "Ny": 2,
    "n_groups": 1,
    "n_parallel": 1,
    "has_batch_norm": 0,
    "has_biases": 1,
    "fused_relu": 0,
    "fused_tanh": 0,
    "blob_biases": 1,
    "blob_weights": 3,
}
BIAS, KERNEL = noise(4), noise(4, 6, 2, 3)
POOL = {**PADS, "size_x": 3, "size_y": 2, "stride_x": 2, "stride_y": 2, "top_shape_style": 0, "average_count_exclude_padding": 1}
DENSE = {"nB": 5, "nC": 3, "has_biases": 1, "has_relu": 0, "has_tanh": 0, "has_prelu": 0, "blob_biases": 1, "blob_weights": 3}


def conv(x: Any, weights: Array = KERNEL, bias: Array | None = BIAS, pads: Sequence[int] = (0, 0, 0, 0), **options: Any) -> Any:
    """PyTorch's convolution with padding left, right, above and below."""
    return F.conv2d(F.pad(x, list(pads)), torch.tensor(weights), None if bias is None else torch.tensor(bias), **options)


def spread(values: Array) -> Array:
    """Numbers with room for four each, the rest zeros."""
    return np.concatenate([values, np.zeros(3 * values.size, np.float32)])


def convolutions() -> list[Case]:
    half, grouped, codes = KERNEL.astype(np.float16), noise(4, 3, 2, 3), RANDOM.integers(0, 256, KERNEL.shape, dtype=np.uint8)
    scale, offset, transposed = positive(4), noise(4), noise(6, 4, 2, 3)
    quantized = codes * scale[:, None, None, None] + offset[:, None, None, None]
    by_codes = {name: value for name, value in CONV.items() if name != "blob_weights"}
    table = {"W_U8": 3, "per_ch_qscale": 5, "per_ch_qbias": 7}
    halves = {**by_codes, "blob_weights_f16": 3}
    pads = {"pad_l": 1, "pad_r": 2, "pad_t": 0, "pad_b": 1}

    def case(name: str, attributes: dict[str, Any], expected: Callable[..., Any], blobs: Sequence[Array] = (BIAS, KERNEL)) -> Case:
        return Case(name, layer(attributes.pop("type", "convolution"), **attributes), {"x": X}, expected, blobs)

    return [
        case("plain", {**CONV}, lambda x: conv(x)),
        case("relu", {**CONV, "fused_relu": 1}, lambda x: conv(x).relu()),
        case("tanh", {**CONV, "fused_tanh": 1}, lambda x: conv(x).tanh()),
        case("pads", {**CONV, **pads}, lambda x: conv(x, pads=(1, 2, 0, 1))),
        case("same", {**CONV, "pad_mode": 1}, lambda x: conv(x, pads=(1, 1, 0, 1))),
        case("same above and left", {**CONV, "pad_mode": 4}, lambda x: conv(x, pads=(1, 1, 1, 0))),
        case("valid", {**CONV, "pad_mode": 2}, lambda x: conv(x)),
        case("stride", {**CONV, "stride_x": 3, "stride_y": 2}, lambda x: conv(x, stride=(2, 3))),
        case("dilation", {**CONV, "dilation_x": 2, "dilation_y": 3}, lambda x: conv(x, dilation=(3, 2))),
        case("groups", {**CONV, "n_groups": 2}, lambda x: conv(x, grouped, groups=2), (BIAS, grouped)),
        case("no biases", {**CONV, "has_biases": 0, "blob_biases": 0}, lambda x: conv(x, bias=None)),
        case("wide biases", {**CONV}, lambda x: conv(x), (spread(BIAS), KERNEL)),
        case("half precision", halves, lambda x: conv(x, half.astype(np.float32)), (BIAS, half)),
        case("codes", {**by_codes, "weights": table}, lambda x: conv(x, quantized), (BIAS, codes, scale, offset)),
        case(
            "transposed",
            {**CONV, "type": "deconvolution", "stride_x": 2, "stride_y": 3, "pad_l": 1, "pad_r": 2, "pad_b": 1},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed), torch.tensor(BIAS), stride=(3, 2))[:, :, :-1, 1:-2],
            (BIAS, transposed),
        ),
        case(
            "transposed in groups",
            {**CONV, "type": "deconvolution", "n_groups": 2},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed[:, :2].copy()), torch.tensor(BIAS), groups=2),
            (BIAS, transposed[:, :2].copy()),
        ),
        case(
            "transposed to a size",
            {**CONV, "type": "deconvolution", "stride_x": 2, "stride_y": 2, "deconv_out_height": 14, "deconv_out_width": 17},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed), torch.tensor(BIAS), stride=2),
            (BIAS, transposed),
        ),
    ]


def products() -> list[Case]:
    bias, weights, x = noise(3), noise(3, 5), noise(5)
    rows, codes, scale, offset = noise(2, 5), RANDOM.integers(0, 256, (3, 5), dtype=np.uint8), positive(3), noise(3)
    quantized = torch.tensor(codes * scale[:, None] + offset[:, None])
    by_codes = {name: value for name, value in DENSE.items() if name != "blob_weights"}
    lookup = {**DENSE, "has_biases": 0, "blob_biases": 0, "is_lookup": 1}
    table = {"W_U8": 3, "per_ch_qscale": 5, "per_ch_qbias": 7}

    def dense(x: Any, kernel: Any = weights) -> Any:
        return F.linear(x.flatten(1), torch.as_tensor(kernel), torch.tensor(bias))[..., None, None]

    return [
        Case("plain", layer("inner_product", **DENSE), {"x": x}, dense, (spread(bias), weights)),
        Case("relu", layer("inner_product", **{**DENSE, "has_relu": 1}), {"x": x}, lambda x: dense(x).relu(), (bias, weights)),
        Case("tanh", layer("inner_product", **{**DENSE, "has_tanh": 1}), {"x": x}, lambda x: dense(x).tanh(), (bias, weights)),
        Case(
            "rows",
            layer("inner_product", **DENSE),
            {"x": rows},
            lambda x: F.linear(x, torch.tensor(weights), torch.tensor(bias)),
            (bias, weights),
            exact=True,
        ),
        Case(
            "codes",
            layer("inner_product", **{**by_codes, "weights": table, "quantization_mode": 1}),
            {"x": x},
            lambda x: dense(x, quantized),
            (bias, codes, scale, offset),
        ),
        Case(
            "lookup",
            layer("inner_product", **{**lookup, "nd_mode": True}),
            {"x": np.array([[4], [0], [2]], np.float32)},
            lambda x: F.embedding(x[:, 0].long(), torch.tensor(weights.T.copy())),
            (bias, weights),
            exact=True,
        ),
        Case(
            "lookup of one",
            layer("inner_product", **lookup),
            {"x": np.array([3], np.float32)},
            lambda x: torch.tensor(weights[:, 3][:, None, None]),
            (bias, weights),
        ),
    ]


def pools() -> list[Case]:
    def case(name: str, attributes: dict[str, Any], expected: Callable[[Any], Any], x: Array = X) -> Case:
        return Case(name, layer("pool", **{**POOL, **attributes}), {"x": x}, expected)

    one = {"pad_t": 1, "pad_b": 1, "pad_l": 1, "pad_r": 1}
    square, tall = (2, 2), (2, 3)

    def averaged(x: Any, *, counted: bool) -> Any:
        return F.avg_pool2d(x, tall, square, padding=(1, 1), count_include_pad=counted)

    return [
        case("max", {"avg_or_max": 1}, lambda x: F.max_pool2d(x, tall, square)),
        case("max, valid", {"avg_or_max": 1, "pad_mode": 2}, lambda x: F.max_pool2d(x, tall, square)),
        case("max, padded", {"avg_or_max": 1, **one}, lambda x: F.max_pool2d(x, tall, square, padding=1)),
        case("max, rounded up", {"avg_or_max": 1, "top_shape_style": 2}, lambda x: F.max_pool2d(x, tall, square, ceil_mode=True)),
        case(
            "max, same",
            {"avg_or_max": 1, "pad_mode": 1},
            lambda x: F.max_pool2d(F.pad(x, [0, 1, 0, 1], value=-np.inf), tall, square),
        ),
        case("average", {"avg_or_max": 0}, lambda x: F.avg_pool2d(x, tall, square)),
        case("average without padding", {"avg_or_max": 0, **one}, lambda x: averaged(x, counted=False)),
        case("average with padding", {"avg_or_max": 0, "average_count_exclude_padding": 0, **one}, lambda x: averaged(x, counted=True)),
        case("norm", {"avg_or_max": 2}, lambda x: F.lp_pool2d(x.abs(), 2, tall, square)),
        case("average of all", {"avg_or_max": 0, "is_global": 1}, lambda x: x.mean((2, 3), keepdim=True)),
        case("largest of all", {"avg_or_max": 1, "is_global": 1, "pad_mode": 2}, lambda x: x.amax((2, 3), keepdim=True)),
    ]


def activations() -> list[Case]:
    slopes = noise(6)
    functions: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
        "relu": ({"mode": 0}, F.relu),
        "relu with numbers that say nothing": ({"mode": 0, "alpha": 0, "beta": 0}, F.relu),
        "tanh": ({"mode": 1}, torch.tanh),
        "leaky": ({"mode": 2, "alpha": 0.25}, lambda x: F.leaky_relu(x, 0.25)),
        "sigmoid": ({"mode": 3}, torch.sigmoid),
        "scaled tanh": ({"mode": 5, "alpha": 2, "beta": 0.5}, lambda x: 2 * torch.tanh(0.5 * x)),
        "linear": ({"mode": 6, "alpha": 3, "beta": -2}, lambda x: 3 * x - 2),
        "linear, as it was": ({"mode": 6, "beta": 0}, lambda x: x),
        "hard sigmoid": ({"mode": 7, "alpha": 0.2, "beta": 0.5}, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
        "elu": ({"mode": 8, "alpha": 0.5}, lambda x: F.elu(x, 0.5)),
        "thresholded": ({"mode": 9, "alpha": 0.3}, lambda x: F.threshold(x, 0.3, 0)),
        "softplus": ({"mode": 10}, F.softplus),
        "softsign": ({"mode": 12}, F.softsign),
    }
    five = [Case(name, layer("activation", **options), {"x": X}, expected) for name, (options, expected) in functions.items()]
    by_channel = [
        Case(
            f"slopes, mode {mode}",
            layer("activation", mode=mode, weights={"slopes": 1}),
            {"x": X},
            lambda x: F.prelu(x, torch.tensor(slopes)),
            (slopes,),
        )
        for mode in (2, 4)
    ]
    curves = {
        19: F.gelu,
        20: torch.erf,
        21: lambda x: F.gelu(x, approximate="tanh"),
        22: lambda x: x * torch.sigmoid(1.702 * x),
    }
    exact = [Case(f"mode {mode}", layer("activation", mode=mode), {"x": WIDE}, curve, exact=True) for mode, curve in curves.items()]
    return five + by_channel + exact


def elementwise() -> list[Case]:
    y = noise(6, 7, 8)
    a, b = positive(2, 3, 4), positive(3, 1)
    same = {0: torch.add, 1: torch.mul, 22: torch.minimum, 23: torch.maximum}
    broadcast = {
        **same,
        13: torch.pow,
        33: torch.sub,
        36: torch.remainder,
        102: torch.div,
        1021: torch.floor_divide,
        100: torch.eq,
        103: torch.lt,
        104: torch.le,
        105: torch.gt,
        106: torch.ge,
        107: torch.ne,
    }
    numbers = {0: lambda x: x + 2, 1: lambda x: x * 2, 2: lambda x: x + 2, 3: lambda x: x * 2, 13: lambda x: x**2}
    compared = {100: torch.eq, 103: torch.lt, 104: torch.le, 105: torch.gt, 106: torch.ge, 107: torch.ne}
    unary = {
        10: torch.reciprocal, 11: torch.sqrt, 12: torch.rsqrt, 24: torch.abs, 26: torch.log, 27: torch.exp, 35: torch.exp2,
        37: torch.round, 38: torch.sign, 114: torch.cos, 115: torch.sin, 117: torch.floor, 118: torch.ceil, 121: torch.tan,
        122: torch.cosh, 123: torch.sinh, 124: torch.tanh, 127: torch.atan, 129: torch.asinh,
    }  # fmt: skip
    bounded = {125: torch.acos, 126: torch.asin, 130: torch.atanh}

    def op(number: int, bottom: str = "x", **options: Any) -> Layer:
        return layer("elementwise", bottom, operation=number, **{"alpha": 1, "beta": 0, "fused_relu": 0, **options})

    cases = [Case(f"{number} of two", op(number, "x,y"), {"x": X, "y": y}, function) for number, function in same.items()]
    cases += [
        Case(f"{number}, broadcast", op(number, "x,y", nd_mode=True), {"x": a, "y": b}, function, exact=True)
        for number, function in broadcast.items()
    ]
    cases += [Case(f"{number} with a number", op(number, alpha=2), {"x": X}, function) for number, function in numbers.items()]
    cases += [
        Case(f"{number} compared", op(number, alpha=0.5), {"x": np.float32([[0.25, 0.5], [1, 0.5]])}, lambda x, f=f: f(x, 0.5), exact=True)
        for number, f in compared.items()
    ]
    cases += [Case(f"{number} of one", op(number), {"x": a}, function, exact=True) for number, function in unary.items()]
    small = RANDOM.uniform(-0.9, 0.9, (2, 3)).astype(np.float32)
    cases += [Case(f"{number} of one", op(number), {"x": small}, function, exact=True) for number, function in bounded.items()]
    mask = np.float32([[1, 0, 1], [0, 0, 1]])
    return [
        *cases,
        Case("128 of one", op(128), {"x": a + 1}, torch.acosh, exact=True),
        Case("threshold", op(25, alpha=-0.5), {"x": X}, lambda x: x.clamp(min=-0.5)),
        Case("clip", op(119, alpha=0, beta=6), {"x": 10 * a}, lambda x: x.clamp(0, 6), exact=True),
        Case("epsilon", op(10, eps=0.5), {"x": a}, lambda x: 1 / (x + 0.5), exact=True),
        Case("relu", op(0, "x,y", fused_relu=1), {"x": X, "y": y}, lambda x, y: (x + y).relu()),
        Case("sum of three", op(0, "x,y,z"), {"x": X, "y": y, "z": y}, lambda x, y, z: x + y + z),
        Case(
            "select",
            op(101, "c,x,y", nd_mode=True),
            {"c": mask, "x": noise(2, 3), "y": noise(2, 3)},
            lambda c, x, y: torch.where(c > 0, x, y),
            exact=True,
        ),
    ]


def normalizations() -> list[Case]:
    gamma, beta, mean, variance = noise(6), noise(6), noise(6), positive(6)
    stored = np.stack([gamma, beta, mean, variance], axis=1)
    affine = np.stack([gamma, beta, np.zeros(6, np.float32), np.ones(6, np.float32)], axis=1)
    g, b, m, v = map(torch.tensor, (gamma, beta, mean, variance))
    training = {"training": 1, "training_instancenorm": 1, "training_eps": 1e-3, "training_momentum": 0.9}

    def norm(**options: Any) -> Layer:
        return layer("batchnorm", C=6, blob_batchnorm_params=1, **options)

    return [
        Case("batch", norm(), {"x": X}, lambda x: F.batch_norm(x, m, v, g, b, eps=1e-5), (stored,)),
        Case("epsilon", norm(training=0, training_eps=0.25), {"x": X}, lambda x: F.batch_norm(x, m, v, g, b, eps=0.25), (stored,)),
        Case("scale and bias", norm(), {"x": X}, lambda x: x * g[:, None, None] + b[:, None, None], (affine,)),
        Case("relu", norm(fused_relu=1), {"x": X}, lambda x: F.batch_norm(x, m, v, g, b).relu(), (stored,)),
        Case("instance", norm(**training), {"x": X}, lambda x: F.instance_norm(x, weight=g, bias=b, eps=1e-3), (affine,)),
        Case(
            "local response",
            layer("lrn", alpha=0.5, beta=0.75, local_size=3),
            {"x": X},
            lambda x: F.local_response_norm(x, 3, alpha=0.5, beta=0.75, k=1),
        ),
        Case("softmax", layer("softmax", C=2), {"x": X}, lambda x: x.softmax(1)),
        Case("softmax of columns", layer("softmax", C=0), {"x": WIDE}, lambda x: x.softmax(3), exact=True),
        Case("softmax, last", layer("softmax_nd", nd_axis=-1), {"x": WIDE}, lambda x: x.softmax(-1), exact=True),
        Case("softmax, second", layer("softmax_nd", nd_axis=1), {"x": WIDE}, lambda x: x.softmax(1), exact=True),
    ]


def reductions() -> list[Case]:
    functions: dict[int, Callable[[Any, int], Any]] = {
        0: lambda x, d: x.sum(d, keepdim=True),
        1: lambda x, d: x.mean(d, keepdim=True),
        2: lambda x, d: x.prod(d, keepdim=True),
        4: lambda x, d: (x * x).sum(d, keepdim=True),
        5: lambda x, d: x.norm(dim=d, keepdim=True),
        8: lambda x, d: x.abs().sum(d, keepdim=True),
        9: lambda x, d: x.amax(d, keepdim=True),
        10: lambda x, d: x.amin(d, keepdim=True),
        11: lambda x, d: x.argmax(d, keepdim=True).float(),
    }
    five = [
        Case(f"mode {m}", layer("reduce", mode=m, axis_mode=4, use_version=1), {"x": X}, lambda x, f=f: f(x, 1))
        for m, f in functions.items()
    ]
    nd = [
        Case(f"mode {m}, one axis", layer("reduce", mode=m, nd_mode=True, nd_axis=1), {"x": WIDE}, lambda x, f=f: f(x, 1), exact=True)
        for m, f in functions.items()
        if m != 11
    ]
    places = {"rows": (2,), "columns": (3,), "image": (2, 3), "all": (1, 2, 3)}
    return [
        *five,
        *nd,
        *(
            Case(f"sum of {name}", layer("reduce", mode=0, axis_mode=9), {"x": X}, lambda x, d=d: x.sum(d, keepdim=True))
            for name, d in places.items()
        ),
        Case("axis dropped", layer("reduce", mode=0, nd_mode=True, nd_axis=-2), {"x": WIDE}, lambda x: x.sum(-2), exact=True),
        Case("channels of own rank", layer("reduce", mode=0, axis_mode=4), {"x": WIDE}, lambda x: x.sum(1, keepdim=True), exact=True),
    ]


def joined() -> list[Case]:
    y, constant = noise(2, 7, 8), noise(2, 3)
    begins = {f"begin_{index}": 0 for index in range(128)}
    uneven = {**begins, "begin_1": 2, "begin_2": 3}
    return [
        Case("concat", layer("concat", "x,y"), {"x": X, "y": y}, lambda x, y: torch.cat([x, y], 1)),
        Case("concat with an axis", layer("concat", "x,y", axis=1), {"x": X, "y": y}, lambda x, y: torch.cat([x, y], 1)),
        Case(
            "general concat",
            layer("general_concat", "x,y", axis=2, nd_mode=True),
            {"x": WIDE, "y": noise(2, 3, 6, 5)},
            lambda x, y: torch.cat([x, y], 2),
            exact=True,
        ),
        Case("stack", layer("stack_nd", "x,y", nd_axis=-1), {"x": WIDE, "y": WIDE + 1}, lambda x, y: torch.stack([x, y], -1), exact=True),
        Case(
            "split",
            layer("split_nd", top="y0,y1", nd_axis=2, **begins),
            {"x": WIDE},
            lambda x: torch.split(x, 2, 2),
            exact=True,
        ),
        Case("split of channels", layer("split_nd", top="y0,y1,y2", nd_axis=-3, **begins), {"x": X}, lambda x: torch.split(x, 2, 1)),
        Case(
            "uneven split",
            layer("split_nd", top="y0,y1,y2", nd_axis=-1, **uneven),
            {"x": WIDE},
            lambda x: torch.split(x, [2, 1, 2], -1),
            exact=True,
        ),
    ] + [
        Case(
            f"constant of rank {rank}",
            layer("load_constant", "", n=1, k=1, h=2, w=3, nd_rank=rank, constant_blob=1),
            {"x": noise(1)},
            lambda x, rank=rank: torch.tensor(constant).reshape([1] * (rank - 2) + [2, 3]),
            (constant,),
            exact=True,
        )
        for rank in (2, 3, 4)
    ]


def reshaped() -> list[Case]:
    def order(**axes: int) -> dict[str, int]:
        return {**{f"axis_{axis}": number for number, axis in enumerate(("w", "h", "k", "n", "seq"))}, **axes}

    to = {"dst_seq": 1, "dst_n": 0, "dst_k": 8, "dst_h": -1, "dst_w": 2}
    static = {**to, "dst_n": 1, "dst_k": 4, "dst_nd_rank": 3, "dynamic_shape": False, "version": 1}
    last = {"dst_seq": 1, "dst_n": 0, "dst_k": 4, "dst_h": 2, "dst_w": 42}
    return [
        Case("reshape", layer("reshape", mode=0, version=1, **to), {"x": X}, lambda x: x.reshape(1, 8, 21, 2)),
        Case(
            "reshape, channels last",
            layer("reshape", mode=1, **last),
            {"x": X},
            lambda x: x.permute(0, 2, 3, 1).reshape(1, 2, 42, 4).permute(0, 3, 1, 2),
        ),
        Case("reshape to a rank", layer("reshape", mode=0, **static), {"x": WIDE}, lambda x: x.reshape(4, -1, 2), exact=True),
        Case("flatten", layer("flatten", mode=0, nd_axis=0), {"x": X}, lambda x: x.reshape(1, -1, 1, 1)),
        Case("flatten, channels last", layer("flatten", mode=1), {"x": X}, lambda x: x.permute(0, 2, 3, 1).reshape(1, -1, 1, 1)),
        Case("flatten to two", layer("flatten", mode=0, nd_axis=2), {"x": WIDE}, lambda x: x.reshape(6, 20), exact=True),
        Case(
            "permute",
            layer("transpose", **order(axis_k=1, axis_h=0, axis_w=2)),
            {"x": X},
            lambda x: x.permute(0, 2, 3, 1),
        ),
        Case(
            "transpose",
            layer("transpose", **order(axis_h=2, axis_w=1, axis_k=0)),
            {"x": WIDE},
            lambda x: x.permute(0, 3, 1, 2),
            exact=True,
        ),
        Case(
            "transpose of the first axis",
            layer("transpose", **order(axis_n=0, axis_w=3)),
            {"x": WIDE},
            lambda x: x.permute(3, 1, 2, 0),
            exact=True,
        ),
        Case(
            "squeeze",
            layer("squeeze", size_of_axes=2, axes_0=0, axes_1=2, nd_axis=0, version=1),
            {"x": noise(1, 3, 1, 2)},
            lambda x: x[0, :, 0],
            exact=True,
        ),
        Case(
            "squeeze all",
            layer("squeeze", size_of_axes=0, squeeze_all=True, nd_axis=0),
            {"x": noise(1, 3, 1, 2)},
            lambda x: x.squeeze(),
            exact=True,
        ),
        Case(
            "expand",
            layer("expand_dims", size_of_axes=2, axes_0=0, axes_1=-1, nd_axis=0),
            {"x": noise(3, 2)},
            lambda x: x[None, ..., None],
            exact=True,
        ),
        Case("tile", layer("tile", dst_k=2, dst_w=3), {"x": noise(2, 3, 4)}, lambda x: x.tile(2, 1, 3), exact=True),
        Case("copy", layer("copy"), {"x": X}, lambda x: x),
        Case("shape", layer("get_shape"), {"x": WIDE}, lambda x: torch.tensor(x.shape).float(), exact=True),
        Case("space to depth", layer("space_to_depth", block_size=2, reverse=0), {"x": noise(2, 4, 6)}, space_to_depth),
        Case("depth to space", layer("space_to_depth", block_size=2, reverse=1), {"x": noise(8, 2, 3)}, depth_to_space),
        Case(
            "pixel shuffle",
            layer("space_to_depth", block_size=2, reverse=1, pixel_shuffle=1),
            {"x": noise(8, 2, 3)},
            lambda x: F.pixel_shuffle(x, 2),
        ),
    ]


def space_to_depth(x: Any) -> Any:
    """Blocks of two by two to channels, the place in the block before the channel."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def depth_to_space(x: Any) -> Any:
    """The other way round."""
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def picked() -> list[Case]:
    def slices(**options: Any) -> Layer:
        each = {"begin": 0, "end": 1, "stride": 1, "begin_mask": False, "end_mask": False, "squeeze_mask": False, "static_sizes": 0}
        named = {f"{name}_{axis}": value for axis in ("w", "h", "k", "n", "seq") for name, value in each.items()}
        return layer("general_slice", use_static_sizes=False, **{**named, **options})

    some = slices(begin_w=1, end_w=2, begin_h=-2, end_mask_h=True, end_k=4, stride_k=2, begin_mask_n=True, begin_n=3, end_n=4)
    dropped = slices(begin_w=3, end_w=4, squeeze_mask_w=True, end_mask_h=True)
    rows = noise(5, 4)
    top = {"num_k": 2, "axis": 1, "single_axis_topk": True}
    return [
        Case("slice of channels", layer("slice", axis=2, start=1, end=4), {"x": X}, lambda x: x[:, 1:4]),
        Case("slice of rows", layer("slice", axis=1, start=2, end=-1), {"x": X}, lambda x: x[:, :, 2:-1]),
        Case("slice of columns", layer("slice", axis=0, start=1, end=7, stride=2), {"x": X}, lambda x: x[..., 1:7:2]),
        Case("slice of all axes", some, {"x": WIDE}, lambda x: x[1:2, -2:, 0:4:2, :4], exact=True),
        Case(
            "slice that drops an axis",
            dropped,
            {"x": rows},
            lambda x: x[3],
            exact=True,
        ),
        Case("top", layer("topk", top="y0,y1", **top), {"x": rows}, lambda x: largest(x, largest=True), exact=True),
        Case("bottom", layer("topk", top="y0,y1", do_bottomk=True, **top), {"x": rows}, lambda x: largest(x, largest=False), exact=True),
        Case(
            "gather",
            layer("gather_nd", "x,i", mode=0, axis=1, batch_dims=0, allow_negative_indices=True, validate_indices=False),
            {"x": WIDE, "i": np.float32([2, 0])},
            lambda x, i: x[:, i.long()],
            exact=True,
        ),
        Case(
            "product",
            layer("batch_matmul", "x,y", channel_mode=False),
            {"x": noise(2, 3, 4), "y": noise(2, 4, 5)},
            torch.matmul,
            exact=True,
        ),
    ]


def largest(x: Any, *, largest: bool) -> tuple[Any, Any]:
    """Values and indices of the two largest or smallest of each row."""
    values, indices = x.topk(2, dim=1, largest=largest)
    return values, indices.float()


def padded() -> list[Case]:
    edges = {"pad_t": 1, "pad_b": 2, "pad_l": 3, "pad_r": 0, "pad_fill_mode": 0}
    amounts = {f"pads_{index}": 0 for index in range(64)}
    return [
        Case(
            "number",
            layer("general_padding", pad_pad_mode=0, pad_value=2.5, **edges),
            {"x": X},
            lambda x: F.pad(x, [3, 0, 1, 2], value=2.5),
        ),
        Case("mirrored", layer("general_padding", pad_pad_mode=1, **edges), {"x": X}, lambda x: F.pad(x, [3, 0, 1, 2], mode="reflect")),
        Case("repeated", layer("general_padding", pad_pad_mode=2, **edges), {"x": X}, lambda x: F.pad(x, [3, 0, 1, 2], mode="replicate")),
        Case(
            "any axis",
            layer("tensor_zero_pad", nd_mode=True, value=-1, **{**amounts, "pads_3": 4, "pads_6": 2}),
            {"x": WIDE},
            lambda x: F.pad(x, [2, 0, 0, 0, 0, 4], value=-1),
            exact=True,
        ),
        Case("crop", layer("crop", t=1, b=2, l=0, r=3), {"x": X}, lambda x: x[:, :, 1:-2, :-3]),
    ]


def resampled() -> list[Case]:
    twice = {"scaling_factor_x": 3, "scaling_factor_y": 2}
    by = {"use_fractional_scale_factors": 1, "fractional_scaling_factor_x": 1.5, "fractional_scaling_factor_y": 2.0}
    bilinear = {"mode": "bilinear", "scale_factor": (2, 3)}
    return [
        Case("nearest", layer("upsample", mode=0, **twice), {"x": X}, lambda x: F.interpolate(x, scale_factor=(2, 3))),
        Case(
            "bilinear",
            layer("upsample", mode=1, align_corners=0, is_legacy_mode=0, use_fractional_scale_factors=0, **twice),
            {"x": X},
            lambda x: F.interpolate(x, align_corners=False, **bilinear),
        ),
        Case(
            "bilinear, corners aligned",
            layer("upsample", mode=1, align_corners=1, is_legacy_mode=0, **twice),
            {"x": X},
            lambda x: F.interpolate(x, align_corners=True, **bilinear),
        ),
        Case(
            "bilinear by fractions",
            layer("upsample", mode=1, align_corners=0, is_legacy_mode=0, **by, **twice),
            {"x": X},
            lambda x: F.interpolate(x, scale_factor=(2, 1.5), mode="bilinear", align_corners=False),
        ),
        Case(
            "resize",
            layer("crop_and_resize", target_size_h=9, target_size_w=5, mode=1, grid_sampling_mode=0, spatial_scale=1, crop_index_mode=0),
            {"x": X},
            lambda x: F.interpolate(x, (9, 5), mode="bilinear", align_corners=True),
        ),
    ]


FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "convolution": convolutions,
    "product": products,
    "pool": pools,
    "activation": activations,
    "elementwise": elementwise,
    "normalization": normalizations,
    "reduction": reductions,
    "joined": joined,
    "shape": reshaped,
    "picked": picked,
    "padded": padded,
    "resampled": resampled,
}
CASES = [pytest.param(case, id=f"{family}: {case.name}") for family, cases in FAMILIES.items() for case in cases()]


def tensors(case: Case) -> list[torch.Tensor]:
    """What PyTorch reads: inputs of networks with five axes get a batch axis, and those of one axis two more."""
    if case.exact:
        return [torch.tensor(array) for array in case.inputs.values()]
    return [torch.tensor(array if array.ndim == 3 else array[:, None, None])[None] for array in case.inputs.values()]


@pytest.mark.parametrize("case", CASES)
def test_layer(case: Case) -> None:
    expected = case.expected(*tensors(case))
    arrays = [item.float().numpy() for item in (expected if isinstance(expected, tuple) else (expected,))]
    names = case.layer["top"].split(",")
    shapes = {name: array.shape for name, array in zip(names, arrays, strict=True)}
    found = run([case.layer], case.inputs, shapes, case.blobs, exact=case.exact)
    for name, array in zip(names, arrays, strict=True):
        result = found[name]
        assert result.size == array.size, f"{result.shape}, expected {array.shape}"
        if case.exact:
            assert result.shape == array.shape
        np.testing.assert_allclose(result.reshape(array.shape), array, rtol=2e-4, atol=2e-5)


def test_every_type_of_layer_has_a_case() -> None:
    covered = {case.layer["type"] for cases in FAMILIES.values() for case in cases()}
    assert covered | {"sequence_concat"} == set(READERS)


def test_sequence_concat() -> None:
    """Two blobs that a reshape gave a sequence, joined along it."""
    to = {"dst_seq": -1, "dst_n": 0, "dst_k": 3, "dst_h": 1, "dst_w": 1, "mode": 0, "version": 1}
    layers = [
        {**layer("reshape", "x", "a", **to), "name": "a"},
        {**layer("reshape", "y", "b", **to), "name": "b"},
        layer("sequence_concat", "a,b", "c", simple_concat=1),
    ]
    x, y = noise(6, 1, 1), noise(9, 1, 1)
    found = run(layers, {"x": x, "y": y}, {"a": (2, 1, 3, 1, 1), "b": (3, 1, 3, 1, 1), "c": (5, 1, 3, 1, 1)})
    np.testing.assert_array_equal(found["c"].ravel(), np.concatenate([x.ravel(), y.ravel()]))


def test_reshape_to_a_shape_that_is_a_blob() -> None:
    layers = [layer("reshape", "x,s", mode=0, dynamic_shape=True, dst_nd_rank=2)]
    x = noise(2, 6)
    found = run(layers, {"x": x, "s": np.float32([3, 4])}, {"out": (3, 4)}, exact=True)
    np.testing.assert_array_equal(found["out"], x.reshape(3, 4))
