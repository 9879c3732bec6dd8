"""Recurrent layers of neural networks, whose sums are kept within [-50, 50] before an activation.

The limit is felt only where an activation still grows there; those that are bounded have reached their ends in float32.
"""

from __future__ import annotations

from dataclasses import replace

from moka.engines.onnx.families._recurrence import Activation, returned
from moka.engines.onnx.families.recurrent import LstmCell, LstmWeights, gru_layer, lstm_layer, rnn_layer
from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers

_ACTIVATIONS = {
    "linear": Activation("Affine", 1.0, 0.0, bound=None),
    "relu": Activation("Relu", bound=None),
    "scaled_tanh": Activation("ScaledTanh", 1.7159, 2 / 3, bound=1.7159),
    "sigmoid": Activation("Sigmoid"),
    "sigmoid_hard": Activation("HardSigmoid", 0.2, 0.5),
    "tanh": Activation("Tanh"),
}


def _limited(activation: str) -> Activation:
    """The activation of its input kept within the limit."""
    found = _ACTIVATIONS[activation]
    return replace(found, limit=50.0) if found.bound is None else found


@lowers("nn_lstm")
def nn_lstm(
    g: Graph,
    x: Operand,
    initial_h: Operand,
    initial_c: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None,
    peephole: Operand | None,
    *,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    cell_activation: str,
    activation: str,
    clip: float,
    coupled: bool,
) -> list[Operand]:
    cell = LstmCell(_limited(recurrent_activation), _limited(cell_activation), _ACTIVATIONS[activation], clip, coupled)
    weights = LstmWeights(weight_ih, weight_hh, bias, peephole)
    sequence, h, c = lstm_layer(g, x, initial_h, initial_c, [weights], cell, direction)
    return [returned(g, sequence, h, output_sequence), h, c]


@lowers("nn_gru")
def nn_gru(
    g: Graph,
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None,
    *,
    direction: str,
    output_sequence: bool,
    recurrent_activation: str,
    activation: str,
) -> list[Operand]:
    activations = (_limited(recurrent_activation), _limited(activation))
    sequence, h = gru_layer(g, x, initial_h, weight_ih, weight_hh, None, bias, activations, False, direction)
    return [returned(g, sequence, h, output_sequence), h]


@lowers("nn_rnn")
def nn_rnn(
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
    sequence, h = rnn_layer(g, x, initial_h, weight_ih, weight_hh, bias, _limited(activation), direction)
    return [returned(g, sequence, h, output_sequence), h]
