"""States of several rows, taken apart where every operation is about one row: the same results and contents as NumPy's, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

import moka
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.passes.rows import row_count, split_states

SHAPE = (3, 2, 4, 5)
Array = np.ndarray[Any, Any]
Build = Callable[[Any, Any, Any], Any]
ENGINES = ("torch", "onnxruntime", "openvino")


def position(row: int, at: Any) -> tuple[Any, Any]:
    """Where [row, :, at, :] begins and ends, computed while the program runs."""
    after = mb.add(x=at, y=np.array([1], np.int32))
    begin = mb.concat(values=[np.array([row], np.int32), np.array([0], np.int32), at, np.array([0], np.int32)], axis=0)
    end = mb.concat(values=[np.array([row + 1], np.int32), np.array([2], np.int32), after, np.array([5], np.int32)], axis=0)
    return begin, end


def squeezed(x: Any, at: Any, cache: Any) -> Any:
    """As PyTorch's cache[1, :, at:at+1] = x; cache[2, :, at:at+1] = 2 x is converted; gives cache[1] + cache[0]."""
    begin, end = position(1, at)
    held = mb.read_state(input=cache)
    new = mb.slice_update(x=held, update=x, begin=begin, end=end, squeeze_mask=[True, False, False, False])
    first = mb.coreml_update_state(state=cache, value=new)
    given = mb.slice_by_index(x=first, begin=[1, 0, 0, 0], end=[2, 2, 4, 5], squeeze_mask=[True, False, False, False])
    begin, end = position(2, at)
    twice = mb.mul(x=x, y=np.float16(2))
    new = mb.slice_update(x=first, update=twice, begin=begin, end=end, squeeze_mask=[True, False, False, False])
    mb.coreml_update_state(state=cache, value=new)
    return mb.add(x=given, y=mb.slice_by_index(x=held, begin=[0, 0, 0, 0], end=[1, 2, 4, 5], squeeze_mask=[True, False, False, False]))


def kept(x: Any, at: Any, cache: Any) -> Any:
    """Rows as axes of size 1, counted from the end; two updates of one row before it is written; what was read before stays as it was."""
    before = new = mb.read_state(input=cache)
    update = mb.expand_dims(x=x, axes=[0])
    for row in range(3):
        begin, end = position(row, at)
        new = mb.slice_update(x=new, update=update, begin=begin, end=end)
    update = mb.add(x=update, y=np.float16(1))
    new = mb.slice_update(x=new, update=update, begin=[-2, 0, 3, 0], end=[2, 2, 4, 5], end_mask=[False, True, True, True])
    after = mb.coreml_update_state(state=cache, value=new)
    old = mb.slice_by_index(x=before, begin=[1, 0, 0, 0], end=[2, 2, 4, 5])
    now = mb.slice_by_index(x=after, begin=[-2, 0, 0, 0], end=[2, 2, 4, 5])
    return mb.concat(values=[old, now], axis=0)


def whole(x: Any, at: Any, cache: Any) -> Any:
    """A row that is replaced, and a sum of all rows, for which the state has to be whole."""
    begin, end = position(0, at)
    new = mb.slice_update(x=mb.read_state(input=cache), update=mb.expand_dims(x=x, axes=[0]), begin=begin, end=end)
    after = mb.coreml_update_state(state=cache, value=new)
    return mb.reduce_sum(x=after, axes=[0], keep_dims=False)


def two_rows(x: Any, at: Any, cache: Any) -> Any:
    """A slice of two rows."""
    held = mb.slice_by_index(x=mb.read_state(input=cache), begin=[0, 0, 0, 0], end=[2, 2, 4, 5])
    begin, end = position(0, at)
    new = mb.slice_update(x=mb.read_state(input=cache), update=mb.expand_dims(x=x, axes=[0]), begin=begin, end=end)
    mb.coreml_update_state(state=cache, value=new)
    return mb.add(x=held, y=np.float16(0))


def numpy_squeezed(cache: Array, x: Array, at: int) -> Array:
    cache[1, :, at : at + 1] = x
    cache[2, :, at : at + 1] = 2 * x
    return cache[1] + cache[0]


def numpy_kept(cache: Array, x: Array, at: int) -> Array:
    before = cache[1:2].copy()
    cache[:, :, at : at + 1] = x
    cache[1, :, 3:4] = x + 1
    return np.concatenate([before, cache[1:2]])


def numpy_whole(cache: Array, x: Array, at: int) -> Array:
    cache[0, :, at : at + 1] = x
    return cache.sum(0)


def numpy_two_rows(cache: Array, x: Array, at: int) -> Array:
    before = cache[:2].copy()
    cache[0, :, at : at + 1] = x
    return before


PROGRAMS: dict[str, tuple[Build, Callable[[Array, Array, int], Array], bool]] = {
    "squeezed": (squeezed, numpy_squeezed, True),
    "kept": (kept, numpy_kept, True),
    "whole": (whole, numpy_whole, False),
    "two rows": (two_rows, numpy_two_rows, False),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    build = PROGRAMS[request.param][0]
    specs = [
        mb.TensorSpec((2, 1, 5), dtype=types.fp16),
        mb.TensorSpec((1,), dtype=types.int32),
        mb.StateTensorSpec(SHAPE, dtype=types.fp16),
    ]
    made = mb.program(input_specs=specs, opset_version=ct.target.iOS18)(lambda x, at, cache: build(x, at, cache))
    path = tmp_path_factory.mktemp("rows") / "rows.mlpackage"
    ct.convert(made, minimum_deployment_target=ct.target.iOS18, skip_model_load=True).save(str(path))
    return request.param, path


@pytest.mark.parametrize("engine", ENGINES)
def test_results_and_contents_are_those_of_numpy(engine: Any, program: tuple[str, Path]) -> None:
    name, path = program
    model = moka.load(path, engine=engine)
    state, reference = model.make_state(), np.zeros(SHAPE, np.float32)
    random = np.random.default_rng(0)
    for at in (0, 2, 3, 1, 2):
        x = random.integers(-8, 8, (2, 1, 5)).astype(np.float16)
        (found,) = model.predict({"x": x, "at": np.array([at], np.int32)}, state).values()
        np.testing.assert_array_equal(found, PROGRAMS[name][1](reference, x, at))
        np.testing.assert_array_equal(state.read_state("cache"), reference)
    reference[:] = random.integers(-8, 8, SHAPE)
    state.write_state("cache", reference)
    np.testing.assert_array_equal(state.read_state("cache"), reference)
    other = model.make_state()
    x = np.ones((2, 1, 5), np.float16)
    (found,) = model.predict({"x": x, "at": np.array([1], np.int32)}, state).values()
    np.testing.assert_array_equal(found, PROGRAMS[name][1](reference, x, 1))
    np.testing.assert_array_equal(other.read_state("cache"), np.zeros(SHAPE))


def test_states_are_taken_apart_where_rows_are_all_that_is_used(program: tuple[str, Path]) -> None:
    name, path = program
    function = import_program(open_source(path)).functions["main"]
    updates = [operation for operation in function.body.operations if operation.type == "slice_update"]
    assert {row_count(operation) for operation in updates} == {3}
    rows = split_states(function)
    assert [len(parts) for parts in rows.values()] == ([3] if PROGRAMS[name][2] else [])
    assert len(function.states) == (3 if rows else 1)
