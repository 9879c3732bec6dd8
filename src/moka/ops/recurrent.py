"""Recurrent layers over sequences: lstm, gru and rnn.

Sequences have shape ``[s, b, I]`` (s steps, batch b, I inputs), results ``[s, b, H]``, or ``[1, b, H]`` without ``output_sequence``.
Direction ``reverse`` takes the sequence from its end, and its results come in that order: the first belongs to the last input.
``bidirectional`` puts the results of both directions side by side, each at the step of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from moka.ops._recurrence import returned, scan
from moka.ops.table import FLOATS, FP32, T, operation

Activation: TypeAlias = Literal["hard_sigmoid", "linear", "relu", "scaled_tanh", "sigmoid", "sigmoid_hard", "tanh"]

Function: TypeAlias = Callable[[Tensor], Tensor]


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


_ACTIVATIONS: dict[str, Function] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,  # both of its scales are 1 here
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


def _ordered(gates: Tensor, *order: int) -> Tensor:
    """Blocks of rows in another order, for PyTorch's kernels, which want the gates in theirs."""
    blocks = gates.chunk(len(order))
    return torch.cat([blocks[index] for index in order])


def _is_worth_fusing(x: Tensor, weight_ih: Tensor, weight_hh: Tensor) -> bool:
    """Whether PyTorch's fused kernel saves more time than it costs to put the gates into its order.

    On a CPU a step of our own loop takes as long as copying about 10,000 numbers. The fused kernels refuse empty sequences.
    """
    return 10_000 * len(x) > weight_ih.numel() + weight_hh.numel()


def _parameters(weight_ih: Tensor, weight_hh: Tensor, *biases: Tensor | None, order: tuple[int, ...]) -> list[Tensor]:
    """The parameters of one layer as PyTorch's kernels take them; of two biases one may be missing."""
    ordered = [_ordered(weight_ih, *order), _ordered(weight_hh, *order)]
    if all(bias is None for bias in biases):
        return ordered
    absent = weight_ih.new_zeros(weight_ih.shape[0])
    return ordered + [absent if bias is None else _ordered(bias, *order) for bias in biases]


class _Weights(NamedTuple):
    """Parameters of one direction of an LSTM, gates in the order input, forget, output, cell."""

    ih: Tensor
    hh: Tensor
    bias: Tensor | None
    peephole: Tensor | None


class _Gates(NamedTuple):
    """What an LSTM applies to its gates, its cell input and its cell state."""

    recurrent: Function
    cell: Function
    output: Function
    clip: float | None

    @property
    def are_standard(self) -> bool:
        return self == (torch.sigmoid, torch.tanh, torch.tanh, None)


def _lstm(x: Tensor, h: Tensor, c: Tensor, weights: _Weights, gates: _Gates) -> tuple[Tensor, Tensor, Tensor]:
    """One direction, first step to last: the hidden states, the last of them, the last cell state."""
    if gates.are_standard and weights.peephole is None and _is_worth_fusing(x, weights.ih, weights.hh):
        parameters = _parameters(weights.ih, weights.hh, weights.bias, None, order=(0, 1, 3, 2))
        sequence, h, c = torch.lstm(x, (h[None], c[None]), parameters, len(parameters) > 2, 1, 0.0, False, False, False)
        return sequence, h[0], c[0]
    peephole_i, peephole_f, peephole_o = (0, 0, 0) if weights.peephole is None else weights.peephole.chunk(3)

    def cell(projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, z = (projected + h @ weights.hh.t()).chunk(4, -1)
        c = gates.recurrent(f + c * peephole_f) * c + gates.recurrent(i + c * peephole_i) * gates.cell(z)
        c = c if gates.clip is None else c.clamp(-gates.clip, gates.clip)
        return gates.recurrent(o + c * peephole_o) * gates.output(c), c

    sequence, (h, c) = scan(cell, torch.nn.functional.linear(x, weights.ih, weights.bias), (h, c))
    return sequence, h, c


@operation("ios17", T=FLOATS)
@operation("ios15", T=FP32)
def lstm(
    x: T,
    initial_h: T,
    initial_c: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    peephole: T | None = None,
    weight_ih_back: T | None = None,
    weight_hh_back: T | None = None,
    bias_back: T | None = None,
    peephole_back: T | None = None,
    *,
    direction: Literal["forward", "reverse", "bidirectional"] = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    cell_activation: Activation = "tanh",
    activation: Activation = "tanh",
    clip: float | None = None,
) -> tuple[T, T, T]:
    """Long short-term memory.

    With r, k and a for the three activations (of the gates, the cell's input, the output) and p for the peepholes:

        i = r(W_i x + U_i h + b_i + p_i c)        f = r(W_f x + U_f h + b_f + p_f c)
        c' = clip(f c + i k(W_z x + U_z h + b_z))
        o = r(W_o x + U_o h + b_o + p_o c')       h' = o a(c')

    ``weight_ih`` ``[4H, I]``, ``weight_hh`` ``[4H, H]`` and ``bias`` ``[4H]`` stack the gates in the order i, f, o, z; ``peephole``
    ``[3H]`` has i, f, o. Bidirectional: the initial states are ``[b, 2H]``, forward first. Results: the hidden states, the last hidden
    and the last cell state (of each direction: after its last step).
    """
    gates = _Gates(_ACTIVATIONS[recurrent_activation], _ACTIVATIONS[cell_activation], _ACTIVATIONS[activation], clip)
    weights = _Weights(weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        sequence, h, c = _lstm(x if direction == "forward" else x.flip(0), initial_h, initial_c, weights, gates)
        return returned(sequence, h, output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("direction 'bidirectional' needs weight_ih_back and weight_hh_back")
    back = _Weights(weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h, h_back), (c, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    sequence, h, c = _lstm(x, h.contiguous(), c.contiguous(), weights, gates)
    sequence_back, h_back, c_back = _lstm(x.flip(0), h_back.contiguous(), c_back.contiguous(), back, gates)
    h, c = torch.cat([h, h_back], -1), torch.cat([c, c_back], -1)
    return returned(torch.cat([sequence, sequence_back.flip(0)], -1), h, output_sequence), h, c


def _gru(
    x: Tensor,
    h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    input_bias: Tensor | None,
    activations: tuple[Function, Function],
    reset_after: bool,
) -> tuple[Tensor, Tensor]:
    """From the first step to the last: the hidden states, and the last of them."""
    if reset_after and activations == (torch.sigmoid, torch.tanh) and _is_worth_fusing(x, weight_ih, weight_hh):
        parameters = _parameters(weight_ih, weight_hh, input_bias, bias, order=(0, 2, 1))
        sequence, h = torch.gru(x, h[None], parameters, len(parameters) > 2, 1, 0.0, False, False, False)
        return sequence, h[0]
    gate, output = activations
    weight_r, weight_o, weight_z = weight_hh.chunk(3)
    bias_r, bias_o, bias_z = (None, None, None) if bias is None else bias.chunk(3)
    linear = torch.nn.functional.linear

    def cell(projected: Tensor, h: Tensor) -> tuple[Tensor]:
        r, o, z = projected.chunk(3, -1)
        r, z = gate(r + linear(h, weight_r, bias_r)), gate(z + linear(h, weight_z, bias_z))
        recurrent = r * linear(h, weight_o, bias_o) if reset_after else linear(r * h, weight_o, bias_o)
        return ((1 - z) * output(o + recurrent) + z * h,)

    sequence, (h,) = scan(cell, linear(x, weight_ih, input_bias), (h,))
    return sequence, h


@operation("ios18", T=FLOATS)
def gru(
    x: T,
    initial_h: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    input_bias: T | None = None,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    activation: Activation = "tanh",
    reset_after: bool = False,
) -> tuple[T, T]:
    """Gated recurrent unit.

    With g and a for the activations of the gates and of the output, and d for ``input_bias``:

        r = g(W_r x + d_r + U_r h + b_r)        z = g(W_z x + d_z + U_z h + b_z)
        o = a(W_o x + d_o + U_o (r h) + b_o), or a(W_o x + d_o + r (U_o h + b_o)) with ``reset_after``
        h' = (1 - z) o + z h

    ``weight_ih`` ``[3H, I]``, ``weight_hh`` ``[3H, H]`` and the biases ``[3H]`` stack the gates in the order r, o, z. Results: the hidden
    states, and the last of them.
    """
    activations = (_ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation])
    taken = x if direction == "forward" else x.flip(0)
    sequence, h = _gru(taken, initial_h, weight_ih, weight_hh, bias, input_bias, activations, reset_after)
    return returned(sequence, h, output_sequence), h


@operation("ios17", name="gru", T=FLOATS)
@operation("ios15", name="gru", T=FP32)
def gru_reset_before(
    x: T,
    initial_h: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    activation: Activation = "tanh",
) -> tuple[T, T]:
    """Gated recurrent unit with the reset gate before the matrix product.

    With g and a for the activations of the gates and of the output:

        r = g(W_r x + U_r h + b_r)        z = g(W_z x + U_z h + b_z)
        o = a(W_o x + U_o (r h) + b_o)    h' = (1 - z) o + z h

    ``weight_ih`` ``[3H, I]``, ``weight_hh`` ``[3H, H]`` and ``bias`` ``[3H]`` stack the gates in the order r, o, z. Results: the hidden
    states, and the last of them.
    """
    return gru(
        x,
        initial_h,
        weight_ih,
        weight_hh,
        bias,
        direction=direction,
        output_sequence=output_sequence,
        recurrent_activation=recurrent_activation,
        activation=activation,
    )


_FUSED: dict[str, Callable[..., Any]] = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


@operation("ios17", T=FLOATS)
@operation("ios15", T=FP32)
def rnn(
    x: T,
    initial_h: T,
    weight_ih: T,
    weight_hh: T,
    bias: T | None = None,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    output_sequence: bool = False,
    activation: Activation = "tanh",
) -> tuple[T, T]:
    """Plain recurrent layer: h' = a(W x + U h + b), with W ``[H, I]``, U ``[H, H]``, b ``[H]``.

    Results: the hidden states, and the last of them.
    """
    x = x if direction == "forward" else x.flip(0)
    if activation in _FUSED and len(x):
        parameters = [weight_ih, weight_hh] if bias is None else [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
        sequence, h = _FUSED[activation](x, initial_h[None], parameters, len(parameters) > 2, 1, 0.0, False, False, False)
        return returned(sequence, h[0], output_sequence), h[0]
    function = _ACTIVATIONS[activation]
    projected = torch.nn.functional.linear(x, weight_ih, bias)
    sequence, (h,) = scan(lambda step, h: (function(step + h @ weight_hh.t()),), projected, (initial_h,))
    return returned(sequence, h, output_sequence), h
