"""Nested blocks, captured values, lists and states in programs that coremltools writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from moka.engines.base import Segment
from moka.engines.torch_engine import TorchEngine, TorchExecutable
from moka.errors import ExecutionError
from moka.formats.source import open_source
from moka.importers.ml_program import import_program

Builder = Callable[..., TorchExecutable]


@pytest.fixture
def written(tmp_path: Path) -> Builder:
    """Makes an executable of a function on Builder's values, through a package that coremltools writes."""

    def write(body: Callable[..., Any], specs: list[Any], opset: Any = ct.target.iOS15) -> TorchExecutable:
        program = mb.program(input_specs=specs, opset_version=opset)(body)
        options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": opset, "skip_model_load": True}
        ct.convert(program, convert_to="mlprogram", **options).save(str(tmp_path / "model.mlpackage"))
        (function,) = import_program(open_source(tmp_path / "model.mlpackage")).functions.values()
        return TorchEngine().compile(Segment.of(function))

    return write


def results(executable: TorchExecutable, *values: Any, state: Any = None) -> list[np.ndarray[Any, Any]]:
    inputs = [value for value in executable.segment.inputs if not hasattr(value.type, "wrapped")]
    given = {value.name: np.asarray(item, np.float32) for value, item in zip(inputs, values, strict=True)}
    return [item.numpy() for item in executable.run(given, state).values()]


def test_branches_that_use_values_around_them(written: Builder) -> None:
    def body(a: Any, b: Any) -> Any:
        double = mb.mul(x=b, y=2.0)
        pred = mb.greater(x=mb.squeeze(x=a), y=0.0)
        return mb.cond(pred=pred, _true_fn=lambda: (mb.add(x=double, y=a), b), _false_fn=lambda: (mb.sub(x=double, y=a), double))

    executable = written(body, [mb.TensorSpec((1,)), mb.TensorSpec((1,))])
    assert results(executable, [3], [10]) == [[23], [10]]
    assert results(executable, [-3], [10]) == [[23], [20]]


def test_a_branch_inside_a_branch(written: Builder) -> None:
    def body(a: Any, b: Any) -> Any:
        def choose(x: Any, y: Any) -> Any:
            pred = mb.less(x=mb.squeeze(x=b), y=mb.squeeze(x=a))
            return mb.cond(pred=pred, _true_fn=lambda: mb.add(x=x, y=b), _false_fn=lambda: mb.add(x=y, y=a))

        positive = mb.greater(x=mb.squeeze(x=a), y=0.0)
        return mb.cond(pred=positive, _true_fn=lambda: choose(a, b), _false_fn=lambda: mb.identity(x=b))

    executable = written(body, [mb.TensorSpec((1,)), mb.TensorSpec((1,))])
    assert [results(executable, [a], [b])[0].item() for a, b in ((5, 2), (5, 7), (-5, 7))] == [7, 12, 7]


def test_loops_inside_loops(written: Builder) -> None:
    """Collatz: steps until 1 for every number below n, added up."""

    def body(n: Any) -> Any:
        def halve_or_triple(i: Any, steps: Any) -> Any:
            even = mb.squeeze(x=mb.equal(x=mb.mod(x=i, y=2.0), y=0.0))
            i = mb.cond(pred=even, _true_fn=lambda: mb.real_div(x=i, y=2.0), _false_fn=lambda: mb.add(x=mb.mul(x=i, y=3.0), y=1.0))
            return i, mb.add(x=steps, y=1.0)

        def outer(i: Any, total: Any) -> Any:
            _, total = mb.while_loop(_cond=lambda j, _: mb.greater(x=mb.squeeze(x=j), y=1.0), _body=halve_or_triple, loop_vars=(i, total))
            return mb.add(x=i, y=1.0), total

        start = (np.array([1.0], np.float32), np.array([0.0], np.float32))
        return mb.while_loop(_cond=lambda i, _: mb.less(x=mb.squeeze(x=i), y=mb.squeeze(x=n)), _body=outer, loop_vars=start)[1]

    def steps(number: int) -> int:
        return 0 if number == 1 else 1 + steps(number // 2 if number % 2 == 0 else 3 * number + 1)

    executable = written(body, [mb.TensorSpec((1,))])
    assert results(executable, [12])[0].item() == sum(map(steps, range(1, 12)))


def test_a_list_that_grows_in_a_loop(written: Builder) -> None:
    def body(count: Any, update: Any) -> Any:
        def write(i: Any, ls: Any) -> Any:
            row = mb.mul(x=update, y=mb.cast(x=i, dtype="fp32"))
            return mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=row)

        def more(i: Any, ls: Any) -> Any:
            return mb.less(x=mb.cast(x=i, dtype="fp32"), y=mb.squeeze(x=count))

        start = (0, mb.make_list(init_length=1, elem_shape=(2, 3)))
        ls = mb.while_loop(_cond=more, _body=write, loop_vars=start)[1]
        return mb.list_gather(ls=ls, indices=mb.range_1d(start=0, end=mb.list_length(ls=ls), step=1))

    update = np.arange(6, dtype=np.float32).reshape(2, 3)
    (rows,) = results(written(body, [mb.TensorSpec((1,)), mb.TensorSpec((2, 3))]), [4], update)
    np.testing.assert_array_equal(rows, np.stack([update * i for i in range(4)]))


def test_documented_list_example(written: Builder) -> None:
    """Elements are zeros at first; a write past the end makes room; a scatter replaces several."""

    def body(a: Any, b: Any) -> Any:
        ls = mb.make_list(init_length=2, elem_shape=(2,))
        first = mb.list_read(ls=ls, index=0)
        ls = mb.list_write(ls=mb.list_write(ls=ls, index=0, value=a), index=4, value=b)
        ls = mb.list_scatter(ls=ls, indices=[2, 1], value=np.array([[-1, -2], [-4, -5]], np.float32))
        return first, mb.list_read(ls=ls, index=0), mb.list_gather(ls=ls, indices=[4, 2, 3])

    executable = written(body, [mb.TensorSpec((2,)), mb.TensorSpec((2,))])
    first, read, gathered = results(executable, [1, 3], [2, 4])
    np.testing.assert_array_equal(first, [0, 0])
    np.testing.assert_array_equal(read, [1, 3])
    np.testing.assert_array_equal(gathered, [[2, 4], [-1, -2], [0, 0]])


def test_an_index_outside_a_list_is_named(written: Builder) -> None:
    def body(a: Any) -> Any:
        index = mb.cast(x=mb.squeeze(x=a), dtype="int32")
        return mb.list_read(ls=mb.make_list(init_length=2, elem_shape=(2,)), index=index)

    with pytest.raises(ExecutionError, match=r"list_read.*index 2 is outside a list of 2 elements"):
        results(written(body, [mb.TensorSpec((1,))]), [2])


def test_states_count_over_runs(written: Builder) -> None:
    def body(held: Any, step: Any) -> Any:
        before = mb.read_state(input=held)
        after = mb.coreml_update_state(state=held, value=mb.add(x=before, y=step))
        mb.coreml_update_state(state=held, value=mb.add(x=after, y=step))
        return before, after, mb.read_state(input=held)

    specs = [mb.StateTensorSpec((2,), dtype=types.fp16), mb.TensorSpec((2,), dtype=types.fp16)]
    executable = written(body, specs, ct.target.iOS18)
    state = executable.new_state()
    assert [item[0] for item in results(executable, [1, 1], state=state)] == [0, 1, 2]
    assert [item[0] for item in results(executable, [1, 1], state=state)] == [2, 3, 4]
    (buffer,) = state.values()
    assert torch.equal(buffer.tensor, torch.tensor([4.0, 4.0]))
    assert [item[0] for item in results(executable, [1, 1], state=executable.new_state())] == [0, 1, 2]
