"""Cases of attention: beside a loop over queries in NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax  # type: ignore[import-untyped]

from tests.cases.operations import Case

RNG = np.random.default_rng(5)
Array = np.ndarray[Any, Any]
Q, K, V = (RNG.normal(0, 1, shape).astype(np.float32) for shape in ((2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 6)))
BIAS = RNG.normal(0, 2, (4, 5)).astype(np.float32)
SEEN = np.tril(np.ones((4, 5), bool), 1)
PAIR = RNG.normal(0, 1, (2, 1, 4, 5)).astype(np.float32)


def attention(query: Array, key: Array, value: Array, scores: Array | None = None) -> Array:
    """Each query on its own: the mean of the values under the softmax of its scores."""
    result = np.zeros((*query.shape[:-1], value.shape[-1]))
    extra = np.zeros(1) if scores is None else scores
    extra = np.broadcast_to(extra, (*query.shape[:-1], key.shape[-2]))
    for place in np.ndindex(*query.shape[:-1]):
        batch = place[:-1]
        result[place] = softmax(key[batch] @ query[place] / query.shape[-1] ** 0.5 + extra[place]) @ value[batch]
    return result


def attend(note: str, query: Array, key: Array, value: Array, expected: Any, **inputs: Any) -> Case:
    operands = {"query": query, "key": key, "value": value, **inputs}
    return Case("scaled_dot_product_attention", operands, expected, opset="ios18", note=note)


ROW = np.array([0, 0, -np.inf, 0, -np.inf], np.float32)

CASES = [
    attend("plain", Q, K, V, lambda: attention(Q, K, V)),
    attend("rank3", Q[0], K[0], V[0], lambda: attention(Q[0], K[0], V[0])),
    attend("rank5", Q[None], K[None], V[None], lambda: attention(Q[None], K[None], V[None])),
    attend("float_mask", Q, K, V, lambda: attention(Q, K, V, BIAS), attn_mask=BIAS),
    attend("float_mask_broadcast", Q, K, V, lambda: attention(Q, K, V, PAIR), attn_mask=PAIR),
    attend("bool_mask", Q, K, V, lambda: attention(Q, K, V, np.where(SEEN, 0, -np.inf)), attn_mask=SEEN),
    attend("mask_of_rank1", Q, K, V, lambda: attention(Q, K, V, ROW), attn_mask=ROW),
    attend("fp16_mask", Q, K, V, lambda: attention(Q, K, V, BIAS.astype(np.float16)), attn_mask=BIAS.astype(np.float16)),
    attend("nothing_seen", Q[0], K[0], V[0], np.zeros((3, 4, 6)), attn_mask=np.zeros((1, 5), bool)),
]
