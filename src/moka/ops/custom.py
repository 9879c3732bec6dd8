"""Custom layers and operations: what an app's own class computes on a device, users' functions and modules compute here."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from moka.errors import ExecutionError, InputError, UnsupportedError
from moka.ops.table import Tensors, operation

__all__ = ["CustomLayer", "custom_layer", "make_custom_layer"]

Shape: TypeAlias = Sequence[int]
K = TypeVar("K", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Registration:
    implementation: Callable[..., Any]
    factory: bool
    output_shapes: Callable[..., Any] | None


_registered: dict[str, _Registration] = {}


@overload
def custom_layer(
    class_name: str, implementation: None = None, *, factory: bool = False, output_shapes: Callable[..., Any] | None = None
) -> Callable[[K], K]: ...
@overload
def custom_layer(class_name: str, implementation: K, *, factory: bool = False, output_shapes: Callable[..., Any] | None = None) -> K: ...
def custom_layer(
    class_name: str,
    implementation: Callable[..., Any] | None = None,
    *,
    factory: bool = False,
    output_shapes: Callable[..., Any] | None = None,
) -> Any:
    """Says what computes the custom layers (or ML Program custom operations) of a class, in models that are loaded from now on.

        @moka.custom_layer("Swish")
        def swish(x, *, parameters):
            return x * torch.sigmoid(parameters["beta"] * x)

    A later registration replaces an earlier one.

    Args:
        class_name: the name that the model gives the class.
        implementation: a function, a PyTorch module or a class; without it, this is a decorator. A function or module is called with the
            layer's inputs as float32 tensors, and gives a tensor (or array), or several as a sequence. Where it names ``parameters`` or
            ``weights`` among its arguments it gets them: the layer's parameters as a dict, its weights as a list of NumPy arrays (flat ones
            in neural networks, which state no shapes). Of a class, one instance is made for each layer, with ``parameters`` and ``weights``
            if its constructor names them.
        factory: whether a function makes what computes a layer, as a class does, in place of computing.
        output_shapes: gives the shape, or the list of shapes, of the outputs for the list of the inputs' shapes (with ``parameters`` and
            ``weights`` if it names them). Without it the layer runs on zeros when a model is loaded.

    Raises:
        InputError: an implementation that can't be called, or a name that is empty.
    """
    if not isinstance(class_name, str) or not class_name:
        raise InputError(f"class_name is {class_name!r}; expected the name of a class, as the model has it")
    if implementation is None:
        return lambda item: custom_layer(class_name, item, factory=factory, output_shapes=output_shapes)
    if not callable(implementation):
        raise InputError(f"custom layer {class_name!r}: a {type(implementation).__name__} can't be called; expected a function or module")
    made = factory or isinstance(implementation, type)
    _registered[class_name] = _Registration(implementation, made, output_shapes)
    return implementation


class CustomLayer:
    """What computes one custom layer of a model.

    Attributes:
        class_name: the class, as the model names it.
        outputs: how many results there are.
    """

    def __init__(
        self, class_name: str, registration: _Registration, parameters: Mapping[str, Any], weights: Sequence[Any], outputs: int
    ) -> None:
        self.class_name = class_name
        self.outputs = outputs
        self._given = {"parameters": dict(parameters), "weights": list(weights)}
        function = registration.implementation
        self._function = function(**self._wanted(function)) if registration.factory else function
        if not callable(self._function):
            raise InputError(f"custom layer {class_name!r}: its factory made a {type(self._function).__name__}, which can't be called")
        self._options = self._wanted(getattr(self._function, "forward", self._function))
        self._output_shapes = registration.output_shapes

    def __str__(self) -> str:
        return self.class_name

    def _wanted(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Of parameters and weights, what the function names among its arguments."""
        try:
            names = inspect.signature(function).parameters
        except (TypeError, ValueError):  # some built-in functions have none
            return {}
        return {name: value for name, value in self._given.items() if name in names}

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The layer's results."""
        if inputs and isinstance(self._function, torch.nn.Module):
            self._function.to(inputs[0].device)
        results = self._function(*inputs, **self._options)
        items = list(results) if isinstance(results, (list, tuple)) else [results]
        if len(items) != self.outputs:
            raise ExecutionError(f"custom layer {self.class_name!r} gave {len(items)} results; the model expects {self.outputs}")
        if wrong := [item for item in items if not isinstance(item, (Tensor, np.ndarray, np.generic, int, float))]:
            raise ExecutionError(f"custom layer {self.class_name!r} gave a {type(wrong[0]).__name__}; expected a tensor or an array")
        return [torch.as_tensor(item) for item in items]

    def shapes(self, *inputs: Tensor) -> list[Tensor]:
        """Results without data, of inputs that have none."""
        if self._output_shapes is None:
            results = self(*[torch.zeros_like(item, device="cpu") if item.is_meta else item for item in inputs])
            return [item.to("meta") for item in results]
        shapes = self._output_shapes([tuple(item.shape) for item in inputs], **self._wanted(self._output_shapes))
        several = [shapes] if all(isinstance(size, int) for size in shapes) else shapes
        return [torch.empty(tuple(shape), device="meta") for shape in several]


@operation("ios15", folds=False)
def nn_custom(inputs: Tensors = (), *, layer: Any) -> Tensor | tuple[Tensor, ...]:
    """What a `CustomLayer` makes of the inputs."""
    results = layer.shapes(*inputs) if any(item.is_meta for item in inputs) else layer(*inputs)
    return results[0] if len(results) == 1 else tuple(results)


def make_custom_layer(
    class_name: str, parameters: Mapping[str, Any], weights: Sequence[Any], inputs: int, outputs: int, where: str
) -> CustomLayer:
    """What computes a layer of the class, as registered.

    Args:
        inputs, outputs: how many the layer has.
        where: the layer, for errors.

    Raises:
        UnsupportedError: nothing is registered for the class; the message shows how to.
    """
    registration = _registered.get(class_name)
    if registration is None:
        raise UnsupportedError(f"{where}: {_how_to_register(class_name, parameters, weights, inputs, outputs)}")
    try:
        return CustomLayer(class_name, registration, parameters, weights, outputs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedError(f"{where}: making the custom layer {class_name!r} failed: {type(error).__name__}: {error}") from error


def _how_to_register(class_name: str, parameters: Mapping[str, Any], weights: Sequence[Any], inputs: int, outputs: int) -> str:
    names = ["x"] if inputs == 1 else [f"x{index + 1}" for index in range(inputs)]
    results = "y" if outputs == 1 else ", ".join(f"y{index + 1}" for index in range(outputs))
    sizes = ", ".join(str(list(np.shape(item))) for item in weights)
    example = f"""
        import moka

        @moka.custom_layer({class_name!r})
        def compute({", ".join([*names, "*, parameters, weights"])}):
            ...  # PyTorch on float32 tensors
            return {results}
    """
    return (
        f"the class {class_name!r} is a custom layer, whose code is not in the model. Register what computes it before loading the model.\n"
        f"It has {inputs} input(s), {outputs} output(s), parameters {dict(parameters)} and weights of shape [{sizes}].\n"
        + textwrap.indent(textwrap.dedent(example).strip(), "    ")
    )
