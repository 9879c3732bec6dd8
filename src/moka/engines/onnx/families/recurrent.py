"""Recurrent layers: ONNX's nodes where they and the target can say it, else a Scan over steps of the operation's own formulas.

ONNX stacks the gates of an LSTM as input, output, forget, cell and those of a GRU as update, reset, new; Core ML as input, forget,
output, cell and as reset, new, update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moka.engines.onnx.families._nodes import transpose, unsqueeze
from moka.engines.onnx.families._recurrence import Activation, Step, has_native, native, reordered, returned, scan, started, turned
from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers

__all__ = ["LstmCell", "LstmWeights", "gru_layer", "lstm_layer", "rnn_layer"]

_HARD = Activation("HardSigmoid", 0.2, 0.5)

_ACTIVATIONS = {
    "hard_sigmoid": _HARD,
    "linear": Activation("Affine", 1.0, 0.0, bound=None),
    "relu": Activation("Relu", bound=None),
    "scaled_tanh": Activation("Tanh"),  # both of its scales are 1 here
    "sigmoid": Activation("Sigmoid"),
    "sigmoid_hard": _HARD,
    "tanh": Activation("Tanh"),
}


@dataclass(frozen=True, slots=True)
class LstmWeights:
    """Parameters of one direction of an LSTM, gates in the order input, forget, output, cell."""

    ih: Operand
    hh: Operand
    bias: Operand | None
    peephole: Operand | None


@dataclass(frozen=True, slots=True)
class LstmCell:
    """Activations of the gates, of the cell's input and of the output; the cell state's bound; whether the forget gate is 1 - i."""

    gate: Activation
    candidate: Activation
    output: Activation
    clip: float | None = None
    coupled: bool = False

    def is_native(self, g: Graph, x: Operand, weights: Sequence[LstmWeights], c: Operand) -> bool:
        """Whether the target's LSTM node does the same. OpenVINO's takes peepholes and coupled gates, and leaves them out."""
        if not has_native(g, (self.gate, self.candidate, self.output)) or self._is_clipped(x, c):
            return False
        return g.target.name != "openvino" or not (self.coupled or any(item.peephole is not None for item in weights))

    def _is_clipped(self, x: Operand, c: Operand) -> bool:
        """Whether the cell state may reach its bound: it grows by the candidate's at every step."""
        if self.clip is None:
            return False
        if not c.is_constant or not x.is_static(0) or None in (self.gate.bound, self.candidate.bound):
            return True
        start = float(np.abs(c.content).max(initial=0))
        return start + x.size(0) * float(self.candidate.bound or 0) > self.clip

    def step(self, weights: LstmWeights) -> Step:
        def step(g: Graph, projected: Operand, states: list[Operand]) -> list[Operand]:
            h, c = states
            sums = g.node("Add", g.node("MatMul", h, turned(g, weights.hh)), projected)
            i, f, o, z = g.nodes_of("Split", sums, dtypes=[sums.dtype] * 4, axis=-1, num_outputs=4)
            i = self.gate(g, self._seen(g, i, c, weights, 0))
            f = g.node("Sub", g.constant(1, i.dtype), i) if self.coupled else self.gate(g, self._seen(g, f, c, weights, 1))
            c = g.node("Add", g.node("Mul", f, c), g.node("Mul", i, self.candidate(g, z)))
            c = c if self.clip is None else g.node("Clip", c, -self.clip, self.clip)
            o = self.gate(g, self._seen(g, o, c, weights, 2))
            return [g.node("Mul", o, self.output(g, c)), c]

        return step

    def _seen(self, g: Graph, gate: Operand, c: Operand, weights: LstmWeights, index: int) -> Operand:
        """A gate's sum, with what its peephole lets it see of the cell state."""
        if weights.peephole is None:
            return gate
        return g.node("Add", gate, g.node("Mul", c, reordered(g, weights.peephole, [index], 3)))


def _stack(g: Graph, directions: Sequence[Operand]) -> Operand:
    """One operand a direction as one operand with an axis of directions."""
    if len(directions) == 1:
        return unsqueeze(g, directions[0], 0)
    if all(item.is_constant for item in directions):
        return g.constant(np.stack([item.content for item in directions]))
    return g.node("Concat", *[unsqueeze(g, item, 0) for item in directions], axis=0)


def _bias(g: Graph, inputs: Operand | None, recurrent: Operand | None, order: Sequence[int], weight: Operand) -> Operand:
    """ONNX's bias: that of the inputs, then that of the hidden state, with an element for each row of ``weight``."""
    absent = g.constant(np.zeros(weight.size(0), weight.dtype))
    return _joined(g, [absent if bias is None else reordered(g, bias, order, len(order)) for bias in (inputs, recurrent)])


def _joined(g: Graph, parts: Sequence[Operand]) -> Operand:
    if all(item.is_constant for item in parts):
        return g.constant(np.concatenate([item.content for item in parts]))
    return g.node("Concat", *parts, axis=0)


def _projected(g: Graph, x: Operand, weight: Operand, bias: Operand | None) -> Operand:
    """The inputs' part of every step's sums, [s, b, *]."""
    product = g.node("MatMul", x, transpose(g, weight, [1, 0]))
    shape = None if x.shape is None else (*x.shape[:-1], weight.shape[0] if weight.shape else None)
    result = product if bias is None else g.node("Add", product, bias)
    return Operand(result.name, result.dtype, shape)


def _nothing(g: Graph, x: Operand, h: Operand) -> Operand | None:
    """The hidden states of an empty sequence; None for one that is not, or may not be, empty."""
    return g.constant(np.zeros((0, *h.static_shape), x.dtype)) if x.shape is not None and x.shape[0] == 0 else None


def lstm_layer(
    g: Graph, x: Operand, h: Operand, c: Operand, weights: Sequence[LstmWeights], cell: LstmCell, direction: str
) -> tuple[Operand, Operand, Operand]:
    """The hidden states, the last of them, and the last cell state; of two directions side by side."""
    if (nothing := _nothing(g, x, h)) is not None:
        return nothing, h, c
    h, c = started(g, x, h), started(g, x, c)
    if cell.is_native(g, x, weights, c):
        order = (0, 2, 1, 3)
        stacked = [
            _stack(g, [reordered(g, part, order, 4) for part in parts]) for parts in zip(*[(w.ih, w.hh) for w in weights], strict=True)
        ]
        bias = _stack(g, [_bias(g, w.bias, None, order, w.hh) for w in weights])
        peepholes = [reordered(g, w.peephole, (0, 2, 1), 3) for w in weights if w.peephole is not None]
        activations, coupled = (cell.gate, cell.candidate, cell.output), {"input_forget": 1} if cell.coupled else {}
        given = [*stacked, bias, _stack(g, peepholes) if peepholes else None]
        sequence, (h, c) = native(g, "LSTM", x, given, [h, c], activations, direction=direction, **coupled)
        return sequence, h, c
    if direction == "bidirectional":
        return _both(g, x, h, c, weights, cell)
    projected = _projected(g, x, weights[0].ih, weights[0].bias)
    sequence, (h, c) = scan(g, cell.step(weights[0]), projected, [h, c], backward=direction == "reverse")
    return sequence, h, c


def _both(g: Graph, x: Operand, h: Operand, c: Operand, weights: Sequence[LstmWeights], cell: LstmCell) -> tuple[Operand, Operand, Operand]:
    """Two recurrences, the second from the sequence's end, with their results side by side."""
    starts = [g.nodes_of("Split", state, dtypes=[state.dtype] * 2, axis=-1, num_outputs=2) for state in (h, c)]
    results = []
    for index, own in enumerate(weights):
        projected = _projected(g, x, own.ih, own.bias)
        states = [state[index] for state in starts]
        sequence, after = scan(g, cell.step(own), projected, states, backward=index == 1, aligned=True)
        results.append([sequence, *after])
    sequence, h, c = (g.node("Concat", *pair, axis=-1) for pair in zip(*results, strict=True))
    return sequence, h, c


def gru_layer(
    g: Graph, x: Operand, h: Operand, weight_ih: Operand, weight_hh: Operand, bias: Operand | None, input_bias: Operand | None,
    activations: tuple[Activation, Activation], reset_after: bool, direction: str,
) -> tuple[Operand, Operand]:  # fmt: skip
    """The hidden states and the last of them. ``bias`` goes with the hidden state, ``input_bias`` with the inputs."""
    if (nothing := _nothing(g, x, h)) is not None:
        return nothing, h
    h = started(g, x, h)
    if has_native(g, activations):
        order = (2, 0, 1)
        given = [_stack(g, [reordered(g, weight, order, 3)]) for weight in (weight_ih, weight_hh)]
        given.append(_stack(g, [_bias(g, input_bias, bias, order, weight_hh)]))
        sequence, (h,) = native(g, "GRU", x, given, [h], activations, direction=direction, linear_before_reset=int(reset_after))
        return sequence, h
    step = _gru_step(weight_hh, bias, activations, reset_after)
    sequence, (h,) = scan(g, step, _projected(g, x, weight_ih, input_bias), [h], backward=direction == "reverse")
    return sequence, h


def _gru_step(weight: Operand, bias: Operand | None, activations: tuple[Activation, Activation], reset_after: bool) -> Step:
    gate, output = activations

    def linear(g: Graph, h: Operand, index: int) -> Operand:
        product = g.node("MatMul", h, turned(g, reordered(g, weight, [index], 3)))
        return product if bias is None else g.node("Add", product, reordered(g, bias, [index], 3))

    def step(g: Graph, projected: Operand, states: list[Operand]) -> list[Operand]:
        (h,) = states
        r, o, z = g.nodes_of("Split", projected, dtypes=[projected.dtype] * 3, axis=-1, num_outputs=3)
        r, z = gate(g, g.node("Add", linear(g, h, 0), r)), gate(g, g.node("Add", linear(g, h, 2), z))
        recurrent = g.node("Mul", r, linear(g, h, 1)) if reset_after else linear(g, g.node("Mul", r, h), 1)
        o = output(g, g.node("Add", recurrent, o))
        return [g.node("Add", g.node("Mul", g.node("Sub", g.constant(1, z.dtype), z), o), g.node("Mul", z, h))]

    return step


def rnn_layer(
    g: Graph, x: Operand, h: Operand, weight_ih: Operand, weight_hh: Operand, bias: Operand | None, activation: Activation, direction: str
) -> tuple[Operand, Operand]:
    """The hidden states and the last of them."""
    if (nothing := _nothing(g, x, h)) is not None:
        return nothing, h
    h = started(g, x, h)
    if has_native(g, [activation]):
        given = [_stack(g, [weight_ih]), _stack(g, [weight_hh]), _stack(g, [_bias(g, bias, None, (0,), weight_hh)])]
        sequence, (h,) = native(g, "RNN", x, given, [h], [activation], direction=direction)
        return sequence, h

    def step(g: Graph, projected: Operand, states: list[Operand]) -> list[Operand]:
        return [activation(g, g.node("Add", g.node("MatMul", states[0], turned(g, weight_hh)), projected))]

    sequence, (h,) = scan(g, step, _projected(g, x, weight_ih, bias), [h], backward=direction == "reverse")
    return sequence, h


@lowers("lstm")
def lstm(
    g: Graph,
    x: Operand,
    initial_h: Operand,
    initial_c: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None,
    peephole: Operand | None,
    weight_ih_back: Operand | None,
    weight_hh_back: Operand | None,
    bias_back: Operand | None,
    peephole_back: Operand | None,
    *,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    cell_activation: str,
    activation: str,
    clip: float | None,
) -> list[Operand]:
    cell = LstmCell(_ACTIVATIONS[recurrent_activation], _ACTIVATIONS[cell_activation], _ACTIVATIONS[activation], clip)
    weights = [LstmWeights(weight_ih, weight_hh, bias, peephole)]
    if direction == "bidirectional" and weight_ih_back is not None and weight_hh_back is not None:
        weights.append(LstmWeights(weight_ih_back, weight_hh_back, bias_back, peephole_back))
    sequence, h, c = lstm_layer(g, x, initial_h, initial_c, weights, cell, direction)
    return [returned(g, sequence, h, output_sequence), h, c]


@lowers("gru")
def gru(
    g: Graph,
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None,
    input_bias: Operand | None = None,
    *,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    activation: str,
    reset_after: bool = False,
) -> list[Operand]:
    activations = (_ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation])
    sequence, h = gru_layer(g, x, initial_h, weight_ih, weight_hh, bias, input_bias, activations, reset_after, direction)
    return [returned(g, sequence, h, output_sequence), h]


@lowers("rnn")
def rnn(
    g: Graph,
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None,
    *,
    direction: str,
    output_sequence: bool,
    activation: str,
) -> list[Operand]:
    sequence, h = rnn_layer(g, x, initial_h, weight_ih, weight_hh, bias, _ACTIVATIONS[activation], direction)
    return [returned(g, sequence, h, output_sequence), h]
