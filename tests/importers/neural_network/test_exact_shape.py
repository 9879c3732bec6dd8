"""Layers that move the elements of exact arrays, beside NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from moka.errors import ProgramError
from tests.importers.neural_network.networks import Build, built, check, loaded, noise, run

X = noise(2, 3, 4)


def vector(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def test_shape_of_a_blob() -> None:
    check({"x": X}, lambda builder: builder.add_get_shape("s", "x", "y"), X.shape, exact=True)


@pytest.mark.parametrize("shape", [(4, 6), (-1, 3), (24,), (1, 2, -1, 2)])
def test_reshape_to_a_stated_shape(shape: tuple[int, ...]) -> None:
    check({"x": X}, lambda builder: builder.add_reshape_static("r", "x", "y", shape), X.reshape(shape), exact=True)


def test_reshape_to_the_shape_of_a_blob() -> None:
    reference = noise(6, 4)
    check({"x": X, "r": reference}, lambda builder: builder.add_reshape_like("r", ["x", "r"], "y"), X.reshape(6, 4), exact=True)


def test_reshape_to_a_computed_shape() -> None:
    check({"x": X, "s": vector(3, -1)}, lambda builder: builder.add_reshape_dynamic("r", ["x", "s"], "y"), X.reshape(3, 8), exact=True)


def test_reshape_that_keeps_axes() -> None:
    expected = X.reshape(2, 6, 2)
    check({"x": X}, lambda builder: builder.add_rank_preserving_reshape("r", "x", "y", (0, -1, 2)), expected, exact=True)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [((1, 3, 1), [0], (3, 1)), ((1, 3, 1), [-1, 0], (3,)), ((1,), [0], (1,)), ((1, 3, 1, 2), None, (3, 2)), ((1, 1), None, (1,))],
)
def test_squeeze(shape: tuple[int, ...], axes: list[int] | None, expected: tuple[int, ...]) -> None:
    x = noise(*shape)
    check({"x": x}, lambda builder: builder.add_squeeze("s", "x", "y", axes, axes is None), x.reshape(expected), exact=True)


@pytest.mark.parametrize("axes", [[0], [0, 2], [-1, -2]])
def test_expand_dims(axes: list[int]) -> None:
    expected = np.expand_dims(X, tuple(axes))
    check({"x": X}, lambda builder: builder.add_expand_dims("e", "x", "y", axes), expected, exact=True)


@pytest.mark.parametrize(("axis", "expected"), [(0, (1, 24)), (1, (2, 12)), (-1, (6, 4)), (-2, (2, 12))])
def test_flatten_to_2d(axis: int, expected: tuple[int, int]) -> None:
    check({"x": X}, lambda builder: builder.add_flatten_to_2d("f", "x", "y", axis), X.reshape(expected), exact=True)


def test_transpose() -> None:
    check({"x": X}, lambda builder: builder.add_transpose("t", [2, 0, 1], "x", "y"), X.transpose(2, 0, 1), exact=True)


@pytest.mark.parametrize("reps", [(2, 1, 3), (2,), (3, 2)])
def test_tile(reps: tuple[int, ...]) -> None:
    check({"x": X}, lambda builder: builder.add_tile("t", "x", "y", reps), np.tile(X, reps), exact=True)


@pytest.mark.parametrize("reps", [(1, 2, 3), (3, 2)])
def test_tile_by_a_blob(reps: tuple[int, ...]) -> None:
    check({"x": X, "r": vector(*reps)}, lambda builder: builder.add_tile("t", ["x", "r"], "y"), np.tile(X, reps), exact=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack(axis: int) -> None:
    other = noise(2, 3, 4)
    expected = np.stack([X, other], axis)
    check({"a": X, "b": other}, lambda builder: builder.add_stack("s", ["a", "b"], "y", axis), expected, exact=True)


def test_concat() -> None:
    other = noise(2, 1, 4)
    expected = np.concatenate([X, other], 1)
    check({"a": X, "b": other}, lambda builder: builder.add_concat_nd("c", ["a", "b"], "y", 1), expected, exact=True)


def test_concat_in_turns() -> None:
    other = noise(2, 3, 4)
    expected = torch.stack([torch.tensor(X), torch.tensor(other)], 2).flatten(1, 2)
    check({"a": X, "b": other}, lambda builder: builder.add_concat_nd("c", ["a", "b"], "y", -2, interleave=True), expected, exact=True)


@pytest.mark.parametrize(("axis", "sizes"), [(1, [1, 2]), (-1, [1, 1, 2]), (2, None)])
def test_split(axis: int, sizes: list[int] | None) -> None:
    count = len(sizes) if sizes else 2
    names = [f"y{i}" for i in range(count)]
    results = run({"x": X}, lambda builder: builder.add_split_nd("s", "x", names, axis, count, sizes), names, exact=True)
    for result, expected in zip(results, np.split(X, np.cumsum(sizes)[:-1] if sizes else 2, axis), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_split_that_leaves_a_rest() -> None:
    x, names = noise(8, 2), ["a", "b", "c"]
    results = run({"x": x}, lambda builder: builder.add_split_nd("s", "x", names, 0, 3), names, exact=True)
    for result, expected in zip(results, np.array_split(x, 3), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("axis", "size", "step"), [(0, 2, 1), (1, 2, 3), (-1, 3, 2)])
def test_sliding_windows(axis: int, size: int, step: int) -> None:
    x = noise(7, 8, 9)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    expected = np.moveaxis(windows, -1, axis % 3 + 1)
    expected = expected[(slice(None),) * (axis % 3) + (slice(None, None, step),)]
    check({"x": x}, lambda builder: builder.add_sliding_windows("s", "x", "y", axis, size, step), expected, exact=True)


@pytest.mark.parametrize("flags", [(True, False, True), (False, False, False)])
def test_reverse(flags: tuple[bool, ...]) -> None:
    expected = np.flip(X, [axis for axis, flag in enumerate(flags) if flag])
    check({"x": X}, lambda builder: builder.add_reverse("r", "x", "y", flags), expected, exact=True)


def test_reverse_sequences() -> None:
    x = noise(3, 5, 2)
    expected = np.stack([np.concatenate([row[:length][::-1], row[length:]]) for row, length in zip(x, (4, 0, 5), strict=True)])
    inputs = {"x": x, "l": vector(4, 0, 5)}
    check(inputs, lambda builder: builder.add_reverse_sequence("r", ["x", "l"], "y", 0, 1), expected, exact=True)


SLICES: list[tuple[dict[str, list[Any]], Any]] = [
    ({"begin": [0, 1, -3], "end": [2, 3, -1], "strides": [1, 1, 1]}, np.s_[0:2, 1:3, -3:-1]),
    ({"begin": [1, -1, 3], "end": [0, 0, 0], "strides": [-1, -2, -1], "end_masks": [True, False, True]}, np.s_[1::-1, -1:0:-2, 3::-1]),
    ({"begin": [0, 2, 1], "end": [9, 9, 9], "strides": [1, 1, 2], "begin_masks": [True, False, True]}, np.s_[:, 2:, ::2]),
    ({"begin": [0, 2, -1], "end": [2, 0, 0], "strides": [1, 1, 1], "squeeze_masks": [False, True, True]}, np.s_[0:2, 2, -1]),
]


def masks(settings: dict[str, list[Any]]) -> dict[str, list[bool]]:
    return {name: settings.get(name, [False] * 3) for name in ("begin_masks", "end_masks", "squeeze_masks")}


@pytest.mark.parametrize(("settings", "index"), SLICES, ids=["plain", "backwards", "open", "squeezed"])
def test_static_slice(settings: dict[str, list[Any]], index: Any) -> None:
    def build(builder: Any) -> None:
        builder.add_slice_static("s", "x", "y", settings["begin"], settings["end"], settings["strides"], **masks(settings))

    check({"x": X}, build, X[index], exact=True)


def dynamic(settings: dict[str, list[Any]], names: list[str]) -> Build:
    """A dynamic slice that reads the settings in ``names`` from blobs and the others from its parameters."""
    stated = {"end_ids": settings["end"], "strides": settings["strides"], **masks(settings)}
    return lambda builder: builder.add_slice_dynamic("s", ["x", *names], "y", **stated)


@pytest.mark.parametrize(("settings", "index"), SLICES, ids=["plain", "backwards", "open", "squeezed"])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_dynamic_slice(settings: dict[str, list[Any]], index: Any, count: int) -> None:
    numbers = {name: settings[name] for name in ("begin", "end", "strides")} | masks(settings)
    blobs = {name: vector(*numbers[name]) for name in list(numbers)[:count]}
    check({"x": X, **blobs}, dynamic(settings, list(blobs)), X[index], exact=True)


def test_dynamic_slice_without_parameters_takes_the_first() -> None:
    inputs = {"x": X, "b": vector(0, 0, 0)}
    check(inputs, lambda builder: builder.add_slice_dynamic("s", ["x", "b"], "y"), X[:1, :1, :1], exact=True)


def test_slice_of_a_computed_part_is_the_input_of_more() -> None:
    def build(builder: Any) -> None:
        builder.add_slice_dynamic("s", ["x", "b"], "part", [9] * 3, [1] * 3, end_masks=[True] * 3)
        builder.add_reduce_sum("r", "part", "sums", [0], False)
        builder.add_transpose("t", [1, 0], "sums", "flipped")
        builder.add_get_shape("n", "flipped", "shape")
        builder.add_fill_dynamic("f", "shape", "filled", 2.0)
        builder.add_concat_nd("c", ["flipped", "filled"], "y", 0)

    flipped = X[1:, 0:, 1:].sum(0).T
    check({"x": X, "b": vector(1, 0, 1)}, build, np.concatenate([flipped, np.full_like(flipped, 2)]), exact=True)


def test_pad() -> None:
    expected = np.pad(X, [(1, 0), (0, 2), (3, 1)], constant_values=-2.5)
    check({"x": X}, lambda builder: builder.add_constant_pad("p", ["x"], "y", -2.5, False, [1, 0, 0, 2, 3, 1]), expected, exact=True)


def test_pad_by_a_blob() -> None:
    inputs = {"x": X, "p": vector(1, 0, 0, 2, 3, 1)}
    check(inputs, lambda builder: builder.add_constant_pad("p", ["x", "p"], "y"), np.pad(X, [(1, 0), (0, 2), (3, 1)]), exact=True)


SIZES, PADS = [0, 5, 7, 0, 3, 0], [(0, 3), (4, 0), (0, 0)]


def test_pad_to_a_size() -> None:
    check(
        {"x": X},
        lambda builder: builder.add_constant_pad("p", ["x"], "y", 1.0, True, SIZES),
        np.pad(X, PADS, constant_values=1),
        exact=True,
    )


def test_pad_to_a_size_from_a_blob() -> None:
    inputs = {"x": X, "p": vector(*SIZES)}
    check(inputs, lambda builder: builder.add_constant_pad("p", ["x", "p"], "y", 0.0, True), np.pad(X, PADS), exact=True)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda builder: builder.add_tile("t", "x", "y", (1, 1, 1, 2)), "reps has 4 entries; expected at most 3"),
        (lambda builder: builder.add_reverse("r", "x", "y", (True,)), "reverseDim has 1 entries; expected 3"),
        (lambda builder: builder.add_reshape_static("r", "x", "y", (5, 5)), r"'r' \(reshapeStatic\).*shape '\[5, 5\]' is invalid"),
    ],
    ids=["tile", "reverse", "reshape"],
)
def test_wrong_parameters_are_refused(build: Build, expected: str) -> None:
    with pytest.raises(ProgramError, match=expected):
        loaded(built({"x": X.shape}, build, exact=True))


def test_older_layers_take_blobs_whose_sizes_data_decides() -> None:
    def build(builder: Any) -> None:
        builder.add_where_nonzero("w", "x", "places")
        builder.add_elementwise("twice", ["places", "places"], "sum", "ADD")
        builder.add_expand_dims("e", "sum", "image", [0])
        builder.add_elementwise("c", ["image", "image"], "two", "CONCAT")
        builder.add_slice("s", "two", "y", "width", 1, 3)

    x = np.array([[[1, 0, 2], [0, 0, -3]]], np.float32)
    places = 2 * np.argwhere(x)[None]
    check({"x": x}, build, np.concatenate([places, places])[:, :, 1:3], exact=True)


@pytest.mark.parametrize("axes", [[0], [-1], [0, 1]])
def test_scalars_have_the_axes_that_they_are_given(axes: list[int]) -> None:
    """As coremltools writes the index of a dynamic slice: with no axis left it counts on one for each that is put in."""

    def build(builder: Any) -> None:
        builder.add_slice_static("s", "x", "one", [0, 2, 1], [0] * 3, [1] * 3, [False] * 3, [False] * 3, [True] * 3)
        builder.add_squeeze("q", "v", "two", squeeze_all=True)
        builder.add_reduce_sum("r", "x", "all", None, False, True)
        builder.add_argmax("a", "w", "largest", axis=0, keepdims=False)
        for name in ("one", "two", "all", "largest"):
            builder.add_expand_dims(f"e_{name}", name, f"{name}_1", axes)
        builder.add_concat_nd("c", ["one_1", "two_1", "all_1", "largest_1"], "y", 0)

    expected = np.array([X[0, 2, 1], 3, X.sum(), 2]).reshape(4, *[1] * (len(axes) - 1))
    check({"x": X, "v": np.full((1, 1, 1), 3, np.float32), "w": np.float32([1, 5, 7, 2])}, build, expected, exact=True)


def test_blobs_have_one_axis_at_least() -> None:
    def build(builder: Any) -> None:
        builder.add_slice_static("s", "x", "one", [0, 2, 1], [0] * 3, [1] * 3, [False] * 3, [False] * 3, [True] * 3)
        builder.add_reduce_sum("r", "x", "all", None, False, True)
        builder.add_concat_nd("c", ["one", "all", "v"], "y", 0)

    check({"x": X, "v": vector(3)}, build, [X[0, 2, 1], X.sum(), 3], exact=True)
