"""What layers of images share: blobs of any rank as batches of images and back, and padding."""

from __future__ import annotations

import math
from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.ir.program import Value

__all__ = ["as_images", "borders", "like_images", "pair", "window_padding"]


def as_images(net: NetworkBuilder, x: Value) -> Value:
    """A blob as [batch, channels, height, width]: all axes before the last three are batch, and missing ones are 1."""
    rank = net.rank(x)
    if rank == 4:
        return x
    if rank < 4:
        return net.emit("expand_dims", x=x, axes=list(range(4 - rank)))
    shape = net.static_shape(x)
    if rank == 5 and shape[0] == 1:
        return net.emit("squeeze", x=x, axes=[0])
    return net.emit("reshape", x=x, shape=[math.prod(shape[:-3]), *shape[-3:]])


def like_images(net: NetworkBuilder, images: Value, x: Value) -> Value:
    """The reverse of `as_images`: images with the leading axes of ``x``, which they were made of."""
    rank = net.rank(x)
    if rank == 4:
        return images
    if rank < 4:
        return net.emit("squeeze", x=images, axes=list(range(4 - rank)))
    leading = net.static_shape(x)[:-3]
    if rank == 5 and leading[0] == 1:
        return net.emit("expand_dims", x=images, axes=[0])
    return net.emit("reshape", x=images, shape=[*leading, *net.static_shape(images)[1:]])


def pair(net: NetworkBuilder, values: Any, default: int, field: str) -> list[int]:
    """A field with a number for height and one for width, or its default where it is empty."""
    numbers = list(values) or [default, default]
    if len(numbers) != 2:
        raise ProgramError(f"{net.origin}: {field} has {len(numbers)} entries; expected 2, height and width")
    return numbers


def borders(net: NetworkBuilder, message: Any, field: str) -> list[int]:
    """A ``BorderAmounts`` message as [top, bottom, left, right]; zeros where it is empty."""
    edges = message.borderAmounts
    if len(edges) not in (0, 2):
        raise ProgramError(f"{net.origin}: {field} has {len(edges)} borderAmounts; expected 2, height and width")
    return [size for edge in edges for size in (edge.startEdgeSize, edge.endEdgeSize)] or [0, 0, 0, 0]


def window_padding(net: NetworkBuilder, params: Any, oneof: str) -> dict[str, Any]:
    """The padding of convolution and pooling as MIL states it."""
    kind = params.WhichOneof(oneof)
    if kind == "same":
        return {"pad_type": "same_lower" if params.same.asymmetryMode == 1 else "same"}
    if kind == "valid":
        amounts = borders(net, params.valid.paddingAmounts, "valid.paddingAmounts")
        return {"pad_type": "custom", "pad": amounts} if any(amounts) else {"pad_type": "valid"}
    raise ProgramError(f"{net.origin}: {oneof} is not set; expected valid or same")
