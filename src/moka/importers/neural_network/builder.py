"""Builds the program of a network: emits operations, and knows the shape of every blob while it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME, DType
from moka.importers.neural_network.weights import WeightStore
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ir.types import Dimension, ListType, TensorType, Type
from moka.ops.shapes import ShapeInference
from moka.ops.table import COMPUTED

__all__ = ["OPSET", "NetworkBuilder", "ShapeError"]

OPSET = "CoreML8"
"""Networks are written with the newest operations that ML Programs have."""

_DTYPES = {torch.float32: dtypes.FP32, torch.bool: dtypes.BOOL, torch.int32: dtypes.INT32, torch.int64: dtypes.INT32}
_ARRAY_DTYPES = {"f": dtypes.FP32, "i": dtypes.INT32, "b": dtypes.BOOL}


class ShapeError(ProgramError):
    """A layer does not take blobs of the shapes that it gets; with other shapes of the model's inputs it may."""


class NetworkBuilder:
    """The program of one network while it is made.

    Attributes:
        rank5: whether blobs have the five axes of the older networks: sequence, batch, channel, height, width.
        blobs: what each blob's name stands for at this point; later layers may write a name again.
        operations: those of the block that is being built.
        layer: the layer that is being translated.
        weights: decoded weights, shared by all programs made of one network.
    """

    def __init__(self, *, rank5: bool, weights: WeightStore) -> None:
        self.rank5 = rank5
        self.weights = weights
        self.blobs: dict[str, Value] = {}
        self.scalars: set[Value] = set()
        """Blobs of which all axes were taken away: they have one all the same, but for a layer that gives them new ones."""
        self.operations: list[Operation] = []
        self.layer: Any = None
        self.shapes = ShapeInference(OPSET)
        self._names: set[str] = set()

    def input(self, name: str, value_type: TensorType) -> Value:
        """A value that the program (or a nested block) takes."""
        value = Value(self._unique(name), value_type)
        self.shapes.enter(value)
        return value

    def reserve(self, names: Iterable[str]) -> None:
        """Keeps names free of what layers emit, for the values that are the program's outputs."""
        self._names.update(names)

    def constant(self, value: Any, dtype: DType | None = None) -> Constant:
        """A Python value, array or tensor as a constant: numbers are fp32 or int32, unless ``dtype`` says otherwise."""
        if isinstance(value, str):
            return Constant(TensorType(dtypes.STRING), value)
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            return Constant(ListType(TensorType(dtypes.STRING), len(value)), list(value))
        array = np.asarray(value)
        chosen = dtype or _ARRAY_DTYPES[array.dtype.kind]
        return Constant(TensorType(chosen, array.shape), array.astype(chosen.numpy, copy=False))

    def emit(self, kind: str, /, *, rank: int | None = None, **inputs: Any) -> Value:
        """Appends an operation with one result; see `emit_all`."""
        (value,) = self.emit_all(kind, 1, rank=rank, **inputs)
        return value

    def emit_all(self, kind: str, count: int, /, *, rank: int | None = None, dtype: str = "fp32", **inputs: Any) -> list[Value]:
        """Appends an operation with ``count`` results.

        Args:
            rank, dtype: of the results, where their shape depends on data.
            inputs: values, constants, or what `constant` takes; sequences of values are variadic. None is an input left out.
        """
        return self._append(kind, count, rank, dtype, inputs)

    def _append(self, kind: str, count: int, rank: int | None, dtype: str, inputs: dict[str, Any]) -> list[Value]:
        operation = Operation(kind, origin=self.origin)
        operation.inputs = {name: self._arguments(item) for name, item in inputs.items() if item is not None}
        results = self._results(operation)
        unknown = [TensorType(BY_NAME[dtype], None if rank is None else (None,) * rank)] * count
        if results is None and rank is None and (alike := self.shapes.alike(operation)) is not None:
            unknown = [TensorType(_DTYPES[item.dtype], (None,) * item.dim()) for item in alike]
        for index in range(count):
            known = None if results is None else results[index]
            value_type = unknown[index] if known is None else TensorType(_DTYPES[known.dtype], tuple(known.shape))
            value = Value(self._unique(self._label(count, index)), value_type, operation)
            operation.outputs.append(value)
            if known is not None:
                self.shapes.note(value, known.to(torch.int32) if known.dtype is torch.int64 else known)
        self.operations.append(operation)
        return operation.outputs

    def _results(self, operation: Operation) -> list[Any] | None:
        try:
            return self.shapes.results(operation)
        except ProgramError as error:
            raise ShapeError(f"{self.origin or 'network'}: {error}") from error

    def emit_blocks(self, kind: str, blocks: list[Block], types: Sequence[Type], /, **inputs: Any) -> list[Value]:
        """Appends an operation with nested blocks, whose results are of ``types``."""
        operation = Operation(kind, origin=self.origin, blocks=blocks)
        operation.inputs = {name: self._arguments(item) for name, item in inputs.items()}
        operation.outputs = [Value(self._unique(self._label(len(types), i)), item, operation) for i, item in enumerate(types)]
        for value in operation.outputs:
            if isinstance(value.type, TensorType) and value.type.dtype in COMPUTED:
                self.shapes.enter(value)
        self.operations.append(operation)
        return operation.outputs

    @property
    def origin(self) -> str:
        """The layer being translated, for messages and plans."""
        return "" if self.layer is None else f"layer {self.layer.name!r} ({self.layer.WhichOneof('layer')})"

    def rank(self, value: Value) -> int:
        """The rank of a blob.

        Raises:
            ProgramError: it depends on data.
        """
        if not isinstance(value.type, TensorType) or value.type.rank is None:
            raise ProgramError(f"{self.origin}: the rank of {value.name!r} depends on data; it has to be known here")
        return value.type.rank

    def shape(self, value: Value) -> tuple[Dimension, ...]:
        """The sizes of a blob's axes; None where one depends on data."""
        self.rank(value)
        assert isinstance(value.type, TensorType)
        assert value.type.shape is not None
        return value.type.shape

    def static_shape(self, value: Value) -> tuple[int, ...]:
        """The sizes of a blob's axes.

        Raises:
            ProgramError: one depends on data.
        """
        sizes = [size for size in self.shape(value) if isinstance(size, int)]
        if len(sizes) != self.rank(value):
            raise ProgramError(f"{self.origin}: the shape of {value.name!r} depends on data; it has to be known here")
        return tuple(sizes)

    def cast(self, value: Value, dtype: str) -> Value:
        """The blob in another element type. Blobs are floats; indices, shapes and conditions are cast where operations want them."""
        if isinstance(value.type, TensorType) and value.type.dtype.name == dtype:
            return value
        known = self.shapes.concrete(value)
        (result,) = self._append("cast", 1, None, dtype, {"x": value, "dtype": dtype})
        if isinstance(value.type, TensorType):
            result.type = TensorType(BY_NAME[dtype], value.type.shape)
        if known is not None:
            target = {"int32": torch.int32, "fp32": torch.float32, "bool": torch.bool}[dtype]
            self.shapes.note(result, known.to(target))
        return result

    def _arguments(self, item: Any) -> tuple[Argument, ...]:
        if isinstance(item, (list, tuple)) and item and isinstance(item[0], (Value, Constant)):
            return tuple(item)
        return (item if isinstance(item, (Value, Constant)) else self.constant(item),)

    def _label(self, count: int, index: int) -> str:
        return (self.layer.name if self.layer is not None else "") or "value"

    def _unique(self, name: str) -> str:
        """The name, or with a number where it is taken: layers emit several operations, and blobs may be written twice."""
        candidate, number = name, 0
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate
