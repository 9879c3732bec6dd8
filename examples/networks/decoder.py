"""A small decoder in the style of Llama, written out, whose key-value cache becomes two Core ML states.

RMSNorm, rotary positions, SwiGLU and grouped-query attention. The caches are registered buffers of shape
(layers, 1, key-value heads, context, head size), written in place at the places of the new tokens, so that coremltools
makes states of them. They hold half precision in every variant, the only type that Core ML has for states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from examples.networks.network import Inputs, Network, through_trace
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    vocabulary: int = 8192
    width: int = 512
    hidden: int = 1376
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    context: int = 128

    @property
    def head(self) -> int:
        return self.width // self.heads


class RMSNorm(nn.Module):
    """x * weight / sqrt(mean(x^2) + eps), over the last axis."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


def rotary_table(context: int, head: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """cos and sin of position * base^(-2i/head), each (context, head), the halves of the head repeated."""
    angles = torch.outer(torch.arange(context).float(), base ** (-torch.arange(0, head, 2).float() / head))
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns every pair (x[i], x[i + head/2]) by its position's angle."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query attention over the layer's slice of the cache."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        narrow = sizes.kv_heads * sizes.head
        self.query, self.out = (nn.Linear(sizes.width, sizes.width, bias=False) for _ in range(2))
        self.key, self.value = (nn.Linear(sizes.width, narrow, bias=False) for _ in range(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of the new tokens: (1, heads, tokens, head size)."""

        def split(y: Tensor, heads: int) -> Tensor:
            return y.view(1, -1, heads, self.sizes.head).transpose(1, 2)

        kv_heads = self.sizes.kv_heads
        return split(self.query(x), self.sizes.heads), split(self.key(x), kv_heads), split(self.value(x), kv_heads)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        group = self.sizes.heads // self.sizes.kv_heads
        keys, values = keys.repeat_interleave(group, dim=1), values.repeat_interleave(group, dim=1)
        mixed = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(1, -1, self.sizes.width))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.before_attention, self.before_feed = RMSNorm(sizes.width), RMSNorm(sizes.width)
        self.attention, self.feed = Attention(sizes), SwiGLU(sizes.width, sizes.hidden)


class Decoder(nn.Module):
    """New tokens to logits; the tokens before them are in the cache.

    `input_ids` is (1, tokens); `causal_mask` is (1, 1, tokens, end), added to the scores, where `end` counts all tokens
    so far with the new ones. Both lengths vary, so a prompt is one call and each further token another.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.norm, self.head = RMSNorm(sizes.width), nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        cos, sin = rotary_table(sizes.context, sizes.head)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name in ("key_cache", "value_cache"):
            self.register_buffer(name, torch.zeros(cache_shape(sizes), dtype=torch.float16))

    def forward(self, input_ids: Tensor, causal_mask: Tensor) -> Tensor:
        end = causal_mask.shape[-1]
        begin = end - input_ids.shape[-1]
        cos, sin = self.cos[begin:end], self.sin[begin:end]
        x = self.embedding(input_ids)
        for index, layer in enumerate(self.layers):
            query, key, value = layer.attention.project(layer.before_attention(x))
            self.key_cache[index, :, :, begin:end, :] = rotate(key, cos, sin).half()
            self.value_cache[index, :, :, begin:end, :] = value.half()
            keys, values = self.key_cache[index, :, :, :end, :], self.value_cache[index, :, :, :end, :]
            x = x + layer.attention.attend(rotate(query, cos, sin), keys.float(), values.float(), causal_mask)
            x = x + layer.feed(layer.before_feed(x))
        return self.head(self.norm(x))


def cache_shape(sizes: Sizes) -> tuple[int, ...]:
    return sizes.layers, 1, sizes.kv_heads, sizes.context, sizes.head


def step(input_ids: Tensor, end: int) -> Inputs:
    """The inputs of one call: the new tokens, and the mask by which each sees itself and what came before."""
    count = input_ids.shape[-1]
    hidden = torch.arange(end)[None, :] > torch.arange(end - count, end)[:, None]
    mask = torch.zeros(count, end).masked_fill(hidden, -1e4)
    return {"input_ids": input_ids.to(torch.int32), "causal_mask": mask[None, None]}


def decoder(sizes: Sizes = Sizes(), prompt: int = 4, tokens: int = 8) -> tuple[nn.Module, list[Inputs]]:
    """The decoder, a prompt in one call, then token after token."""
    ids = torch.randint(0, sizes.vocabulary, (1, tokens))
    later = [step(ids[:, i : i + 1], i + 1) for i in range(prompt, tokens)]
    return Decoder(sizes), [step(ids[:, :prompt], prompt), *later]


def dynamic_inputs(context: int) -> list[Any]:
    """Any number of new tokens, and any number of tokens so far, up to the context."""
    import coremltools as ct
    import numpy as np

    count, end = ct.RangeDim(1, context, default=1), ct.RangeDim(1, context, default=1)
    return [
        ct.TensorType("input_ids", (1, count), dtype=np.int32),
        ct.TensorType("causal_mask", (1, 1, count, end), dtype=np.float32),
    ]


def cache_states(sizes: Sizes) -> list[Any]:
    import coremltools as ct
    import numpy as np

    kind = ct.TensorType(shape=cache_shape(sizes), dtype=np.float16)
    return [ct.StateType(wrapped_type=kind, name=name) for name in ("key_cache", "value_cache")]


def decoder_network(name: str, sizes: Sizes) -> Network:
    """The decoder of these sizes as an entry of the zoo."""
    return Network(
        name,
        f"Llama-like decoder, {sizes.layers} layers of {sizes.width}, key-value cache as states, 8 tokens in 5 calls",
        lambda: decoder(sizes),
        through_trace(lambda: dynamic_inputs(sizes.context), lambda: cache_states(sizes)),
        target="iOS18",
    )


DECODERS = [decoder_network("llama_small", Sizes())]
