"""Shapes without data: the types of an operation's results, by running its kernel on PyTorch's meta device.

Float tensors carry no data there, while integers and booleans (shapes, indices) stay concrete, so what is computed from shapes is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from moka.errors import ProgramError
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ir.types import TensorType
from moka.ops.binding import Call, bind
from moka.ops.table import COMPUTED, lookup

__all__ = ["ShapeInference"]


class ShapeInference:
    """What is known of each value while a program is built: a tensor (concrete, or without data), or nothing where data decides."""

    def __init__(self, opset: str) -> None:
        self.opset = opset
        self._tensors: dict[Value, torch.Tensor] = {}

    def enter(self, value: Value) -> None:
        """Notes an input: its shape if that is constant."""
        if isinstance(value.type, TensorType) and value.type.static_shape is not None:
            self._tensors[value] = torch.empty(value.type.static_shape, dtype=COMPUTED[value.type.dtype], device="meta")

    def note(self, value: Value, tensor: torch.Tensor) -> None:
        """Notes what is known of a value."""
        self._tensors[value] = tensor

    def tensor(self, argument: Argument) -> torch.Tensor | None:
        """What is known of an argument: a tensor, on the meta device unless its content is known."""
        if isinstance(argument, Value):
            return self._tensors.get(argument)
        array = np.asarray(argument.value)
        return torch.as_tensor(array if array.flags.writeable else array.copy())

    def concrete(self, argument: Argument) -> torch.Tensor | None:
        """The content of an argument, if it is known."""
        tensor = self.tensor(argument)
        return None if tensor is None or tensor.is_meta else tensor

    def results(self, operation: Operation) -> list[Any] | None:
        """The results of an operation without blocks; None where they depend on data.

        Raises:
            ProgramError: the kernel refuses the inputs; the message names the operation and their shapes.
        """
        call, operands = self._bind(operation)
        tensors = [self.tensor(operand) for operand in operands]
        if any(tensor is None for tensor in tensors):
            return None
        if any(tensor is not None and tensor.is_meta for tensor in tensors):
            tensors = [tensor.to("meta") if tensor is not None and tensor.is_floating_point() else tensor for tensor in tensors]
        try:
            with torch.inference_mode():
                result = call(*tensors)
        except Exception as error:
            if _depends_on_data(error):
                return None
            shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors if tensor is not None)
            raise ProgramError(f"operation {operation} does not take inputs of shape {shapes}: {error}") from error
        return list(result) if isinstance(result, (tuple, list)) else [result]

    def alike(self, operation: Operation) -> list[torch.Tensor] | None:
        """Tensors of the ranks and types that an operation's results have where their sizes depend on data; None if that can't be told.

        The operation is tried on operands with other sizes in place of the unknown ones: with 1, which broadcasts, or else with 16.
        """
        call, operands = self._bind(operation)
        for size in (1, 16):
            tensors = [self._stand_in(operand, size) for operand in operands]
            if any(tensor is None for tensor in tensors):
                return None
            try:
                with torch.inference_mode():
                    result = call(*tensors)
            except Exception:  # whatever the kernel has against these sizes
                continue
            return list(result) if isinstance(result, (tuple, list)) else [result]
        return None

    def _stand_in(self, operand: Argument, size: int) -> torch.Tensor | None:
        known = self.tensor(operand)
        if known is not None or not isinstance(operand.type, TensorType) or operand.type.shape is None:
            return None if known is None else known.to("meta") if known.is_floating_point() else known
        sizes = [item if isinstance(item, int) else size for item in operand.type.shape]
        return torch.empty(sizes, dtype=COMPUTED[operand.type.dtype], device="meta")

    def _bind(self, operation: Operation) -> tuple[Call, list[Argument]]:
        return bind(operation, lookup(operation.type, self.opset), self._known, self._content, _no_blocks)

    def _known(self, argument: Argument) -> bool:
        return isinstance(argument, Constant) or self.concrete(argument) is not None

    def _content(self, argument: Argument) -> Any:
        return argument.value if isinstance(argument, Constant) else self.concrete(argument)


def _depends_on_data(error: Exception) -> bool:
    """Whether a kernel failed because it wanted the data of a tensor that has none: PyTorch says so in words only."""
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()


def _no_blocks(block: Block) -> Any:
    raise ProgramError("shapes of operations with nested blocks are stated by the program")
