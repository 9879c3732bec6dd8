"""Attention in the steps that runtimes recognise and fuse: product, scale, mask, softmax, product."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.families._nodes import transpose
from moka.engines.onnx.graph import Array, Graph, Operand
from moka.engines.onnx.registry import lowers


@lowers("scaled_dot_product_attention")
def scaled_dot_product_attention(g: Graph, query: Operand, key: Operand, value: Operand, attn_mask: Operand | None) -> Operand:
    swapped = transpose(g, key, [*range(key.rank - 2), key.rank - 1, key.rank - 2])
    scores = g.node("MatMul", g.node("Mul", query, float(query.size(-1)) ** -0.5), swapped)
    if attn_mask is None:
        return g.node("MatMul", g.node("Softmax", scores, axis=-1), value)
    mask, seen = _constant_mask(g, query, attn_mask) if attn_mask.is_constant else _mask(g, query, attn_mask)
    result = g.node("MatMul", g.node("Softmax", g.node("Add", scores, mask), axis=-1), value)
    return result if seen is None else g.node("Where", seen, result, g.constant(0, query.dtype), dtype=query.dtype)


def _mask(g: Graph, query: Operand, mask: Operand) -> tuple[Operand, Operand]:
    """What is added to the scores, and which rows have an element that takes part: the others' results are zero."""
    zero, hidden = g.constant(0, query.dtype), g.constant(-np.inf, query.dtype)
    if mask.dtype == np.bool_:
        part = mask
        mask = g.node("Where", mask, zero, hidden, dtype=query.dtype)
    else:
        mask = g.cast(mask, query.dtype)
        part = g.node("Greater", mask, hidden, dtype=np.bool_)
    counts = g.node("ReduceMax", g.cast(part, np.float32), g.ints([-1]), keepdims=1)
    seen = g.node("Greater", counts, 0.5, dtype=np.bool_)
    return g.node("Where", seen, mask, zero, dtype=query.dtype), seen


def _constant_mask(g: Graph, query: Operand, mask: Operand) -> tuple[Operand, Operand | None]:
    """The same for a mask that is known ahead."""
    content: Array = mask.content
    added = np.where(content, 0, -np.inf) if content.dtype == np.bool_ else content
    seen: Array = ~np.isneginf(added).all(-1, keepdims=True)  # type: ignore[assignment]
    added = np.where(seen, added, 0).astype(query.dtype)
    return g.constant(added), None if seen.all() else g.constant(seen)
