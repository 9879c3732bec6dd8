"""Normalization: over a batch's statistics, a channel's, a layer's, or neighbouring channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from moka.ops.table import FLOATS, Ints, T, U, operation


def _like(x: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A parameter in the dtype of ``x``, from which its own may differ."""
    return None if parameter is None else parameter.to(x.dtype)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def batch_norm(x: T, mean: U, variance: U, gamma: U | None = None, beta: U | None = None, *, epsilon: float = 1e-5) -> T:
    """Normalizes each channel with given statistics: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    x: [n, c, *d]; mean, variance, gamma, beta: [c].
    """
    statistics = mean.to(x.dtype), variance.to(x.dtype)
    return torch.batch_norm(x, _like(x, gamma), _like(x, beta), *statistics, False, 0.0, epsilon, torch.backends.cudnn.enabled)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def instance_norm(x: T, gamma: U | None = None, beta: U | None = None, *, epsilon: float = 1e-5) -> T:
    """Normalizes each channel of each sample with its own mean and variance over the spatial dimensions, then scales and shifts it.

    x: [n, c, *d]; gamma, beta: [c].
    """
    return torch.instance_norm(x, _like(x, gamma), _like(x, beta), None, None, True, 0.0, epsilon, torch.backends.cudnn.enabled)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def l2_norm(x: T, *, epsilon: float = 1e-6) -> T:
    """Divides by the Euclidean norm over the last three dimensions: x / sqrt(sum(x ** 2) + epsilon).

    The sum is taken in at least fp32, so that it does not overflow where x itself is fp16.
    """
    wide = x.float()
    return (wide * (wide.square().sum((-3, -2, -1), keepdim=True) + epsilon).rsqrt()).to(x.dtype)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def layer_norm(x: T, gamma: U | None = None, beta: U | None = None, *, axes: Ints | None = None, epsilon: float = 1e-5) -> T:
    """Normalizes over `axes` (default: all) with the mean and variance found there: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    gamma and beta have the sizes of x along `axes`, in the order of x's dimensions.
    """
    last = x.dim()
    dims = list(range(last)) if axes is None else sorted(axis % last for axis in axes)
    trailing = list(range(last - len(dims), last))
    if dims != trailing:
        x = x.movedim(dims, trailing)
    result = functional.layer_norm(x, x.shape[last - len(dims) :], _like(x, gamma), _like(x, beta), epsilon)
    return result if dims == trailing else result.movedim(trailing, dims)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def local_response_norm(x: T, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> T:
    """Divides each element by a power of the energy of `size` neighbouring channels: x / (k + alpha / size * sum(x_j ** 2)) ** beta.

    Channels are the third axis from the end, at rank 3 too (the values in coremltools' own test show it), where Core ML's engine has them;
    those outside x count as zeros. Squares are taken in fp32.
    """
    planes = x.float().unsqueeze(0) if x.dim() == 3 else x.float().movedim(-3, 1)
    normalized = functional.local_response_norm(planes, size, alpha, beta, k).to(x.dtype)
    return normalized.squeeze(0) if x.dim() == 3 else normalized.movedim(1, -3)
