"""Cases of `moka.ops.control_flow`. Expected values of lists are those of Core ML's documented example, or worked out by hand."""

from __future__ import annotations

import numpy as np

from moka.formats import dtypes
from moka.ir.program import Block, Operation, Value
from moka.ir.types import TensorType
from tests.cases.operations import Case, Fixed, Made, constant

A, B = np.array([1.0, 3.0], np.float32), np.array([2.0, 4.0], np.float32)
SCALAR = TensorType(dtypes.INT32, ())


def _constant_block(*numbers: int) -> Block:
    """Gives numbers, from no inputs."""
    operations = [
        Operation("const", attributes={"val": constant(number)}, outputs=[Value(f"number{number}", SCALAR)]) for number in numbers
    ]
    return Block(operations=operations, outputs=[operation.outputs[0] for operation in operations])


def _branches() -> list[Block]:
    return [_constant_block(3, 4), _constant_block(5, 6)]


def _count_to_seven() -> list[Block]:
    """while i < 7: i, total = i + 2, total + i"""
    i, total = Value("i", SCALAR), Value("total", SCALAR)
    less = Operation("less", {"x": (i,), "y": (constant(7),)}, [Value("goes_on", TensorType(dtypes.BOOL, ()))])
    j, sum_ = Value("j", SCALAR), Value("sum", SCALAR)
    step = Operation("add", {"x": (j,), "y": (constant(2),)}, [Value("next", SCALAR)])
    add = Operation("add", {"x": (sum_,), "y": (j,)}, [Value("more", SCALAR)])
    return [
        Block([i, total], [less], [less.outputs[0]]),
        Block([j, sum_], [step, add], [step.outputs[0], add.outputs[0]]),
    ]


def _never() -> list[Block]:
    value = Value("x", TensorType(dtypes.FP32, (2,)))
    no = Operation("const", attributes={"val": constant(False)}, outputs=[Value("no", TensorType(dtypes.BOOL, ()))])
    other = Value("y", TensorType(dtypes.FP32, (2,)))
    return [Block([value], [no], [no.outputs[0]]), Block([other], [], [other])]


def _list(**attributes: object) -> Made:
    return Made("make_list", {"elem_shape": 2, **attributes}, output=None)


_WRITTEN = Made(
    "list_scatter",
    {
        "ls": Made(
            "list_write",
            {"ls": Made("list_write", {"ls": _list(init_length=2), "index": 0, "value": A}, None), "index": 4, "value": B},
            None,
        ),
        "indices": Fixed(np.array([2, 1], np.int32)),
        "value": np.array([[-1.0, -2.0], [-4.0, -5.0]], np.float32),
    },
    None,
)
_SYMBOLIC = Made("make_list", {"elem_shape": "rows", "init_length": 3, "dtype": "int32"}, None)

CASES = [
    Case("cond", {"pred": np.array(True)}, [3, 4], outputs=("int32", "int32"), blocks=_branches, fp16=None, note="true"),
    Case("cond", {"pred": np.array(False)}, [5, 6], outputs=("int32", "int32"), blocks=_branches, fp16=None, note="false"),
    Case(
        "while_loop",
        {"loop_vars": [np.array(0, np.int32), np.array(10, np.int32)]},
        [8, 22],
        outputs=("int32", "int32"),
        blocks=_count_to_seven,
        fp16=None,
    ),
    Case("while_loop", {"loop_vars": [A]}, A, blocks=_never, note="never"),
    Case("list_read", {"ls": _list(), "index": 0}, [0.0, 0.0], note="unwritten"),
    Case("list_read", {"ls": _WRITTEN, "index": 0}, A),
    Case("list_read", {"ls": _WRITTEN, "index": np.array(1, np.int32)}, [-4.0, -5.0], note="computed_index"),
    Case("list_gather", {"ls": _WRITTEN, "indices": Fixed(np.array([4, 2, 3], np.int32))}, [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]]),
    Case("list_gather", {"ls": _WRITTEN, "indices": np.array([0, 0], np.int32)}, [A, A], note="computed_indices"),
    Case("list_gather", {"ls": _WRITTEN, "indices": np.array([], np.int32)}, np.zeros((0, 2), np.float32), note="empty"),
    Case("list_length", {"ls": _WRITTEN}, 5, outputs=("int32",), fp16=None),
    Case("list_length", {"ls": _list(init_length=3, dynamic_length=False)}, 3, outputs=("int32",), fp16=None, note="fixed"),
    Case(
        "list_gather",
        {
            "ls": Made("list_write", {"ls": _SYMBOLIC, "index": 1, "value": np.array([7, 8, 9], np.int32)}, None),
            "indices": np.array([0, 1]),
        },
        [[0, 0, 0], [7, 8, 9]],
        outputs=("int32",),
        fp16=None,
        note="symbolic_shape",
    ),
]
