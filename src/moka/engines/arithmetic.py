"""How values are held while a program runs on PyTorch: the torch dtype of each declared type, and when results are rounded."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.ir.program import Constant
from moka.ir.types import ListType, TensorType, Type
from moka.ops.table import COMPUTED, TensorList

__all__ = ["Arithmetic", "Numerics"]

Numerics: TypeAlias = Literal["fast", "device"]


@dataclass(frozen=True, slots=True)
class Settle:
    """Makes a kernel's result a value of its declared type.

    Attributes:
        held: the torch dtype that values of the declared type are held in.
        rounded: the torch dtype whose precision the result is rounded to, if it is.
    """

    held: torch.dtype
    device: torch.device
    rounded: torch.dtype | None

    @property
    def enough(self) -> torch.dtype | None:
        """The dtype of results that need nothing done; None where that can't be told from the dtype."""
        return self.held if self.rounded is None and self.device.type == "cpu" else None

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.rounded is not None:
            tensor = tensor.to(self.rounded)
        return tensor.to(device=self.device, dtype=self.held)


@dataclass(frozen=True)
class Arithmetic:
    """How values of each declared type are held and rounded on one device.

    ``fast`` computes fp16 in float32 where the device has no fast fp16 arithmetic (CPUs); ``device`` always computes in float32 and rounds
    every result to its declared type, as Apple's fp16 units do.
    """

    device: torch.device
    numerics: Numerics = "fast"

    @functools.cached_property
    def held(self) -> dict[DType, torch.dtype]:
        wide = self.numerics == "device" or self.device.type == "cpu"
        return COMPUTED | ({dtypes.FP16: torch.float32, dtypes.BF16: torch.float32} if wide else {})

    def settle(self, value_type: Type, *, constant: bool = False) -> Settle | None:
        """What makes a kernel's result a value of ``value_type``: the held dtype, on the device, rounded if asked for.

        A ``constant`` is always rounded to its declared type: decompressed weights are those that Core ML would compute with.
        """
        if not isinstance(value_type, TensorType) or value_type.dtype not in self.held or value_type.dtype == dtypes.STRING:
            return None
        rounds = (constant or self.numerics == "device") and value_type.dtype in (dtypes.FP16, dtypes.BF16)
        return Settle(self.held[value_type.dtype], self.device, COMPUTED[value_type.dtype] if rounds else None)

    def constant(self, constant: Constant) -> Any:
        """A constant's value as kernels take it; tensors share the memory of the weight file where their type allows it."""
        return self.tensor(constant.value, constant.type)

    def tensor(self, value: Any, value_type: Type) -> Any:
        """A NumPy array, or anything like one, as a tensor held as ``value_type`` asks; other values as they are."""
        if isinstance(value, list) and isinstance(value_type, ListType):
            return TensorList(self.tensor(item, value_type.element) for item in value)
        if not isinstance(value_type, TensorType) or value_type.dtype == dtypes.STRING:
            return value
        if not isinstance(value, torch.Tensor):
            value = _as_tensor(np.asarray(value, order="C"), value_type.dtype)
        settle = self.settle(value_type)
        return value if settle is None else settle(value)


def _as_tensor(array: np.ndarray[Any, Any], dtype: DType) -> torch.Tensor:
    """A tensor over the array's memory, with the bits as they are where torch has the type and NumPy does not."""
    if array.dtype.name in ("uint16", "uint32", "uint64"):
        array = array.astype({"uint16": np.int32}.get(array.dtype.name, np.int64))
    if array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        bits = array.view(np.int16 if array.itemsize == 2 else np.uint8)
        return torch.from_numpy(bits).view(COMPUTED[dtype])
    return torch.from_numpy(array if array.flags.writeable else array.copy())
