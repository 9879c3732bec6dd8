"""Text encoders."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf
from examples.networks.network import Inputs, Network

Made = tuple[torch.nn.Module, list[Inputs]]
HIDDEN = -1e4  # added to a score, hides it; within the range of half precision


def causal_mask(length: int) -> torch.Tensor:
    """What is added to attention scores (length, length) so that no token sees a later one."""
    return torch.full((length, length), HIDDEN).triu(1)


class DistilBert(torch.nn.Module):
    """Tokens and their padding mask to masked-word logits.

    `transformers` makes its mask with operations that coremltools lacks (`new_ones`), unless it is given in four
    dimensions, added to the scores; so it is made here.
    """

    def __init__(self, model: tf.DistilBertForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = (1.0 - attention_mask.float())[:, None, None, :] * HIDDEN
        return self.model(input_ids=input_ids, attention_mask=hidden).logits


class ClipText(torch.nn.Module):
    """Tokens to the embedding at the end-of-text token, attending to the left only.

    Mask and positions are made here, since the library's own contain operations that coremltools lacks (`new_ones`,
    `alias`).
    """

    def __init__(self, model: tf.CLIPTextModelWithProjection, length: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mask", causal_mask(length)[None, None])
        self.register_buffer("positions", torch.arange(length)[None])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids, attention_mask=self.mask, position_ids=self.positions).text_embeds


def tokens(vocabulary: int, length: int) -> torch.Tensor:
    """One sentence of random tokens."""
    return torch.randint(3, vocabulary, (1, length), dtype=torch.int32)


def distilbert(length: int = 128, **sizes: Any) -> Made:
    config = tf.DistilBertConfig(**sizes)
    mask = torch.ones(1, length, dtype=torch.int32)
    mask[:, length - length // 4 :] = 0
    inputs = {"input_ids": tokens(config.vocab_size, length), "attention_mask": mask}
    return DistilBert(tf.DistilBertForMaskedLM(config)), [inputs]


def clip_text() -> Made:
    config = tf.CLIPTextConfig()
    length = config.max_position_embeddings
    ids = tokens(config.bos_token_id, length)
    ids[:, 59:] = config.eos_token_id
    return ClipText(tf.CLIPTextModelWithProjection(config), length), [{"input_ids": ids}]


TEXT = [
    Network("distilbert", "DistilBERT base, 128 tokens with padding, masked-word logits", distilbert),
    Network("clip_text", "CLIP ViT-B/32, the text tower, 77 tokens", clip_text),
]
