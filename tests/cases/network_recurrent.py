"""Cases of `moka.ops.network_recurrent`. Oracle: ONNX Runtime, whose operators have the inner limit (``clip``) and coupled gates
(``input_forget``); NumPy, gate by gate, for the limit of the cell state, which they lack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.onnx_oracle import onnx_outputs
from tests.cases.operations import Case, Fixed

S, B, I, H = 5, 2, 3, 4  # noqa: E741
RANDOM = np.random.default_rng(11)


def _random(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


X, H0, C0 = _random(S, B, I), _random(B, H), _random(B, H)
LOUD = 60 * X
"""Inputs beyond the inner limit."""

LSTM = {"weight_ih": _random(4 * H, I), "weight_hh": _random(4 * H, H), "bias": _random(4 * H)}
PEEPHOLE = _random(3 * H)
GRU = {"weight_ih": _random(3 * H, I), "weight_hh": _random(3 * H, H), "bias": _random(3 * H)}
RNN = {"weight_ih": _random(H, I), "weight_hh": _random(H, H), "bias": _random(H)}

ONNX = {"linear": ("Affine", 1, 0), "scaled_tanh": ("ScaledTanh", 1.7159, 2 / 3), "sigmoid_hard": ("HardSigmoid", 0.2, 0.5)}


def _onnx(operator: str, order: list[int], weights: dict[str, Any], activations: list[str], *states: Any, **attributes: Any) -> Any:
    """An ONNX operator on our weights; ``order`` says which of our gates stands where in ONNX's."""

    def stack(name: str) -> np.ndarray[Any, Any]:
        parts = np.split(weights[name], len(order))
        stacked: np.ndarray[Any, Any] = np.concatenate([parts[index] for index in order])[None]
        return stacked

    found = [ONNX.get(name, (name.capitalize(), None, None)) for name in activations]
    attributes |= {"activations": [name for name, _, _ in found], "hidden_size": H, "clip": 50.0}
    if any(alpha is not None for _, alpha, _ in found):
        attributes |= {"activation_alpha": [float(item[1]) for item in found if item[1] is not None]}
        attributes |= {"activation_beta": [float(item[2]) for item in found if item[2] is not None]}
    bias = np.concatenate([np.zeros_like(stack("bias")), stack("bias")], 1)
    x, *given, peephole = states
    initial = [state[None] for state in given] + ([] if peephole is None else [peephole])
    outputs = onnx_outputs(operator, x, stack("weight_ih"), stack("weight_hh"), bias, None, *initial, count=1 + len(given), **attributes)
    return [outputs[0][:, 0], *[state[0] for state in outputs[1:]]]


def onnx_lstm(activations: list[str], x: Any = X, peephole: Any = None, **attributes: Any) -> Any:
    stacked = None if peephole is None else np.concatenate([np.split(peephole, 3)[index] for index in (0, 2, 1)])[None]
    return _onnx("LSTM", [0, 2, 1, 3], LSTM, activations, x, H0, C0, stacked, **attributes)


def onnx_gru(activations: list[str], x: Any = X) -> Any:
    return _onnx("GRU", [2, 0, 1], GRU, activations, x, H0, None)


def onnx_rnn(activation: str, x: Any = X) -> Any:
    return _onnx("RNN", [0], RNN, [activation], x, H0, None)


def limited_lstm(clip: float) -> list[Any]:
    """One gate after the other in double precision, with the cell state within ``clip``."""
    w_i, w_f, w_o, w_z = np.split(LSTM["weight_ih"].astype(np.float64), 4)
    u_i, u_f, u_o, u_z = np.split(LSTM["weight_hh"].astype(np.float64), 4)
    b_i, b_f, b_o, b_z = np.split(LSTM["bias"].astype(np.float64), 4)
    h, c, sequence = H0.astype(np.float64), C0.astype(np.float64), []
    for step in X.astype(np.float64):
        block = np.tanh(step @ w_z.T + h @ u_z.T + b_z)
        opened = 1 / (1 + np.exp(-(step @ w_i.T + h @ u_i.T + b_i)))
        kept = 1 / (1 + np.exp(-(step @ w_f.T + h @ u_f.T + b_f)))
        shown = 1 / (1 + np.exp(-(step @ w_o.T + h @ u_o.T + b_o)))
        c = np.minimum(np.maximum(c * kept + opened * block, -clip), clip)
        h = np.tanh(c) * shown
        sequence.append(h)
    return [np.asarray(array, np.float32) for array in (sequence, h, c)]


def _case(operation: str, note: str, weights: dict[str, Any], expected: Any, x: Any = X, **inputs: Any) -> Case:
    states = {"initial_h": H0, "initial_c": C0} if operation == "nn_lstm" else {"initial_h": H0}
    fixed = {name: Fixed(array) for name, array in weights.items()}
    outputs = ("fp32",) * (1 + len(states))
    loud = x is LOUD
    return Case(
        operation,
        {"x": x, **states, **fixed, "output_sequence": True, **inputs},
        expected,
        outputs=outputs,
        note=note,
        fp16=None if loud else 1e-2,
    )


def _names(*names: str) -> dict[str, str]:
    keys = ("recurrent_activation", "cell_activation", "activation") if len(names) == 3 else ("recurrent_activation", "activation")
    return dict(zip(keys, names, strict=True))


STANDARD = ["sigmoid", "tanh", "tanh"]
MIXED = [["sigmoid_hard", "linear", "relu"], ["sigmoid", "scaled_tanh", "scaled_tanh"], ["relu", "relu", "linear"]]

CASES = [
    _case("nn_lstm", "plain", LSTM, lambda: onnx_lstm(STANDARD)),
    _case("nn_lstm", "coupled", LSTM, lambda: onnx_lstm(STANDARD, input_forget=1), coupled=True),
    _case(
        "nn_lstm",
        "coupled_peephole",
        LSTM | {"peephole": PEEPHOLE},
        lambda: onnx_lstm(STANDARD, peephole=PEEPHOLE, input_forget=1),
        coupled=True,
    ),
    _case("nn_lstm", "reverse", LSTM, lambda: onnx_lstm(STANDARD, X[::-1].copy()), direction="reverse"),
    _case("nn_lstm", "last_only", LSTM, lambda: [(r := onnx_lstm(STANDARD))[1][None], *r[1:]], output_sequence=False),
    _case("nn_lstm", "cell_limit", LSTM, lambda: limited_lstm(0.2), clip=0.2),
    *[_case("nn_lstm", "_".join(names), LSTM, lambda names=names: onnx_lstm(names), **_names(*names), clip=1e4) for names in MIXED],
    _case(
        "nn_lstm",
        "inner_limit",
        LSTM,
        lambda: onnx_lstm(["sigmoid", "linear", "tanh"], LOUD),
        LOUD,
        **_names("sigmoid", "linear", "tanh"),
        clip=1e4,
    ),
    *[
        _case("nn_gru", "_".join(names), GRU, lambda names=names: onnx_gru(names), **_names(*names))
        for names in (["sigmoid", "tanh"], ["sigmoid_hard", "relu"], ["sigmoid", "scaled_tanh"], ["tanh", "linear"])
    ],
    _case("nn_gru", "reverse", GRU, lambda: onnx_gru(["sigmoid", "relu"], X[::-1].copy()), direction="reverse", activation="relu"),
    _case("nn_gru", "inner_limit", GRU, lambda: onnx_gru(["sigmoid", "relu"], LOUD), LOUD, activation="relu"),
    *[
        _case("nn_rnn", name, RNN, lambda name=name: onnx_rnn(name), activation=name)
        for name in ("linear", "relu", "scaled_tanh", "sigmoid", "sigmoid_hard", "tanh")
    ],
    _case("nn_rnn", "reverse", RNN, lambda: onnx_rnn("relu", X[::-1].copy()), direction="reverse", activation="relu"),
    _case("nn_rnn", "last_only", RNN, lambda: [(r := onnx_rnn("relu"))[1][None], r[1]], activation="relu", output_sequence=False),
    _case("nn_rnn", "inner_limit", RNN, lambda: onnx_rnn("relu", LOUD), LOUD, activation="relu"),
]
