"""A Core ML model as a PyTorch module: to fine-tune it, to export it, to compile it, or to use it in another module."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from moka.errors import InputError, UnsupportedError
from moka.importers.neural_network import import_network
from moka.ir.program import Function
from moka.ir.types import TensorType
from moka.models.features import Feature
from moka.models.model import Model, load
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.models.shapes import declared_shape
from moka.pytorch.graph import ANCHOR, Forward, write_forward

__all__ = ["CoreMLModule", "to_module"]

Outputs: TypeAlias = Literal["auto", "tuple", "dict"]
Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_OUTPUTS = ("auto", "tuple", "dict")


def to_module(
    model: Model | str | os.PathLike[str],
    *,
    function: str | None = None,
    dtype: torch.dtype = torch.float32,
    outputs: Outputs = "auto",
    decompress: bool = True,
    trainable: Sequence[str] = (),
) -> CoreMLModule:
    """Makes a PyTorch module of an ML Program or a neural network.

    Args:
        model: the model, or its path.
        function: which of a multifunction model's functions; None for the default one. Only with a path.
        dtype: what every floating-point value is computed in, whatever type the model declares; ``module.to(dtype)`` changes it later.
        outputs: ``auto`` gives a tensor where there is one output, and a tuple where there are several; ``tuple`` and ``dict`` always that.
        decompress: whether compressed weights become full parameters now. Else they stay compressed, in buffers, and every call
            decompresses what it uses.
        trainable: names, or patterns such as ``*position*``, of constants that are parameters although nothing tells that they are
            weights: position embeddings look like masks. Else they are buffers.

    Raises:
        UnsupportedError: the model is of another kind.
        InputError: an option has a value that it can't have.
    """
    if outputs not in _OUTPUTS:
        raise InputError(f"outputs is {outputs!r}; expected one of {', '.join(_OUTPUTS)}")
    if not dtype.is_floating_point:
        raise InputError(f"dtype is {dtype}; expected a floating-point type, such as torch.float32")
    if isinstance(model, Model) and function not in (None, model.function.name):
        raise InputError(f"function is {function!r}, but the model was loaded for {model.function.name!r}; give its path instead")
    loaded = model.opened() if isinstance(model, Model) else load(model, function=function)
    if not isinstance(loaded, ProgramModel | NetworkModel):
        raise UnsupportedError(
            f"{loaded.path}: models of kind {loaded.kind} are no networks; to_module takes ML Programs and neural networks"
        )
    return CoreMLModule(loaded, outputs, decompress, trainable).to(dtype)


class CoreMLModule(nn.Module):
    """What `to_module` makes. Weights are parameters, other constants buffers, states buffers that a call changes.

    ``module(x, y)`` takes tensors in the order of ``inputs``, or by name: ``module(**{"input.1": x})``. Of a classifier, the label is the
    index of a class and the probabilities a tensor in the order of the classes, so that gradients flow.

    Attributes:
        inputs, outputs: names, in order.
    """

    def __init__(self, model: ProgramModel | NetworkModel, outputs: Outputs, decompress: bool, trainable: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer(ANCHOR, torch.empty(0), persistent=False)
        self.inputs: tuple[str, ...] = tuple(model.function.inputs)
        self._name, self._returns, self._decompress, self._trainable = model.path.name, outputs, decompress, tuple(trainable)
        self._prefix = _parameter_prefix(model)
        self._features: Mapping[str, Feature] = model.function.inputs
        self._by_shape = isinstance(model, NetworkModel)
        self._function = _functions(model)
        self._forwards: dict[Shapes, tuple[Forward, str]] = {}
        self._taken: set[str] = set()
        function = self._written(_first_shapes(model))
        self.outputs: tuple[str, ...] = tuple(value.name for value in function.outputs)
        self._sizes = (
            {} if self._by_shape else {value.name: value.type.shape for value in function.inputs if isinstance(value.type, TensorType)}
        )

    @property
    def code(self) -> str:
        """The generated Python code of the forward pass, for reading."""
        return next(reversed(self._forwards.values()))[1]

    def forward(self, *args: Any, **inputs: Any) -> Any:
        """Runs the model.

        Raises:
            InputError: an input is missing, unknown, given twice or of a shape that the model does not take.
        """
        values = self._bound(args, inputs)
        shapes = tuple(tuple(value.shape) for value in values) if self._by_shape else ()
        if shapes not in self._forwards:
            self._written(shapes)
        results = self._forwards[shapes][0](self, *values)
        if self._returns == "dict":
            return dict(zip(self.outputs, results, strict=True))
        return results[0] if self._returns == "auto" and len(results) == 1 else tuple(results)

    def _bound(self, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> list[Tensor]:
        """The inputs in order, checked."""
        given = dict(zip(self.inputs, args, strict=False))
        names = ", ".join(self.inputs) or "none"
        if len(args) > len(self.inputs):
            raise InputError(f"{len(args)} inputs are given; the model takes {names}")
        for name in inputs:
            if name not in self._features:
                raise InputError(f"input {name!r}: the model has none of that name; it takes {names}")
            if name in given:
                raise InputError(f"input {name!r} is given both in order and by name")
        return [self._value(name, given.get(name, inputs.get(name))) for name in self.inputs]

    def _value(self, name: str, value: Any) -> Tensor:
        feature = self._features[name]
        if value is None:
            if not feature.optional:
                raise InputError(f"input {name!r} ({feature.summary()}) is missing")
            value = feature.absent()
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value), device=self.get_buffer(ANCHOR).device)
        expected = self._sizes.get(name)
        if expected is not None and not _fits(tensor, expected):
            raise InputError(
                f"input {name!r} has shape {list(tensor.shape)}; expected [{', '.join(map(str, expected))}]".replace("None", "any")
            )
        return tensor

    def _written(self, shapes: Shapes) -> Function:
        """Writes the forward pass for inputs of these shapes, when they first come along; gives the function that it is of."""
        function = self._function(shapes)
        self._taken = set()
        with torch.inference_mode(False):
            self._forwards[shapes] = write_forward(function, self, decompress=self._decompress, prefix=self._prefix)
        return function

    def place(self, name: str, value: Any, *, trainable: bool) -> str:
        """Keeps a constant of the program; see `moka.pytorch.graph.Store`. What another shape's program had placed is found again."""
        base, count = name, 0
        chosen = isinstance(value, Tensor) and value.is_floating_point() and any(fnmatchcase(name, item) for item in self._trainable)
        trainable = trainable or chosen
        while name in self._taken or (hasattr(self, name) and not self._holds(name, value, trainable)):
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        anchor = self.get_buffer(ANCHOR)
        if hasattr(self, name):
            return name
        if not isinstance(value, Tensor):
            setattr(self, name, value)
        elif trainable:
            self.register_parameter(name, nn.Parameter(value.to(anchor)))
        else:
            self.register_buffer(name, value.to(anchor) if value.is_floating_point() else value.to(anchor.device))
        return name

    def _holds(self, name: str, value: Any, trainable: bool) -> bool:
        """Whether an attribute is what this constant became for another shape. Weights may have changed since, other constants not."""
        held = self._parameters.get(name) if trainable else self._buffers.get(name)
        if held is None or not isinstance(value, Tensor) or held.shape != value.shape:
            return False
        return trainable or torch.equal(held, value.to(held))

    def extra_repr(self) -> str:
        return f"{self._name!r}: ({', '.join(self.inputs)}) -> ({', '.join(self.outputs)})"


def _functions(model: ProgramModel | NetworkModel) -> Callable[[Shapes], Function]:
    """What gives the program's function for inputs of some shapes."""
    if isinstance(model, ProgramModel):
        return lambda shapes: model.program.functions[model.function.name]
    return lambda shapes: import_network(model.network, dict(zip(model.network.inputs, shapes, strict=True))).functions["main"]


def _parameter_prefix(model: ProgramModel | NetworkModel) -> str | None:
    """How the names of parameters begin: those of torch.export do with ``p_``, where coremltools says that the program is from there."""
    info = model.program.attributes.get("buildInfo") if isinstance(model, ProgramModel) else None
    dialect = str(info.value.get("coremltools-source-dialect", "")) if info is not None and isinstance(info.value, dict) else ""
    return "p_" if dialect.startswith("TorchExport") else None


def _first_shapes(model: ProgramModel | NetworkModel) -> Shapes:
    """The shapes that a network's inputs are declared with; an ML Program is the same for all."""
    if isinstance(model, ProgramModel):
        return ()
    shapes = {name: declared_shape(feature) for name, feature in model.function.inputs.items()}
    return tuple(shape or (1,) for shape in shapes.values())


def _fits(value: Tensor, sizes: tuple[Any, ...]) -> bool:
    return value.dim() == len(sizes) and all(not isinstance(size, int) or size == own for own, size in zip(value.shape, sizes, strict=True))
