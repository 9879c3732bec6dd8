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
from moka.ops.binding import bind
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
        return torch.as_tensor(np.asarray(argument.value))

    def concrete(self, argument: Argument) -> torch.Tensor | None:
        """The content of an argument, if it is known."""
        tensor = self.tensor(argument)
        return None if tensor is None or tensor.is_meta else tensor

    def results(self, operation: Operation) -> list[Any] | None:
        """The results of an operation without blocks; None where they depend on data.

        Raises:
            ProgramError: the kernel refuses the inputs; the message names the operation and their shapes.
        """
        call, operands = bind(operation, lookup(operation.type, self.opset), self._known, self._content, _no_blocks)
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

    def _known(self, argument: Argument) -> bool:
        return isinstance(argument, Constant) or self.concrete(argument) is not None

    def _content(self, argument: Argument) -> Any:
        return argument.value if isinstance(argument, Constant) else self.concrete(argument)


def _depends_on_data(error: Exception) -> bool:
    """Whether a kernel failed because it wanted the data of a tensor that has none: PyTorch says so in words only."""
    return isinstance(error, NotImplementedError) or "meta" in str(error).lower()


def _no_blocks(block: Block) -> Any:
    raise ProgramError("shapes of operations with nested blocks are stated by the program")
