"""Networks of the corpus built again in PyTorch, from the same files by way of coremltools' own messages and decompression.

Each class says its architecture in PyTorch's terms, layer by layer; only weights come from the file, by the name of the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coremltools.models.neural_network import quantization_utils as quantization
from coremltools.proto import Model_pb2
from torch import Tensor, nn
from torch.nn import functional

Function = Callable[[Tensor], Tensor]


class Weights:
    """The weights of a network, as tensors."""

    def __init__(self, path: Path) -> None:
        specification = Model_pb2.Model()
        specification.ParseFromString(path.read_bytes())
        network = getattr(specification, specification.WhichOneof("Type"))
        _restore_halves(network)
        quantization._quantize_nn_spec(network, None, "_dequantize_network", selector=_Convolutions())
        self.layers = {layer.name: getattr(layer, layer.WhichOneof("layer")) for layer in network.layers}

    def tensor(self, layer: str, field: str) -> Tensor:
        return torch.tensor(np.array(getattr(self.layers[layer], field).floatValue, np.float32))

    def convolution(self, layer: str, outputs: int, kernel: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Kernels [outputs, inputs / groups, *kernel] and the bias, if there is one."""
        bias = self.tensor(layer, "bias")
        return self.tensor(layer, "weights").reshape(outputs, -1, *kernel), bias if len(bias) else None


class _Convolutions(quantization.QuantizedLayerSelector):  # type: ignore[misc]
    """The layers that are quantized in the corpus; coremltools' decompression fails at others whose optional weights are missing."""

    def do_quantize(self, layer: Any, **_: Any) -> bool:
        return bool(layer.WhichOneof("layer") == "convolution")


def _restore_halves(network: Any) -> None:
    """Weights in half precision as float32, which coremltools' decompression leaves as they are."""
    for layer in network.layers:
        params = getattr(layer, layer.WhichOneof("layer"))
        for field, value in params.ListFields():
            if getattr(value, "float16Value", b""):
                values = np.frombuffer(value.float16Value, np.float16).astype(np.float32)
                getattr(params, field.name).Clear()
                getattr(params, field.name).floatValue.extend(values)


def same(x: Tensor, kernel: int, stride: int, dilation: int = 1) -> Tensor:
    """Zeros around x so that a window every ``stride`` pixels covers it, the odd one at the bottom and right, as TensorFlow pads."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)


class Mobile:
    """Depthwise and pointwise convolutions, each normalized and cut off, as MobileNets have them."""

    def __init__(self, weights: Weights, activation: Function, normalized: bool) -> None:
        self.weights = weights
        self.activation = activation
        self.normalized = normalized

    def unit(
        self, x: Tensor, name: str, kernel: int = 1, stride: int = 1, dilation: int = 1, depthwise: bool = False, below: bool = False
    ) -> Tensor:
        """Convolution, normalization (unless the file has it folded into the convolution) and activation.

        ``below``: pads one row and one column at the bottom and right, instead of what the size asks for.
        """
        weight, bias = self.weights.convolution(name, self.weights.layers[name].outputChannels, (kernel, kernel))
        groups = len(weight) if depthwise else 1
        x = functional.pad(x, (0, 1, 0, 1)) if below else same(x, kernel, stride, dilation)
        x = functional.conv2d(x, weight, bias, stride, dilation=dilation, groups=groups)
        if self.normalized:
            mean, variance, gamma, beta = (self.weights.tensor(f"{name}_bn", field) for field in ("mean", "variance", "gamma", "beta"))
            x = functional.batch_norm(x, mean, variance, gamma, beta, eps=self.weights.layers[f"{name}_bn"].epsilon)
        return self.activation(x)


def mnist(weights: Weights, image: Tensor) -> Tensor:
    """Three convolutions with pooling, two dense layers: probabilities of the ten digits."""
    x = image / 255
    for index, outputs in enumerate((16, 32, 64)):
        kernels, bias = weights.convolution(f"drawing_conv{index}_fwd", outputs, (3, 3))
        x = functional.max_pool2d(functional.conv2d(x, kernels, bias, padding=1).relu(), 2)
    x = x.flatten(1)
    for index, outputs in enumerate((128, 10)):
        matrix = weights.tensor(f"drawing_dense{index}_fwd", "weights").reshape(outputs, -1)
        x = functional.linear(x, matrix, weights.tensor(f"drawing_dense{index}_fwd", "bias"))
        x = x.relu() if index == 0 else x.softmax(1)
    return x


def find_four(weights: Weights, image: Tensor) -> Tensor:
    """A MobileNet that looks for groups of four digits on bank cards."""
    net = Mobile(weights, nn.ReLU6(), normalized=True)
    x = net.unit(image / 255, "conv1", 3, 2, below=True)
    for block in (1, 2, 3, 7, 8, 9, 10, 11, 12, 13):
        strided = block in (2, 12)
        x = net.unit(x, f"conv_dw_{block}", 3, 2 if strided else 1, depthwise=True, below=strided)
        x = net.unit(x, f"conv_pw_{block}")
    for name, kernel in (("resize1", (2, 2)), ("resize2", (2, 2)), ("resize3", (2, 2)), ("resize5", (1, 7))):
        x = functional.conv2d(x, *weights.convolution(name, 64, kernel))
    return functional.conv2d(x, *weights.convolution("conv_preds", 3, (1, 1))).softmax(1)


def waifu2x(weights: Weights, picture: Tensor) -> Tensor:
    """Six convolutions without padding, and a seventh, which doubles the size in the networks that enlarge."""
    x = picture
    for index in range(1, 7):
        name = f"conv{index}_layer"
        x = functional.conv2d(x, *weights.convolution(name, weights.layers[name].outputChannels, (3, 3)))
        x = functional.leaky_relu(x, 0.1)
    if weights.layers["conv7_layer"].isDeconvolution:
        kernels = weights.tensor("conv7_layer", "weights").reshape(x.shape[1], 3, 4, 4)
        return functional.conv_transpose2d(x, kernels, weights.tensor("conv7_layer", "bias"), stride=2, padding=3)
    return functional.conv2d(x, *weights.convolution("conv7_layer", 3, (3, 3)))


def pose(weights: Weights, image: Tensor, *, normalized: bool, last_dilation: int) -> dict[str, Tensor]:
    """A MobileNet whose last blocks are dilated instead of strided, with four heads."""
    net = Mobile(weights, nn.ReLU6(), normalized)
    x = net.unit(image / 255 - 0.5, "conv_0", 3, 2)
    for block in range(1, 14):
        stride = 2 if block in (2, 4) else 1
        dilation = last_dilation if block == 13 else 2 if block >= 7 else 1
        x = net.unit(x, f"block_{block}_dw", 3, stride, dilation, depthwise=True)
        x = net.unit(x, f"block_{block}_pw")
    heads = {"heatmap": "heatmap", "offsets": "offset", "displacements_fwd": "displacement_fwd", "displacements_bwd": "displacement_bwd"}
    results = {}
    for output, name in heads.items():
        bias = weights.tensor(f"{name}_conv", "bias")
        results[output] = functional.conv2d(x, weights.tensor(f"{name}_conv", "weights").reshape(len(bias), -1, 1, 1), bias)
    return results | {"heatmap": results["heatmap"].sigmoid()}


def segmentation(weights: Weights, image: Tensor) -> Tensor:
    """A MobileNet encoder, and a decoder that doubles the size five times and adds what the encoder had at that size."""
    net = Mobile(weights, functional.relu, normalized=False)
    x = net.unit(image / 255 - 0.5, "conv1", 3, 2)
    levels = {}
    for block in range(1, 14):
        x = net.unit(x, f"conv_dw_{block}", 3, 2 if block in (2, 4, 6, 12) else 1, depthwise=True)
        levels[block] = x = net.unit(x, f"conv_pw_{block}")
    beside = {1: 11, 2: 5, 3: 3, 4: 1}
    for step in range(1, 6):
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if step in beside:
            x = x + net.unit(levels[beside[step]], f"decoder_conv_pw_{step}")
        kernels, _ = weights.convolution(f"decoder_conv_dw_{step}_step_1", x.shape[1], (3, 3))
        x = functional.conv2d(x, kernels, padding=1, groups=x.shape[1])
        x = net.unit(x, f"decoder_conv_dw_{step}_step_2")
    return functional.conv2d(x, *weights.convolution("decoder_conv2d_1", 2, (1, 1))).softmax(1)


def style_transfer(weights: Weights, image: Tensor) -> Tensor:
    """Convolutions down, five residual blocks, nearest-neighbour upsampling; every convolution is followed by instance normalization."""
    sizes = iter(range(1, 17))

    def unit(x: Tensor, outputs: int, kernel: int = 3, stride: int = 1) -> Tensor:
        index = next(sizes)
        kernels, _ = weights.convolution(f"conv2d_{index}", outputs, (kernel, kernel))
        x = functional.conv2d(same(x, kernel, stride), kernels, stride=stride)
        gamma, beta = (weights.tensor(f"instance_normalization_{index}", field) for field in ("gamma", "beta"))
        return functional.instance_norm(x, weight=gamma, bias=beta, eps=1e-3)

    x = unit(image, 8, 9).relu()
    x = unit(unit(x, 16, 3, 2).relu(), 32, 3, 2).relu()
    for _ in range(5):
        x = x + unit(unit(x, 32).relu(), 32)
    for outputs in (16, 8):
        x = unit(functional.interpolate(x, scale_factor=2, mode="nearest"), outputs).relu()
    x = torch.tanh(unit(x, 3, 9))
    scale, bias = (weights.tensor("deprocess_stylized_image_1", field) for field in ("scale", "bias"))
    return x * scale[:, None, None] + bias[:, None, None]
