"""Branches, loops and states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.ir.program import Block, Value
from moka.ir.types import TensorType


@lowers("cond")
def cond(g: Graph, pred: Operand, true_fn: Block, false_fn: Block) -> list[Operand]:
    branches = []
    for name, block in (("then_branch", true_fn), ("else_branch", false_fn)):
        inner = Graph(g.target, g)
        outputs = _given(inner, g.block(block, [], inner))
        branches.append((name, inner, outputs))
    dtypes = [operand.dtype for operand in branches[0][2]]
    messages: dict[str, Any] = {name: inner.message(name, [], outputs) for name, inner, outputs in branches}
    return g.nodes_of("If", _scalar(g, pred), dtypes=dtypes, **messages)


@lowers("while_loop")
def while_loop(g: Graph, loop_vars: tuple[Operand, ...], cond: Block, body: Block) -> list[Operand]:
    (first,) = g.block(cond, loop_vars, g)
    inner = Graph(g.target, g)
    inputs = [_input(inner, value) for value in body.inputs]
    step = Operand(g.fresh("step"), np.dtype(np.int64), ())
    before = Operand(g.fresh("goes_on"), np.dtype(np.bool_), ())
    outputs = g.block(body, inputs, inner)
    (after,) = g.block(cond, outputs, inner)
    given = _given(inner, [_scalar(inner, after), *outputs])
    message = inner.message("body", [step, before, *inputs], given)
    return g.nodes_of("Loop", None, _scalar(g, first), *loop_vars, dtypes=[operand.dtype for operand in loop_vars], body=message)


def _input(g: Graph, value: Value) -> Operand:
    if not isinstance(value.type, TensorType):
        raise Unlowerable(f"{value.name!r}, which the loop carries, is of type {value.type}")
    return Operand(g.fresh(value.name), g.target.carried(value.type.dtype), value.type.shape, value.type.dtype)


def _given(g: Graph, operands: Sequence[Operand]) -> list[Operand]:
    """Outputs of a nested graph, which must be its own; their shapes may differ from branch to branch and step to step."""
    return [replace(g.node("Identity", operand), shape=None) for operand in operands]


def _scalar(g: Graph, condition: Operand) -> Operand:
    return condition if condition.shape == () else g.node("Reshape", condition, g.ints([]))


@lowers("read_state")
def read_state(g: Graph, *, input: Value) -> Operand:
    return g.states[input]


@lowers("write_state")
def write_state(g: Graph, data: Operand, *, input: Value) -> tuple[Any, ...]:
    g.states[input] = data
    return ()


@lowers("coreml_update_state")
def coreml_update_state(g: Graph, value: Operand, *, state: Value) -> Operand:
    g.states[state] = value
    return value
