"""How an exported program is called: arguments in, checked and flattened; results out, in the structure that users know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from moka.errors import InputError
from moka.pytorch.program import size_ranges

__all__ = ["Argument", "Calling"]

_ADVICE = "export the program for it with torch.export.export(..., dynamic_shapes=...)"


@dataclass(frozen=True)
class Argument:
    """What a program takes in one place: a tensor of a type, any number, or one value alone.

    Attributes:
        sizes: of a tensor, each a number or a formula of symbols; None for what is no tensor.
        constant: the only value allowed, where ``fixed``.
    """

    name: str
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    sizes: tuple[Any, ...] | None = None
    constant: Any = None
    fixed: bool = False

    @classmethod
    def of(cls, name: str, node: torch.fx.Node) -> Argument:
        """What a placeholder of an exported program takes."""
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            sizes = tuple(size.node.expr if isinstance(size, torch.SymInt) else int(size) for size in value.shape)
            return cls(name, value.dtype, value.device, sizes)
        symbolic = isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))
        return cls(name, constant=None if symbolic else value, fixed=not symbolic)

    @cached_property
    def shape(self) -> tuple[int, ...] | None:
        """The only shape that the tensor may have; None where there are several."""
        fixed = self.sizes is not None and all(isinstance(size, int) for size in self.sizes)
        return self.sizes if fixed else None

    def fits(self, value: Any) -> bool:
        """Whether the value is a tensor of the only kind allowed, its numbers as they lie; most calls give such, and it is quickly told."""
        return (
            isinstance(value, torch.Tensor)
            and value.shape == self.shape
            and value.dtype is self.dtype
            and value.device == self.device
            and not value.requires_grad
            and not value.is_neg()
        )

    def check(self, value: Any, symbols: dict[Any, int]) -> None:
        """Raises InputError if the program is not for this value; notes what its symbols stand for."""
        if self.sizes is None:
            if self.fixed and value != self.constant:
                raise InputError(f"input {self.name!r} is {value!r}; the program was exported for {self.constant!r} alone: export it again")
            return
        if not isinstance(value, torch.Tensor):
            raise InputError(f"input {self.name!r} is a {type(value).__name__}; expected a tensor of {self.dtype}")
        if value.dtype is not self.dtype:
            raise InputError(f"input {self.name!r} has dtype {value.dtype}; the program was exported for {self.dtype}: convert it first")
        if value.device.type != getattr(self.device, "type", None):
            raise InputError(f"input {self.name!r} is on {value.device}; the program was exported on {self.device}: move it there")
        if value.requires_grad and torch.is_grad_enabled():
            raise InputError(
                f"input {self.name!r} requires gradients, and Core ML gives none: use torch.no_grad(), or train the original module"
            )
        self._check_sizes(value.shape, symbols)

    def _check_sizes(self, shape: Sequence[int], symbols: dict[Any, int]) -> None:
        assert self.sizes is not None
        fits = len(shape) == len(self.sizes)
        for size, wanted in zip(shape, self.sizes, strict=False):
            if isinstance(wanted, int):
                fits = fits and size == wanted
            elif wanted.is_Symbol:
                fits = fits and symbols.setdefault(wanted, size) == size
            elif wanted.free_symbols <= symbols.keys():
                fits = fits and int(wanted.xreplace(symbols)) == size
        if not fits:
            where = ", ".join(
                f"{symbol} = {size}"
                for symbol, size in symbols.items()
                if any(symbol in getattr(s, "free_symbols", ()) for s in self.sizes)
            )
            expected = "[" + ", ".join(map(str, self.sizes)) + "]" + (f" with {where}" if where else "")
            raise InputError(f"input {self.name!r} has shape {list(shape)}; the program takes {expected}: {_ADVICE}")


class Calling:
    """The signature of a program as Python has it.

    Args:
        arguments: what it takes, flattened.
        names: of its arguments, in order, as its ``forward`` had them.
        ranges: smallest and largest size by symbol.
    """

    def __init__(
        self, arguments: list[Argument], in_spec: TreeSpec, out_spec: TreeSpec, names: Sequence[str], ranges: Mapping[Any, Any]
    ) -> None:
        self.arguments = arguments
        self.in_spec = in_spec
        self.out_spec = out_spec
        self._positional = in_spec.children()[0].num_children
        self._keywords = list(in_spec.children()[1].context)
        self._names = list(names)
        self.ranges = ranges
        self.module_call_graph: list[Any] = []
        self._ranges = {symbol: (int(bounds.lower), bounds.upper) for symbol, bounds in ranges.items() if bounds.lower.is_finite}
        self._plain = all(child.is_leaf() for child in in_spec.children()[0].children()) and not self._keywords
        self._flat_result = out_spec.is_leaf()

    @classmethod
    def of(cls, exported: ExportedProgram) -> Calling:
        placeholders = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
        specs = [spec for spec in exported.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
        arguments = [Argument.of(spec.arg.name, placeholders[spec.arg.name]) for spec in specs]
        signature = exported.module_call_graph[0].signature
        assert signature is not None
        names = signature.forward_arg_names or []
        calling = cls(arguments, signature.in_spec, signature.out_spec, names, size_ranges(exported))
        calling.module_call_graph = exported.module_call_graph[:1]
        return calling

    def flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """The arguments as a flat list, each checked.

        Raises:
            InputError: other arguments than the program takes.
        """
        if self._plain and not kwargs and len(args) == self._positional and all(map(Argument.fits, self.arguments, args)):
            return args
        flat = self._flattened(*self._arranged(args, kwargs))
        symbols: dict[Any, int] = {}
        for argument, value in zip(self.arguments, flat, strict=True):
            argument.check(value, symbols)
        for symbol, size in symbols.items():
            low, high = self._ranges.get(symbol, (0, size))
            if not low <= size <= high:
                raise InputError(f"size {symbol} is {size}; the program takes {low} to {high}: {_ADVICE}")
        return flat

    def unflatten(self, results: Sequence[Any]) -> Any:
        """The results in the program's structure."""
        return results[0] if self._flat_result else tree_unflatten(results, self.out_spec)

    def _flattened(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        flat, spec = tree_flatten((args, kwargs))
        if spec != self.in_spec:
            raise InputError(f"arguments have the structure {spec}; the program takes {self.in_spec}: call it as it was exported")
        return flat

    def _arranged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, by position and by name as they were when the program was exported."""
        if len(args) == self._positional and list(kwargs) == self._keywords:
            return args, kwargs
        names = self._names or [f"argument {index}" for index in range(self._positional)] + self._keywords
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        expected = [*names[: self._positional], *self._keywords]
        if len(args) > len(names) or set(given) != set(expected) or len(given) != len(args) + len(kwargs):
            raise InputError(f"arguments {', '.join(given) or 'none'} are given; the program takes {', '.join(expected) or 'none'}")
        return tuple(given[name] for name in names[: self._positional]), {name: given[name] for name in self._keywords}
