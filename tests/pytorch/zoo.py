"""The networks of the zoo at sizes that a small machine converts in seconds, for tests of what PyTorch hands to Core ML."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers as tf
from examples.networks import ZOO, Network, audio, decoder, text, vision

__all__ = ["SMALL"]

Made = tuple[torch.nn.Module, list[dict[str, torch.Tensor]]]


def convnext() -> Made:
    config = tf.ConvNextConfig(num_labels=10, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    return vision.FromPixels(tf.ConvNextForImageClassification(config)), [vision.pixels(64)]


def swin() -> Made:
    config = tf.SwinConfig(num_labels=10, image_size=56, embed_dim=8, depths=[2, 2], num_heads=[2, 2])
    return vision.FromPixels(tf.SwinForImageClassification(config)), [vision.pixels(56)]


def segformer() -> Made:
    sizes: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}
    config = tf.SegformerConfig(num_labels=5, num_attention_heads=[1, 2, 2, 4], **sizes)
    return vision.FromPixels(tf.SegformerForSemanticSegmentation(config)), [vision.pixels(64)]


def narrow(**sizes: Any) -> dict[str, Any]:
    return {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, **sizes}


def clip_vision() -> Made:
    config = tf.CLIPVisionConfig(image_size=64, patch_size=16, projection_dim=24, **narrow())
    return vision.FromPixels(tf.CLIPVisionModelWithProjection(config), "image_embeds"), [vision.pixels(64)]


def clip_text() -> Made:
    config = tf.CLIPTextConfig(vocab_size=100, projection_dim=24, bos_token_id=97, eos_token_id=98, pad_token_id=99, **narrow())
    length = 16
    config.max_position_embeddings = length
    ids = text.tokens(97, length)
    ids[:, 12:] = 98
    return text.ClipText(tf.CLIPTextModelWithProjection(config), length), [{"input_ids": ids}]


def whisper_config() -> tf.WhisperConfig:
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return tf.WhisperConfig(
        vocab_size=100,
        d_model=32,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=50,
        pad_token_id=99,
        bos_token_id=98,
        eos_token_id=98,
        decoder_start_token_id=97,
        **sizes,
    )


def whisper_encoder() -> Made:
    return audio.WhisperEncoder(tf.WhisperModel(whisper_config())), [{"input_features": torch.randn(1, 80, 100)}]


def whisper_decoder() -> Made:
    inputs = {"decoder_input_ids": torch.randint(0, 97, (1, 8), dtype=torch.int32), "encoder_hidden_states": torch.randn(1, 50, 32)}
    return audio.WhisperDecoder(tf.WhisperForConditionalGeneration(whisper_config()), 8), [inputs]


def wav2vec2() -> Made:
    channels = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return audio.Wav2Vec2(tf.Wav2Vec2ForCTC(tf.Wav2Vec2Config(vocab_size=20, **channels, **narrow()))), [
        {"input_values": torch.randn(1, 4000)}
    ]


MAKERS = {
    "mobilenet_v2": partial(vision.mobilenet_v2, 64),
    "resnet_50": partial(vision.resnet_50, size=64, embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2]),
    "vit_b16": partial(vision.vit_b16, size=32, **narrow()),
    "convnext_tiny": convnext,
    "swin_tiny": swin,
    "segformer_b0": segformer,
    "clip_vision": clip_vision,
    "distilbert": partial(text.distilbert, length=16, vocab_size=100, n_layers=2, n_heads=4, dim=32, hidden_dim=64),
    "clip_text": clip_text,
    "llama_small": partial(decoder.decoder, decoder.Sizes(vocabulary=64, width=32, hidden=48, layers=2, heads=4, context=16)),
    "whisper_tiny_encoder": whisper_encoder,
    "whisper_tiny_decoder": whisper_decoder,
    "wav2vec2_base": wav2vec2,
}

SMALL = {name: Network(name, network.description, MAKERS[name]) for name, network in ZOO.items()}
