"""Image networks: convolutional ones, transformers with global and windowed attention, and a segmentation network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf
from examples.networks.network import Inputs, Network
from transformers.models.resnet.modeling_resnet import ResNetBottleNeckLayer

Made = tuple[torch.nn.Module, list[Inputs]]


class FromPixels(torch.nn.Module):
    """A `transformers` image network that returns one named tensor of its output."""

    def __init__(self, model: torch.nn.Module, output: str = "logits") -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return getattr(self.model(pixel_values=pixel_values), self.output)


def damp_branches(model: torch.nn.Module, last_norm: Callable[[torch.nn.Module], torch.nn.Module | None]) -> None:
    """Scales every residual branch by 0.3, through the weight of its last batch normalisation, in place.

    Training keeps branches small beside the residual. With scales of one a random network of this depth multiplies any
    relative change of its input by about 40, so that rounding the weights to half precision alone moves PyTorch's own
    outputs by 3 %, and a comparison in half precision would measure the network instead of what runs it.
    """
    for norm in filter(None, map(last_norm, model.modules())):
        torch.nn.init.constant_(norm.weight, 0.3)


def pixels(size: int = 224) -> Inputs:
    """One normalised RGB image of random noise."""
    return {"pixel_values": torch.randn(1, 3, size, size)}


def mobilenet_v2(size: int = 224) -> Made:
    model = tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(image_size=size, num_labels=1001))
    damp_branches(model, lambda m: m.reduce_1x1.normalization if getattr(m, "use_residual", False) else None)
    return FromPixels(model), [pixels(size)]


def resnet_50(size: int = 224, **sizes: Any) -> Made:
    model = tf.ResNetForImageClassification(tf.ResNetConfig(num_labels=1000, **sizes))
    damp_branches(model, lambda m: m.layer[-1].normalization if isinstance(m, ResNetBottleNeckLayer) else None)
    return FromPixels(model), [pixels(size)]


def vit_b16(size: int = 224, **sizes: Any) -> Made:
    model = tf.ViTForImageClassification(tf.ViTConfig(image_size=size, num_labels=1000, **sizes))
    return FromPixels(model), [pixels(size)]


def convnext_tiny(size: int = 224) -> Made:
    return FromPixels(tf.ConvNextForImageClassification(tf.ConvNextConfig(num_labels=1000))), [pixels(size)]


def swin_tiny() -> Made:
    return FromPixels(tf.SwinForImageClassification(tf.SwinConfig(num_labels=1000))), [pixels()]


def segformer_b0(size: int = 512) -> Made:
    return FromPixels(tf.SegformerForSemanticSegmentation(tf.SegformerConfig(num_labels=150))), [pixels(size)]


def clip_vision() -> Made:
    model = tf.CLIPVisionModelWithProjection(tf.CLIPVisionConfig())
    return FromPixels(model, "image_embeds"), [pixels()]


VISION = [
    Network("mobilenet_v2", "MobileNetV2 1.0, 224 pixels, 1001 classes", mobilenet_v2),
    Network("resnet_50", "ResNet-50, 224 pixels, 1000 classes", resnet_50),
    Network("vit_b16", "ViT-B/16, 224 pixels, 1000 classes", vit_b16),
    Network("convnext_tiny", "ConvNeXt-tiny, 224 pixels, 1000 classes", convnext_tiny),
    Network("swin_tiny", "Swin-tiny, windows of 7, 224 pixels, 1000 classes", swin_tiny),
    Network("segformer_b0", "SegFormer-b0, 512 pixels, 150 classes a pixel", segformer_b0),
    Network("clip_vision", "CLIP ViT-B/32, the image tower", clip_vision),
]
