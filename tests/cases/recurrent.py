"""Cases of `moka.ops.recurrent`. Oracles: PyTorch's modules with the gates in their order, ONNX Runtime for what they lack.

PyTorch stacks the gates of an LSTM as input, forget, cell, output and those of a GRU as reset, update, new; ONNX as input, output,
forget, cell and as update, reset, new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.cases.onnx_oracle import onnx_outputs
from tests.cases.operations import Case, Fixed

S, B, I, H = 5, 2, 3, 4  # noqa: E741
RANDOM = np.random.default_rng(7)


def _random(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


X, H0, C0, H0_BOTH, C0_BOTH = _random(S, B, I), _random(B, H), _random(B, H), _random(B, 2 * H), _random(B, 2 * H)
LSTM = {"weight_ih": _random(4 * H, I), "weight_hh": _random(4 * H, H), "bias": _random(4 * H)}
BACK = {"weight_ih_back": _random(4 * H, I), "weight_hh_back": _random(4 * H, H), "bias_back": _random(4 * H)}
PEEPHOLE, PEEPHOLE_BACK = _random(3 * H), _random(3 * H)
GRU = {"weight_ih": _random(3 * H, I), "weight_hh": _random(3 * H, H), "bias": _random(3 * H)}
INPUT_BIAS = _random(3 * H)
RNN = {"weight_ih": _random(H, I), "weight_hh": _random(H, H), "bias": _random(H)}
LONG, LONG_H, LONG_C = _random(40, 1, I), _random(1, H), _random(1, H)


def _reorder(array: np.ndarray[Any, Any], order: str, of: str) -> np.ndarray[Any, Any]:
    """Blocks of rows, named by the letters of ``of``, in the order of ``order``."""
    blocks = dict(zip(of, np.split(array, len(of)), strict=True))
    return np.concatenate([blocks[letter] for letter in order])


def _fixed(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: Fixed(array) if isinstance(array, np.ndarray) else array for name, array in arrays.items()}


def _load(module: torch.nn.RNNBase, weights: dict[str, Any], order: str, of: str, suffix: str = "", back: str = "") -> None:
    """Puts weights into a module, the bias as that of the inputs unless there is one of its own for them."""

    def tensor(name: str) -> torch.Tensor:
        found = weights.get(name + back)
        return torch.zeros(len(of) * H) if found is None else torch.from_numpy(_reorder(found, order, of).copy())

    state = module.state_dict()
    state[f"weight_ih_l0{suffix}"] = tensor("weight_ih")
    state[f"weight_hh_l0{suffix}"] = tensor("weight_hh")
    state[f"bias_ih_l0{suffix}"] = tensor("input_bias")
    state[f"bias_hh_l0{suffix}"] = tensor("bias")
    module.load_state_dict(state)


def torch_lstm(x: np.ndarray[Any, Any], h: np.ndarray[Any, Any], c: np.ndarray[Any, Any], weights: dict[str, Any]) -> list[Any]:
    both = "weight_ih_back" in weights
    module = torch.nn.LSTM(I, H, bidirectional=both)
    _load(module, weights, "ifzo", "ifoz")
    if both:
        _load(module, weights, "ifzo", "ifoz", "_reverse", "_back")

    def states(array: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(np.split(array, 2 if both else 1, 1)))

    with torch.no_grad():
        sequence, (h_n, c_n) = module(torch.from_numpy(x.copy()), (states(h), states(c)))
    return [sequence.numpy(), np.concatenate(list(h_n), 1), np.concatenate(list(c_n), 1)]


def clipped_lstm(clip: float) -> list[Any]:
    """One PyTorch cell at a time: from its output and cell state follows the output gate, and from that the clipped cell's output."""
    cell = torch.nn.LSTMCell(I, H).double()
    order = {name: torch.from_numpy(_reorder(array, "ifzo", "ifoz")).double() for name, array in LSTM.items()}
    bias = order.pop("bias")
    cell.load_state_dict({**order, "bias_ih": bias, "bias_hh": torch.zeros_like(bias)})
    h, c = torch.from_numpy(H0).double(), torch.from_numpy(C0).double()
    sequence = []
    with torch.no_grad():
        for step in torch.from_numpy(X).double():
            h, c = cell(step, (h, c))
            gate = h / torch.tanh(c)
            c = torch.clip(c, -clip, clip)
            h = gate * torch.tanh(c)
            sequence.append(h)
    return [torch.stack(sequence).float(), h.float(), c.float()]


NAMES = {"linear": "Affine", "scaled_tanh": "ScaledTanh", "hard_sigmoid": "HardSigmoid", "sigmoid_hard": "HardSigmoid"}
ALPHA = {"linear": 1.0, "scaled_tanh": 1.0, "hard_sigmoid": 0.2, "sigmoid_hard": 0.2}
BETA = {"linear": 0.0, "scaled_tanh": 1.0, "hard_sigmoid": 0.5, "sigmoid_hard": 0.5}


def _onnx(operator: str, of: str, order: str, weights: dict[str, Any], activations: list[str], extra: list[Any], **attributes: Any) -> Any:
    """An ONNX recurrent operator: outputs with their axis of directions merged, sequences as [s, b, directions * H]."""
    backs = ["", "_back"] if "weight_ih_back" in weights else [""]

    def stack(name: str) -> np.ndarray[Any, Any]:
        absent = np.zeros(len(of) * H, np.float32)
        return np.stack([_reorder(weights.get(name + back, absent), order, of) for back in backs])

    bias = np.concatenate([stack("input_bias"), stack("bias")], 1)
    attributes |= {"hidden_size": H, "activations": [NAMES.get(name, name.capitalize()) for name in activations]}
    if any(name in ALPHA for name in activations):
        attributes |= {"activation_alpha": [ALPHA[name] for name in activations if name in ALPHA]}
        attributes |= {"activation_beta": [BETA[name] for name in activations if name in BETA]}
    x, *states, peephole = extra
    states = [np.stack(np.split(state, len(backs), 1)) for state in states]
    lengths = None
    inputs = [x, stack("weight_ih"), stack("weight_hh"), bias, lengths, *states, *([] if peephole is None else [peephole])]
    sequence, *last = onnx_outputs(operator, *inputs, count=1 + len(states), **attributes)
    return [np.concatenate(list(sequence.transpose(1, 0, 2, 3)), 2), *[np.concatenate(list(state), 1) for state in last]]


def onnx_lstm(weights: dict[str, Any], activations: list[str], h: Any = H0, c: Any = C0, **attributes: Any) -> Any:
    peepholes = [weights[name] for name in ("peephole", "peephole_back") if name in weights]
    stacked = np.stack([_reorder(peephole, "iof", "ifo") for peephole in peepholes]) if peepholes else None
    return _onnx("LSTM", "ifoz", "iofz", weights, activations, [X, h, c, stacked], **attributes)


def onnx_gru(weights: dict[str, Any], activations: list[str], x: Any = X, **attributes: Any) -> Any:
    return _onnx("GRU", "roz", "zro", weights, activations, [x, H0, None], **attributes)


def onnx_rnn(activation: str, x: Any = X) -> Any:
    return _onnx("RNN", "h", "h", RNN, [activation], [x, H0, None])


def torch_gru(x: np.ndarray[Any, Any], h: np.ndarray[Any, Any], weights: dict[str, Any]) -> list[Any]:
    module = torch.nn.GRU(I, H)
    _load(module, weights, "rzo", "roz")
    with torch.no_grad():
        sequence, h_n = module(torch.from_numpy(x.copy()), torch.from_numpy(h[None]))
    return [sequence, h_n[0]]


def torch_rnn(x: np.ndarray[Any, Any], weights: dict[str, Any], activation: str = "tanh") -> list[Any]:
    module = torch.nn.RNN(I, H, nonlinearity=activation)
    _load(module, weights, "h", "h")
    with torch.no_grad():
        sequence, h_n = module(torch.from_numpy(x.copy()), torch.from_numpy(H0[None]))
    return [sequence, h_n[0]]


def _last(results: list[Any]) -> list[Any]:
    """Results without ``output_sequence``: the last hidden state stands for the sequence."""
    return [results[1][None], *results[1:]]


def _lstm(note: str, expected: Any, weights: dict[str, Any] = LSTM, x: Any = X, h: Any = H0, c: Any = C0, **attributes: Any) -> Case:
    inputs = {"x": x, "initial_h": h, "initial_c": c, **_fixed(weights), "output_sequence": True, **attributes}
    return Case("lstm", inputs, expected, outputs=("fp32",) * 3, opset="ios17", note=note)


def _gru(note: str, expected: Any, weights: dict[str, Any] = GRU, x: Any = X, h: Any = H0, opset: str = "ios17", **attributes: Any) -> Case:
    inputs = {"x": x, "initial_h": h, **_fixed(weights), "output_sequence": True, **attributes}
    return Case("gru", inputs, expected, outputs=("fp32",) * 2, opset=opset, note=note)


def _rnn(note: str, expected: Any, weights: dict[str, Any] = RNN, x: Any = X, **attributes: Any) -> Case:
    inputs = {"x": x, "initial_h": H0, **_fixed(weights), "output_sequence": True, **attributes}
    return Case("rnn", inputs, expected, outputs=("fp32",) * 2, opset="ios17", note=note)


def _without(weights: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: array for name, array in weights.items() if name not in names}


PEEPING = {**LSTM, "peephole": PEEPHOLE}
PEEPING_BOTH = {**PEEPING, **BACK, "peephole_back": PEEPHOLE_BACK}
STANDARD = ["sigmoid", "tanh", "tanh"]
AFTER = {**GRU, "input_bias": INPUT_BIAS}

LSTM_CASES = [
    _lstm("forward", lambda: torch_lstm(X, H0, C0, LSTM)),
    _lstm("long", lambda: torch_lstm(LONG, LONG_H, LONG_C, LSTM), x=LONG, h=LONG_H, c=LONG_C),
    _lstm("last_only", lambda: _last(torch_lstm(X, H0, C0, LSTM)), output_sequence=False),
    _lstm("no_bias", lambda: torch_lstm(X, H0, C0, _without(LSTM, "bias")), _without(LSTM, "bias")),
    _lstm("reverse", lambda: torch_lstm(X[::-1], H0, C0, LSTM), direction="reverse"),
    _lstm("both", lambda: torch_lstm(X, H0_BOTH, C0_BOTH, LSTM | BACK), LSTM | BACK, h=H0_BOTH, c=C0_BOTH, direction="bidirectional"),
    _lstm(
        "both_last_only",
        lambda: _last(torch_lstm(X, H0_BOTH, C0_BOTH, LSTM | BACK)),
        LSTM | BACK,
        h=H0_BOTH,
        c=C0_BOTH,
        direction="bidirectional",
        output_sequence=False,
    ),
    _lstm("empty", [np.zeros((0, B, H), np.float32), H0, C0], x=X[:0]),
    _lstm("clip", lambda: clipped_lstm(0.2), clip=0.2),
    _lstm("clip_far", lambda: torch_lstm(X, H0, C0, LSTM), clip=50.0),
    _lstm("peephole", lambda: onnx_lstm(PEEPING, STANDARD), PEEPING),
    _lstm(
        "peephole_both",
        lambda: onnx_lstm(PEEPING_BOTH, STANDARD * 2, H0_BOTH, C0_BOTH, direction="bidirectional"),
        PEEPING_BOTH,
        h=H0_BOTH,
        c=C0_BOTH,
        direction="bidirectional",
    ),
    *[
        _lstm(
            f"{gate}_{cell}_{output}",
            lambda names=(gate, cell, output): onnx_lstm(LSTM, list(names)),
            recurrent_activation=gate,
            cell_activation=cell,
            activation=output,
        )
        for gate, cell, output in (("hard_sigmoid", "linear", "relu"), ("sigmoid", "scaled_tanh", "sigmoid"), ("tanh", "relu", "linear"))
    ],
]

GRU_CASES = [
    _gru("reset_before", lambda: onnx_gru(GRU, ["sigmoid", "tanh"])),
    _gru("reset_before", lambda: onnx_gru(GRU, ["sigmoid", "tanh"]), opset="ios18"),
    _gru("last_only", lambda: _last(onnx_gru(GRU, ["sigmoid", "tanh"])), output_sequence=False),
    _gru("no_bias", lambda: onnx_gru(_without(GRU, "bias"), ["sigmoid", "tanh"]), _without(GRU, "bias")),
    _gru("reverse", lambda: onnx_gru(GRU, ["sigmoid", "tanh"], X[::-1].copy()), direction="reverse"),
    _gru("swapped", lambda: onnx_gru(GRU, ["tanh", "sigmoid"]), recurrent_activation="tanh", activation="sigmoid"),
    _gru("input_bias", lambda: onnx_gru(AFTER, ["sigmoid", "tanh"]), AFTER, opset="ios18"),
    _gru("reset_after", lambda: torch_gru(X, H0, AFTER), AFTER, opset="ios18", reset_after=True),
    _gru("reset_after_long", lambda: torch_gru(LONG, LONG_H, AFTER), AFTER, LONG, LONG_H, opset="ios18", reset_after=True),
    _gru("reset_after_one_bias", lambda: torch_gru(X, H0, GRU), GRU, opset="ios18", reset_after=True),
    _gru("reset_after_no_bias", lambda: torch_gru(X, H0, _without(GRU, "bias")), _without(GRU, "bias"), opset="ios18", reset_after=True),
    _gru(
        "reset_after_relu",
        lambda: onnx_gru(AFTER, ["hard_sigmoid", "relu"], linear_before_reset=1),
        AFTER,
        opset="ios18",
        reset_after=True,
        recurrent_activation="hard_sigmoid",
        activation="relu",
    ),
    _gru("empty", [np.zeros((0, B, H), np.float32), H0], x=X[:0]),
]

RNN_CASES = [
    _rnn("tanh", lambda: torch_rnn(X, RNN)),
    _rnn("relu", lambda: torch_rnn(X, RNN, "relu"), activation="relu"),
    _rnn("last_only", lambda: _last(torch_rnn(X, RNN)), output_sequence=False),
    _rnn("no_bias", lambda: torch_rnn(X, _without(RNN, "bias")), _without(RNN, "bias")),
    _rnn("reverse", lambda: torch_rnn(X[::-1], RNN), direction="reverse"),
    *[
        _rnn(name, lambda name=name: onnx_rnn(name), activation=name)
        for name in ("linear", "scaled_tanh", "sigmoid", "sigmoid_hard", "hard_sigmoid")
    ],
    _rnn("empty", [np.zeros((0, B, H), np.float32), H0], x=X[:0]),
]

CASES = [*LSTM_CASES, *GRU_CASES, *RNN_CASES]
