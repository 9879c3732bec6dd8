"""Normalization: over a batch's statistics, a channel's, a layer's, or neighbouring channels."""

from __future__ import annotations

import torch
from torch.nn import functional

from moka.ops._common import like, memoized
from moka.ops.table import FLOATS, Ints, T, U, operation


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def batch_norm(x: T, mean: U, variance: U, gamma: U | None = None, beta: U | None = None, *, epsilon: float = 1e-5) -> T:
    """Normalizes each channel with given statistics: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    x: [n, c, *d]; mean, variance, gamma, beta: [c].
    """
    return torch.batch_norm(x, like(x, gamma), like(x, beta), like(x, mean), like(x, variance), False, 0.0, epsilon, True)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def instance_norm(x: T, gamma: U | None = None, beta: U | None = None, *, epsilon: float = 1e-5) -> T:
    """Normalizes each channel of each sample with its own mean and variance over the spatial dimensions, then scales and shifts it.

    x: [n, c, *d]; gamma, beta: [c].
    """
    return torch.instance_norm(x, like(x, gamma), like(x, beta), None, None, True, 0.0, epsilon, True)


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
    count, dims, trailing = _normalized_dims(axes, x.dim())
    if dims != trailing:
        x = x.movedim(dims, trailing)
    result = torch.layer_norm(x, x.shape[x.dim() - count :], like(x, gamma), like(x, beta), epsilon)
    return result if dims == trailing else result.movedim(trailing, dims)


@memoized
def _normalized_dims(axes: Ints | None, rank: int) -> tuple[int, Ints, Ints]:
    """How many dimensions are normalized, which, and the last ones, where PyTorch wants them."""
    dims = tuple(range(rank)) if axes is None else tuple(sorted(axis % rank for axis in axes))
    return len(dims), dims, tuple(range(rank - len(dims), rank))


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
