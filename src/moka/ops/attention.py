"""Attention."""

from __future__ import annotations

import torch
from torch.nn import functional

from moka.ops.table import BOOL, FLOATS, T, U, operation


@operation("ios18", T=FLOATS, U=FLOATS | BOOL)
def scaled_dot_product_attention(query: T, key: T, value: T, attn_mask: U | None = None) -> T:
    """Weighted mean of values: softmax(query @ transpose(key) / sqrt(e) + mask) @ value.

    query: [b, *, l, e], key: [b, *, s, e], value: [b, *, s, v]; result: [b, *, l, v]. The mask broadcasts to [b, *, l, s]: a boolean one
    says which elements take part, any other is added to the scores. A row that the mask leaves without elements is zero.
    """
    if attn_mask is not None:
        if attn_mask.dim() < 2:
            attn_mask = attn_mask.unsqueeze(0)
        attn_mask = attn_mask.to(query.device, torch.bool if attn_mask.dtype is torch.bool else query.dtype)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask)
