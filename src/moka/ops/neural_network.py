"""What layers of neural networks do and no operation of MIL does: no file has these operations, Moka's importer of networks emits them."""

from __future__ import annotations

import torch
from torch import Tensor

from moka.ops._elementwise import unary
from moka.ops.table import FLOATS, Ints, T, operation
from moka.ops.tensor_operation import non_maximum_suppression

nn_asinh = unary("nn_asinh", torch.asinh, "Inverse hyperbolic sine.")
nn_acosh = unary("nn_acosh", torch.acosh, "Inverse hyperbolic cosine; NaN below 1.")


@operation("ios15", T=FLOATS)
def nn_broadcast_to(x: T, *, shape: Ints) -> T:
    """The tensor in a shape that it broadcasts to."""
    return x.expand(shape).contiguous()


@operation("ios15", T=FLOATS)
def nn_lower_triangle(x: T, *, k: int = 0) -> T:
    """The innermost matrices with zeros above diagonal k, which lies above the main one if k is positive."""
    return torch.tril(x, k)


@operation("ios15", T=FLOATS)
def nn_upper_triangle(x: T, *, k: int = 0) -> T:
    """The innermost matrices with zeros below diagonal k, which lies above the main one if k is positive."""
    return torch.triu(x, k)


@operation("ios15", T=FLOATS)
def nn_non_maximum_suppression(
    boxes: T, scores: T, *, iou_threshold: float, score_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[T, T, Tensor, Tensor]:
    """`non_maximum_suppression` as it is before iOS 17: boxes (n, B, 4), scores (n, B, K), a least score, and the number of boxes."""
    return non_maximum_suppression(
        boxes,
        scores,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        max_boxes=max_boxes,
        per_class_suppression=per_class_suppression,
    )
