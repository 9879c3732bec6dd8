"""Image networks: convolutional ones, transformers with global and windowed attention, and a segmentation network."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf
from examples.networks.network import Inputs, Network

Made = tuple[torch.nn.Module, list[Inputs]]


class FromPixels(torch.nn.Module):
    """A `transformers` image network that returns one named tensor of its output."""

    def __init__(self, model: torch.nn.Module, output: str = "logits") -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return getattr(self.model(pixel_values=pixel_values), self.output)


def pixels(size: int = 224) -> Inputs:
    """One normalised RGB image of random noise."""
    return {"pixel_values": torch.randn(1, 3, size, size)}


def mobilenet_v2(size: int = 224) -> Made:
    model = tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(image_size=size, num_labels=1001))
    return FromPixels(model), [pixels(size)]


def resnet_50(size: int = 224, **sizes: Any) -> Made:
    return FromPixels(tf.ResNetForImageClassification(tf.ResNetConfig(num_labels=1000, **sizes))), [pixels(size)]


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
