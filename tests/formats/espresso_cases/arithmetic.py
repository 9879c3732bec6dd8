"""Activations, element-wise functions, normalizations and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  PyTorch's own abbreviation

from tests.formats.espresso_cases.case import RANDOM, WIDE, Case, X, noise, positive
from tests.formats.espresso_networks import Layer, layer


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
