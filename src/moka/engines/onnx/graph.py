"""What lowering writes into: an ONNX graph under construction, and the operands that its nodes take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from onnx import helper

from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.ir.program import Block, Constant, Value
from moka.ir.types import Dimension

__all__ = ["OF_OPERATION", "Array", "Graph", "Operand", "Packed", "Sink", "Target", "Unlowerable", "Weights", "onnx_dtype"]

Array: TypeAlias = np.ndarray[Any, Any]

OF_OPERATION = "::"
"""Stands between an operation's name and what its nodes and values are called beside it."""

_LARGE = 1024
"""Bytes from which on a constant is kept outside the model's message."""


class Unlowerable(Exception):  # noqa: N818  it is an answer, not an error
    """Why an operation has no form in ONNX, as a reason that a plan shows."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the graph is written for.

    Attributes:
        name: the runtime whose fused forms and extensions may be used; ``onnx`` for none but the standard's.
        half: whether values declared fp16 are computed in fp16; else in float32.
        opset: version of the standard operators.
    """

    name: Literal["onnx", "onnxruntime", "openvino"] = "onnx"
    half: bool = False
    opset: int = 22

    def carried(self, dtype: DType) -> np.dtype[Any]:
        """The NumPy dtype that values of a declared type have in the graph."""
        if dtype in (dtypes.FP16, dtypes.BF16):
            return np.dtype(np.float16 if self.half else np.float32)
        if dtype not in _CARRIED:
            raise Unlowerable(f"ONNX graphs carry no values of type {dtype}")
        return _CARRIED[dtype]


_CARRIED: dict[DType, np.dtype[Any]] = {
    dtypes.BOOL: np.dtype(np.bool_),
    dtypes.FP32: np.dtype(np.float32),
    dtypes.INT4: np.dtype(np.int8),
    dtypes.INT8: np.dtype(np.int8),
    dtypes.INT16: np.dtype(np.int16),
    dtypes.INT32: np.dtype(np.int32),
    dtypes.UINT1: np.dtype(np.uint8),
    dtypes.UINT2: np.dtype(np.uint8),
    dtypes.UINT3: np.dtype(np.uint8),
    dtypes.UINT4: np.dtype(np.uint8),
    dtypes.UINT6: np.dtype(np.uint8),
    dtypes.UINT8: np.dtype(np.uint8),
    dtypes.UINT16: np.dtype(np.int32),
}


@dataclass(frozen=True, eq=False, slots=True)
class Operand:
    """A value of the graph.

    Attributes:
        dtype: the element type that it is carried in.
        shape: as far as it is known; None where even the rank is not.
        declared: the program's type, where the program has the value; it tells fp16 from fp32.
        load: gives the content of a constant.
        compressed: a constant weight as a runtime's own operator takes it; then no other operator can use the operand.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dimension, ...] | None = None
    declared: DType | None = None
    load: Callable[[], Array] | None = field(default=None, repr=False)
    compressed: Any = field(default=None, repr=False)

    @property
    def is_constant(self) -> bool:
        return self.load is not None

    @property
    def content(self) -> Array:
        """The content of a constant, in ``dtype``."""
        if self.load is None:
            raise Unlowerable(f"{self.name!r} is computed while the program runs")
        return self.load()

    @property
    def rank(self) -> int:
        if self.shape is None:
            raise Unlowerable(f"the rank of {self.name!r} is unknown")
        return len(self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape where every size is a constant.

        Raises:
            Unlowerable: a size is known only when the program runs.
        """
        sizes = tuple(size for size in self.shape or () if isinstance(size, int))
        if self.shape is None or len(sizes) < len(self.shape):
            raise Unlowerable(f"the shape of {self.name!r} is known only while the program runs")
        return sizes

    def is_static(self, *axes: int) -> bool:
        """Whether the sizes of some axes (all, where none is named) are constants."""
        return self.shape is not None and all(isinstance(self.shape[axis], int) for axis in axes or range(len(self.shape)))

    def size(self, axis: int) -> int:
        """The size of one axis.

        Raises:
            Unlowerable: it is known only when the program runs.
        """
        size = self.shape[axis] if self.shape is not None else None
        if not isinstance(size, int):
            raise Unlowerable(f"the size of axis {axis} of {self.name!r} is known only while the program runs")
        return size


@dataclass(frozen=True, eq=False, slots=True)
class Packed:
    """Elements of 4 bits, two a byte, the first in its lower half. ``dtype`` is that of one element: ``int4`` or ``uint4`` of ml_dtypes."""

    data: Array
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


Weights: TypeAlias = dict[str, "Array | Packed"]
"""Large constants by name, kept outside the model's message: views of the mapped weight file where its type allows it."""

Sink: TypeAlias = "Callable[[Block, Sequence[Operand], Graph], list[Operand]]"
"""Lowers a nested block into a graph, with operands for the block's inputs; gives the block's outputs."""


class Graph:
    """Nodes and constants of a graph. Graphs of nested blocks share names and constants with the outermost one.

    Attributes:
        states: what each state of the program holds at this point.
        block: lowers a nested block.
        operation, version: the operation that is being lowered, by name, and the opset of its record: ``ios17``.
    """

    def __init__(self, target: Target, outer: Graph | None = None) -> None:
        self.target = target
        self.outer = outer
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {} if outer is None else outer.initializers
        self.weights: Weights = {} if outer is None else outer.weights
        self.states: dict[Value, Operand] = {} if outer is None else outer.states
        self._names: dict[str, int] = {} if outer is None else outer._names
        self._small: dict[tuple[Any, ...], Operand] = {} if outer is None else outer._small
        self._converted: dict[int, Operand] = {} if outer is None else outer._converted
        self.block: Sink = _no_blocks if outer is None else outer.block
        self.version = "ios15"
        self.operation: str = "" if outer is None else outer.operation

    def fresh(self, hint: str) -> str:
        """A name that nothing in the model has: the hint, or the hint with a number."""
        count = self._names.get(hint, 0)
        self._names[hint] = count + 1
        return hint if count == 0 else self.fresh(f"{hint}_{count}")

    def node(
        self,
        kind: str,
        *inputs: Operand | Array | float | None,
        dtype: Any = None,
        shape: tuple[Dimension, ...] | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Operand:
        """Adds a node with one output.

        Args:
            kind: ONNX's operator: ``Conv``.
            inputs: operands; arrays and numbers become constants (numbers of the first operand's type); None leaves an input out.
            dtype: of the output; None for that of the first input.
            shape: of the output, where the caller knows it and somebody needs it.
            attributes: those that are None are left out.
        """
        return self.nodes_of(kind, *inputs, dtypes=[dtype], shapes=[shape], domain=domain, **attributes)[0]

    def nodes_of(
        self,
        kind: str,
        *inputs: Operand | Array | float | None,
        dtypes: Sequence[Any],
        shapes: Sequence[tuple[Dimension, ...] | None] | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> list[Operand]:
        """Adds a node with as many outputs as ``dtypes`` has entries."""
        operands = self._operands(inputs)
        first = next((item.dtype for item in operands if item is not None), np.dtype(np.float32))
        outputs = [
            Operand(self.fresh(self._name(kind.lower())), np.dtype(dtype) if dtype is not None else first, shape)
            for dtype, shape in zip(dtypes, shapes or [None] * len(dtypes), strict=True)
        ]
        stated = {name: value for name, value in attributes.items() if value is not None}
        names = [item.name if item is not None else "" for item in operands]
        while names and not names[-1]:
            names.pop()
        self.nodes.append(
            helper.make_node(kind, names, [item.name for item in outputs], self.fresh(self._name(kind)), domain=domain, **stated)
        )
        return outputs

    def _name(self, kind: str) -> str:
        return f"{self.operation}{OF_OPERATION}{kind}" if self.operation else kind

    def _operands(self, inputs: Iterable[Operand | Array | float | None]) -> list[Operand | None]:
        inputs = list(inputs)
        first = next((item.dtype for item in inputs if isinstance(item, Operand)), np.dtype(np.float32))
        made: list[Operand | None] = []
        for item in inputs:
            if item is None or isinstance(item, Operand):
                made.append(item)
            else:
                made.append(self.constant(item if isinstance(item, np.ndarray) else np.asarray(item, first)))
        return made

    def constant(self, array: Array | float, dtype: Any = None) -> Operand:
        """A constant; equal small ones are one."""
        array = np.ascontiguousarray(array, dtype).reshape(np.shape(array))
        if array.nbytes >= _LARGE:
            return self._weight("constant", array, array.dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._small:
            name = self.fresh("constant")
            self.initializers[name] = onnx.numpy_helper.from_array(array, name)
            self._small[key] = Operand(name, array.dtype, array.shape, None, lambda: array)
        return self._small[key]

    def ints(self, values: Iterable[int]) -> Operand:
        """A vector of int64, as ONNX takes axes, shapes and the like."""
        return self.constant(np.array(list(values), np.int64))

    def weight(self, constant: Constant, name: str) -> Operand:
        """A constant of the program, carried as the target carries its type: a view of the weight file where that is the type there."""
        if id(constant) not in self._converted:
            array = np.asarray(constant.value)
            carried = self.target.carried(constant.type.dtype)  # type: ignore[union-attr]
            operand = self._weight(name, array, carried) if array.nbytes >= _LARGE else self.constant(array, carried)
            declared = constant.type.dtype  # type: ignore[union-attr]
            self._converted[id(constant)] = Operand(operand.name, operand.dtype, array.shape, declared, operand.load)
        return self._converted[id(constant)]

    def _weight(self, name: str, array: Array, carried: np.dtype[Any]) -> Operand:
        name = self.fresh(name)
        if array.dtype == carried or array.dtype != np.float16:
            content = np.asarray(array, carried, order="C")
            self.weights[name] = content
            return Operand(name, carried, array.shape, None, lambda: content)
        self.weights[name] = array  # half of the memory of float32; runtimes widen it, or keep it as it is
        root = self
        while root.outer is not None:
            root = root.outer
        wide = root.fresh(f"{name}_wide")
        root.nodes.insert(0, helper.make_node("Cast", [name], [wide], to=onnx_dtype(carried)))
        return Operand(wide, carried, array.shape, None, lambda: array.astype(carried))

    def packed(self, array: Array, dtype: np.dtype[Any]) -> Operand:
        """A constant of 4-bit elements from one that has them in bytes."""
        if array.nbytes < _LARGE:
            return self.constant(array.astype(dtype))
        flat = array.reshape(-1).view(np.uint8) & 15
        halves = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
        name = self.fresh("constant")
        self.weights[name] = Packed(halves[:, 0] | halves[:, 1] << 4, dtype, array.shape)
        return Operand(name, dtype, array.shape)

    def cast(self, operand: Operand, dtype: Any) -> Operand:
        """The operand in another element type; itself if it has that."""
        dtype = np.dtype(dtype)
        if operand.dtype == dtype:
            return operand
        if operand.is_constant:
            return self.constant(operand.content.astype(dtype))
        return self.node("Cast", operand, dtype=dtype, shape=operand.shape, to=onnx_dtype(dtype))

    def shape_of(self, operand: Operand) -> Operand:
        """The shape as int64: a constant where it is known."""
        if operand.is_static():
            return self.ints(operand.static_shape)
        return self.node("Shape", operand, dtype=np.int64)

    def size_of(self, operand: Operand, axis: int) -> Operand:
        """The size of one axis as int64 ``[1]``: a constant where it is known."""
        if operand.is_static(axis):
            return self.ints([operand.size(axis)])
        axis %= operand.rank
        return self.node("Shape", operand, dtype=np.int64, start=axis, end=axis + 1)

    def message(self, name: str, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> onnx.GraphProto:
        """The graph's message, without its constants where it is a nested one."""
        own = list(self.initializers.values()) if self.outer is None else []
        return helper.make_graph(self.nodes, name, list(map(_value_info, inputs)), list(map(_value_info, outputs)), own)


def onnx_dtype(dtype: Any) -> int:
    """ONNX's number of an element type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _value_info(operand: Operand) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(operand.name, onnx_dtype(operand.dtype), operand.shape)


def _no_blocks(block: Block, inputs: Sequence[Operand], graph: Graph) -> list[Operand]:
    raise Unlowerable("nested blocks are lowered as parts of a program only")
