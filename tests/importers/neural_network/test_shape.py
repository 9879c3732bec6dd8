"""Layers that move data, beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.importers.neural_network.networks import both, check, noise, run

X = noise(4, 3, 6, 8, 10)
"""Sequence, batch, channels, height, width."""


def test_a_constant_has_five_axes() -> None:
    data = noise(2, 3, 4)

    def build(builder: Any) -> None:
        builder.add_load_constant("k", "k", data, [2, 3, 4])
        builder.add_elementwise("e", ["x", "k"], "y", "ADD")

    x = noise(2, 3, 4)
    check({"x": x}, build, x + data)
    check({"x": x}, build, (x + data)[None, None], exact=True)


@pytest.mark.parametrize("target", [(48, 5, 2), (480, 1, 1), (6, -1, 1)])
def test_reshape_keeps_the_sequence(target: tuple[int, ...]) -> None:
    check({"x": X}, lambda builder: builder.add_reshape("r", "x", "y", target, 0), X.reshape(4, 3, *target))


@pytest.mark.parametrize("target", [(2, 12, 8, 10), (-1, 6, 8, 5)])
def test_reshape_with_a_new_sequence(target: tuple[int, ...]) -> None:
    """For every element of the batch on its own."""
    expected = np.stack([X[:, i].reshape(target) for i in range(3)], 1)
    check({"x": X}, lambda builder: builder.add_reshape("r", "x", "y", target, 0), expected)
    check({"x": X[:, :1]}, lambda builder: builder.add_reshape("r", "x", "y", target, 0), expected[:, :1])


def channels_last(x: Any) -> Any:
    return np.moveaxis(x, -3, -1)


def test_reshape_with_channels_changing_fastest() -> None:
    rows = channels_last(X).reshape(4, 3, 4, 5, 24)
    check({"x": X}, lambda builder: builder.add_reshape("r", "x", "y", (24, 4, 5), 1), np.moveaxis(rows, -1, -3))
    rows = channels_last(X[:, :1]).reshape(2, 1, 4, 10, 24)
    check({"x": X[:, :1]}, lambda builder: builder.add_reshape("r", "x", "y", (2, 24, 4, 10), 1), np.moveaxis(rows, -1, -3))


@pytest.mark.parametrize("mode", [0, 1])
def test_flatten(mode: int) -> None:
    image = X[:, 0]
    expected = (channels_last(image) if mode else image).reshape(4, -1, 1, 1)
    both(np.ascontiguousarray(image), lambda builder: builder.add_flatten("f", mode, "x", "y"), expected)
    check({"x": X}, lambda builder: builder.add_flatten("f", mode, "x", "y"), (channels_last(X) if mode else X).reshape(4, 3, -1, 1, 1))


@pytest.mark.parametrize(
    ("order", "shape"), [((0, 3, 1, 2), (4, 3, 10, 6, 8)), ((3, 1, 2, 0), (10, 3, 6, 8, 4)), ((0, 3, 2, 1), (4, 3, 10, 8, 6))]
)
def test_permute(order: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """The shapes are the format's own examples."""
    (result,) = run({"x": X}, lambda builder: builder.add_permute("p", order, "x", "y"))
    assert result.shape == shape
    expected = np.stack([X[:, i].transpose(order) for i in range(3)], 1)
    np.testing.assert_array_equal(result, expected)


def test_concatenate_channels_and_sequences() -> None:
    a, b = noise(2, 1, 3, 4, 5), noise(2, 1, 6, 4, 5)
    given = {"a": a, "b": b}
    check(given, lambda builder: builder.add_elementwise("c", ["a", "b"], "y", "CONCAT"), np.concatenate([a, b], 2))
    check(
        {"a": a[0], "b": b[0]},
        lambda builder: builder.add_elementwise("c", ["a", "b"], "y", "CONCAT"),
        np.concatenate([a, b], 2)[0],
        exact=True,
    )
    b = noise(5, 1, 3, 4, 5)
    check({"a": a, "b": b}, lambda builder: builder.add_elementwise("c", ["a", "b"], "y", "SEQUENCE_CONCAT"), np.concatenate([a, b], 0))


def test_split() -> None:
    parts = run({"x": X}, lambda builder: builder.add_split("s", "x", ["a", "b", "c"]), ("a", "b", "c"))
    for part, expected in zip(parts, np.split(X, 3, 2), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_sequence_repeat() -> None:
    check({"x": X}, lambda builder: builder.add_sequence_repeat("r", 3, "x", "y"), np.concatenate([X, X, X]))
    check({"x": X}, lambda builder: builder.add_sequence_repeat("r", 0, "x", "y"), X)


EXAMPLE = np.arange(1, 17, dtype=np.float32).reshape(8, 1, 2)
SPREAD = np.array([[[1, 5, 2, 6], [9, 13, 10, 14]], [[3, 7, 4, 8], [11, 15, 12, 16]]], np.float32)
"""The format's own example of DEPTH_TO_SPACE."""


def reorganized(mode: str, block: int) -> Any:
    return lambda builder: builder.add_reorganize_data("r", "x", "y", mode, block)


def test_depth_to_space_and_back() -> None:
    check({"x": EXAMPLE}, reorganized("DEPTH_TO_SPACE", 2), SPREAD, exact=True)
    check({"x": SPREAD}, reorganized("SPACE_TO_DEPTH", 2), EXAMPLE)


def test_pixel_shuffle() -> None:
    x = noise(3, 18, 2, 4)
    both(x, reorganized("PIXEL_SHUFFLE", 3), torch.pixel_shuffle(torch.tensor(x), 3))


@pytest.mark.parametrize("axis", ["channel", "height", "width"])
@pytest.mark.parametrize(("begin", "end", "stride"), [(1, 5, 1), (0, -1, 2), (-4, -1, 1), (2, 100, 3)])
def test_slice(axis: str, begin: int, end: int, stride: int) -> None:
    index = [slice(None)] * 4
    index[("channel", "height", "width").index(axis) + 1] = slice(begin, end, stride)
    x = np.ascontiguousarray(X[:, 0])

    def build(builder: Any) -> None:
        builder.add_slice("s", "x", "y", axis, max(0, begin), end, stride).slice.startIndex = begin

    both(x, build, x[tuple(index)])
