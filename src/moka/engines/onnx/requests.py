"""Infer requests of OpenVINO, with the memory that they read inputs from and write results to."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from moka.engines.conversion import convert
from moka.engines.onnx.results import Buffer, ResultMemory
from moka.errors import ExecutionError

__all__ = ["Request"]

Array: TypeAlias = np.ndarray[Any, Any]

_LARGE = 1 << 16
"""Bytes from which on an input is not copied but read where the caller has it, and a result written where the caller finds it."""


class Request:
    """An infer request, for one run at a time.

    Args:
        compiled: OpenVINO's compiled model.
        narrowed: places of float32 results that are declared fp16: large ones are given as float16.
    """

    def __init__(self, compiled: Any, narrowed: Collection[int] = ()) -> None:
        self.request = compiled.create_infer_request()
        self._inputs = [_input(self.request, index, port) for index, port in enumerate(compiled.inputs)]
        self._results = [_result(self.request, index, port, index in narrowed) for index, port in enumerate(compiled.outputs)]

    def infer(self, feed: Sequence[Array]) -> None:
        for source, array in zip(self._inputs, feed, strict=True):
            source.take(array)
        for result in self._results:
            result.prepare()
        self.request.infer()

    def output(self, index: int) -> Array:
        """A result in memory that no later run writes to while the caller holds it."""
        return self._results[index].give()


class _Input(Protocol):
    def take(self, array: Array) -> None: ...


class _Result(Protocol):
    def prepare(self) -> None: ...

    def give(self) -> Array: ...


def _input(request: Any, index: int, port: Any) -> _Input:
    small = port.get_partial_shape().is_static and _bytes(port) < _LARGE
    return _Copied(request, index, port) if small else _Lent(request, index)


def _result(request: Any, index: int, port: Any, narrowed: bool) -> _Result:
    if port.get_partial_shape().is_dynamic:
        return _Open(request, index)
    if _bytes(port) < _LARGE:
        return _Small(request, index)
    wide = port.get_element_type().to_dtype() == np.float32
    return _Narrowed(request, index, port) if narrowed and wide else _Large(request, index, port)


def _bytes(port: Any) -> int:
    return int(math.prod(port.shape) * np.dtype(port.get_element_type().to_dtype()).itemsize)


class _Copied:
    """A small input, copied into memory of the request's own: to set a tensor takes longer."""

    def __init__(self, request: Any, index: int, port: Any) -> None:
        import openvino

        self._array = np.zeros(tuple(port.shape), port.get_element_type().to_dtype())
        request.set_input_tensor(index, openvino.Tensor(self._array, shared_memory=True))

    def take(self, array: Array) -> None:
        np.copyto(self._array, array)


class _Lent:
    """An input that is read where it lies: a copy would be in one core's cache only. The same array as before costs nothing.

    It is held until the next one comes, for OpenVINO's tensor does not hold it.
    """

    def __init__(self, request: Any, index: int) -> None:
        self._request = request
        self._index = index
        self._array: Array | None = None

    def take(self, array: Array) -> None:
        import openvino

        if array is self._array:
            return
        if not array.size:  # OpenVINO 2026.4 ends the process where some operators meet a tensor without elements
            raise ExecutionError(
                f"input {self._index} has shape {array.shape}, without elements, which OpenVINO can't compute with; use engine='torch'"
            )
        self._array = np.require(array, requirements=("C", "W"))
        self._request.set_input_tensor(self._index, openvino.Tensor(self._array, shared_memory=True))


class _Open:
    """A result whose shape only the run tells, copied from where the run has put it."""

    def __init__(self, request: Any, index: int) -> None:
        self._request = request
        self._index = index

    def prepare(self) -> None:
        return None

    def give(self) -> Array:
        return np.array(self._request.get_output_tensor(self._index).data)


class _Small:
    """A small result, copied from memory of the request's own."""

    def __init__(self, request: Any, index: int) -> None:
        self._array = np.asarray(request.get_output_tensor(index).data)

    def prepare(self) -> None:
        return None

    def give(self) -> Array:
        return np.array(self._array)


class _Large:
    """A large result, written to memory that the caller gets."""

    def __init__(self, request: Any, index: int, port: Any) -> None:
        import openvino

        dtype = port.get_element_type().to_dtype()
        self._request = request
        self._index = index
        self._memory = ResultMemory(tuple(port.shape), dtype, lambda array: openvino.Tensor(array, shared_memory=True))
        self._written: Buffer | None = None

    def prepare(self) -> None:
        buffer = self._memory.take()
        if buffer is not self._written:
            self._request.set_output_tensor(self._index, buffer.tensor)
            self._written = buffer

    def give(self) -> Array:
        assert self._written is not None
        return self._written.give()


class _Narrowed(_Large):
    """A large result that is computed in float32 and given as float16."""

    def __init__(self, request: Any, index: int, port: Any) -> None:
        super().__init__(request, index, port)
        self._narrow = ResultMemory(tuple(port.shape), np.float16, lambda array: None)

    def give(self) -> Array:
        assert self._written is not None
        buffer = self._narrow.take()
        convert(self._written.array, buffer.array)
        return buffer.give()
