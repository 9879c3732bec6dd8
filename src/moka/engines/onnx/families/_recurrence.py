"""What lowerings of recurrent operations share: activations, ONNX's recurrent nodes, and steps of our own where those can't say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from moka.engines.onnx.families._nodes import reshape, squeeze, transpose, unsqueeze
from moka.engines.onnx.graph import Graph, Operand, Unlowerable

__all__ = ["Activation", "Step", "has_native", "native", "reordered", "returned", "scan", "started", "turned"]

Step: TypeAlias = Callable[[Graph, Operand, list[Operand]], list[Operand]]
"""From one step's input and the states, the hidden one first, to the states after it.

A sum of a product and the input has the product first: the other way round OpenVINO 2026.4 writes it into the memory of the sequence.
"""

_FUSED = ("Sigmoid", "Tanh", "Relu")
"""Activations that OpenVINO's recurrent nodes know."""


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation of a recurrent node.

    Attributes:
        kind: ONNX's name for it in those nodes.
        alpha, beta: of HardSigmoid, Affine and ScaledTanh.
        bound: the largest absolute value that it gives, if there is one.
        limit: bound of its input, where the operation sets one and it is felt.
    """

    kind: str
    alpha: float | None = None
    beta: float | None = None
    bound: float | None = 1.0
    limit: float | None = None

    def __call__(self, g: Graph, x: Operand) -> Operand:
        """The activation as nodes of its own."""
        if self.limit is not None:
            x = g.node("Clip", x, -self.limit, self.limit)
        if self.kind == "Affine":
            return x
        if self.kind == "ScaledTanh":
            return g.node("Mul", g.node("Tanh", g.node("Mul", x, self.beta)), self.alpha)
        return g.node(self.kind, x, alpha=self.alpha, beta=self.beta)


def has_native(g: Graph, activations: Sequence[Activation]) -> bool:
    """Whether the target's recurrent nodes know the activations."""
    known = g.target.name != "openvino" or all(item.kind in _FUSED for item in activations)
    return known and all(item.limit is None for item in activations)


def native(
    g: Graph,
    kind: str,
    x: Operand,
    weights: Sequence[Operand | None],
    states: Sequence[Operand],
    activations: Sequence[Activation],
    *,
    direction: str,
    **attributes: Any,
) -> tuple[Operand, list[Operand]]:
    """An LSTM, GRU or RNN node.

    Args:
        weights: W, R, B and, for an LSTM, P, with their axis of directions.
        states: [b, directions * H].

    Returns:
        The hidden states, [s, b, directions * H], in the order of the steps taken, and the states after the last of them.
    """
    hidden = weights[1].size(-1)  # type: ignore[union-attr]
    both = direction == "bidirectional"
    given = [_by_direction(g, state, hidden) if both else unsqueeze(g, state, 0) for state in states]
    scaled = [item for item in activations if item.alpha is not None]
    w, r, b, *p = weights
    y, *last = g.nodes_of(
        kind, x, w, r, b, None, *given, *p, dtypes=[x.dtype] * (1 + len(given)),
        direction=direction, hidden_size=hidden, activations=[item.kind for item in activations] * (2 if both else 1),
        activation_alpha=[item.alpha for item in scaled] or None, activation_beta=[item.beta for item in scaled] or None, **attributes,
    )  # fmt: skip
    if both:
        sequence = g.node("Reshape", g.node("Transpose", y, perm=[0, 2, 1, 3]), g.ints([0, 0, -1]))
        return sequence, [g.node("Reshape", g.node("Transpose", state, perm=[1, 0, 2]), g.ints([0, -1])) for state in last]
    sequence = g.node("Squeeze", y, g.ints([1]))
    if direction == "reverse":
        sequence = g.node("Slice", sequence, g.ints([-1]), g.ints([np.iinfo(np.int32).min]), g.ints([0]), g.ints([-1]))
    return sequence, [g.node("Squeeze", state, g.ints([0])) for state in last]


def _by_direction(g: Graph, state: Operand, hidden: int) -> Operand:
    return transpose(g, reshape(g, state, [-1, 2, hidden]), [1, 0, 2])


def scan(
    g: Graph, step: Step, x: Operand, states: Sequence[Operand], *, backward: bool = False, aligned: bool = False
) -> tuple[Operand, list[Operand]]:
    """A recurrence step by step.

    Args:
        x: [s, b, *].
        backward: whether it starts at the sequence's end.
        aligned: whether results then stand at the places of their inputs; else in the order of the steps.

    Returns:
        The hidden states of all steps, [s, b, H], and the states after the last.
    """
    if x.is_static(0) and x.size(0) == 1:
        after = step(g, squeeze(g, x, 0), list(states))
        return g.node("Unsqueeze", after[0], g.ints([0])), after
    inner = Graph(g.target, g)
    before = [Operand(g.fresh("state"), state.dtype, state.shape) for state in states]
    taken = Operand(g.fresh("step"), x.dtype, x.shape[1:] if x.shape else None)
    after = step(inner, taken, before)
    shown = inner.node("Identity", after[0])
    _refuse_changing(g, inner, [*before, taken])
    body = inner.message("step", [*before, taken], [*after, shown])
    *last, sequence = g.nodes_of(
        "Scan", *states, x, dtypes=[item.dtype for item in (*after, shown)], body=body, num_scan_inputs=1,
        scan_input_directions=[int(backward)], scan_output_directions=[int(backward and aligned)],
    )  # fmt: skip
    return sequence, last


def _refuse_changing(g: Graph, inner: Graph, own: Sequence[Operand]) -> None:
    """OpenVINO's Scan sees nothing of the graph around it but constants."""
    known = {item.name for item in own} | set(g.initializers) | set(g.weights) | {name for node in inner.nodes for name in node.output}
    changing = [name for node in inner.nodes for name in node.input if name not in known]
    if changing and g.target.name == "openvino":
        raise Unlowerable(f"{changing[0]!r}, which every step uses, is computed while the program runs")


def started(g: Graph, x: Operand, state: Operand) -> Operand:
    """An initial state with a row for each sequence of the batch, where the program does not say how many it has.

    Packed sequences, as coremltools converts them, come with a row of zeros for each step; Core ML does not use those beyond the batch.
    """
    if state.is_static(0) or not x.is_static(1):
        return state
    rows = g.node("Slice", state, g.ints([0]), g.ints([x.size(1)]), g.ints([0]))
    return Operand(rows.name, state.dtype, (x.size(1), *state.shape[1:]) if state.shape else None)


def returned(g: Graph, sequence: Operand, hidden: Operand, output_sequence: bool) -> Operand:
    """The hidden states of all steps, or of the last one alone, ``[1, b, H]``."""
    return sequence if output_sequence else g.node("Unsqueeze", hidden, g.ints([0]))


def turned(g: Graph, weight: Operand) -> Operand:
    """A matrix the other way round, ahead where it is constant: what a step uses must be one, and every step would turn it again."""
    return g.constant(np.ascontiguousarray(weight.content.T)) if weight.is_constant else transpose(g, weight, [1, 0])


def reordered(g: Graph, gates: Operand, order: Sequence[int], of: int) -> Operand:
    """Some of the ``of`` blocks of rows, in another order."""
    if gates.is_constant:
        blocks = np.split(gates.content, of)
        return g.constant(np.concatenate([blocks[index] for index in order]))
    parts = g.nodes_of("Split", gates, dtypes=[gates.dtype] * of, axis=0, num_outputs=of)
    rows = gates.size(0) // of * len(order) if gates.is_static(0) else None
    shape = None if gates.shape is None else (rows, *gates.shape[1:])
    return g.node("Concat", *[parts[index] for index in order], shape=shape, axis=0)
