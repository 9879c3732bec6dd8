"""Recurrent layers of neural networks, where MIL's operations can't say what the layer does.

They differ from MIL's in three ways: the sum that goes into an activation is kept within [-50, 50], which shows where the activation is
not bounded; the scaled hyperbolic tangent is 1.7159 tanh(2x / 3); and an LSTM's forget gate may be coupled to its input gate.

Sequences have shape ``[s, b, I]`` (s steps, batch b, I inputs), results ``[s, b, H]``, or ``[1, b, H]`` without ``output_sequence``.
Direction ``reverse`` takes the sequence from its end, and its results come in that order: the first belongs to the last input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import linear

from moka.ops._recurrence import returned, scan
from moka.ops.table import FLOATS, T, operation

Activation: TypeAlias = Literal["linear", "relu", "scaled_tanh", "sigmoid", "sigmoid_hard", "tanh"]
Direction: TypeAlias = Literal["forward", "reverse"]
Function: TypeAlias = Callable[[Tensor], Tensor]

_LIMIT = 50.0

_ACTIVATIONS: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(x * (2 / 3)),
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
}


def _limited(activation: str) -> Function:
    """The activation of its input kept within the limit."""
    function = _ACTIVATIONS[activation]
    return lambda x: function(x.clamp(-_LIMIT, _LIMIT))


def _in_order(x: Tensor, direction: str) -> Tensor:
    return x if direction == "forward" else x.flip(0)


@operation("ios15", T=FLOATS)
def nn_lstm(
    x: T,
    initial_h: T,
    initial_c: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    peephole: T | None = None,
    *,
    direction: Direction = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    cell_activation: Activation = "tanh",
    activation: Activation = "tanh",
    clip: float = 50.0,
    coupled: bool = False,
) -> tuple[T, T, T]:
    """Long short-term memory, with coupled gates if asked for.

    With r, k and a for the activations of the gates, the cell's input and the output, m for the limit of 50, p for the peepholes:

        i = r(m(W_i x + U_i h + b_i + p_i c))     f = r(m(W_f x + U_f h + b_f + p_f c)), or 1 - i with ``coupled``
        c' = f c + i k(m(W_z x + U_z h + b_z)), kept within [-clip, clip]
        o = r(m(W_o x + U_o h + b_o + p_o c'))    h' = o a(c')

    ``weight_ih`` ``[4H, I]``, ``weight_hh`` ``[4H, H]`` and ``bias`` ``[4H]`` stack the gates in the order i, f, o, z; ``peephole``
    ``[3H]`` has i, f, o. Results: the hidden states, the last hidden and the last cell state.
    """
    gate, candidate, output = _limited(recurrent_activation), _limited(cell_activation), _ACTIVATIONS[activation]
    peephole_i, peephole_f, peephole_o = (0, 0, 0) if peephole is None else peephole.chunk(3)

    def cell(projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, z = (projected + h @ weight_hh.t()).chunk(4, -1)
        i = gate(i + c * peephole_i)
        f = 1 - i if coupled else gate(f + c * peephole_f)
        c = (f * c + i * candidate(z)).clamp(-clip, clip)
        return gate(o + c * peephole_o) * output(c), c

    sequence, (h, c) = scan(cell, linear(_in_order(x, direction), weight_ih, bias), (initial_h, initial_c))
    return returned(sequence, h, output_sequence), h, c


@operation("ios15", T=FLOATS)
def nn_gru(
    x: T,
    initial_h: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    *,
    direction: Direction = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    activation: Activation = "tanh",
) -> tuple[T, T]:
    """Gated recurrent unit with the reset gate before the matrix product.

    With g and a for the activations of the gates and of the output, m for the limit of 50:

        r = g(m(W_r x + U_r h + b_r))        z = g(m(W_z x + U_z h + b_z))
        o = a(m(W_o x + U_o (r h) + b_o))    h' = (1 - z) o + z h

    ``weight_ih`` ``[3H, I]``, ``weight_hh`` ``[3H, H]`` and ``bias`` ``[3H]`` stack the gates in the order r, o, z. Results: the hidden
    states, and the last of them.
    """
    gate, output = _limited(recurrent_activation), _limited(activation)
    weight_r, weight_o, weight_z = weight_hh.chunk(3)

    def cell(projected: Tensor, h: Tensor) -> tuple[Tensor]:
        r, o, z = projected.chunk(3, -1)
        r, z = gate(r + linear(h, weight_r)), gate(z + linear(h, weight_z))
        return ((1 - z) * output(o + linear(r * h, weight_o)) + z * h,)

    sequence, (h,) = scan(cell, linear(_in_order(x, direction), weight_ih, bias), (initial_h,))
    return returned(sequence, h, output_sequence), h


@operation("ios15", T=FLOATS)
def nn_rnn(
    x: T,
    initial_h: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    *,
    direction: Direction = "forward",
    output_sequence: bool = False,
    activation: Activation = "tanh",
) -> tuple[T, T]:
    """Plain recurrent layer: h' = a(m(W x + U h + b)), with m for the limit of 50, W ``[H, I]``, U ``[H, H]``, b ``[H]``.

    Results: the hidden states, and the last of them.
    """
    function = _limited(activation)
    projected = linear(_in_order(x, direction), weight_ih, bias)
    sequence, (h,) = scan(lambda step, h: (function(step + h @ weight_hh.t()),), projected, (initial_h,))
    return returned(sequence, h, output_sequence), h
