"""The table of operations: one record an operation and opset, made from the signature of its PyTorch kernel.

A kernel's signature is the operation's schema. Tensors are positional parameters, annotated with a type variable (`T`, `U`, `V`:
one domain of element types each, stated for each opset by the decorator) or with `Tensor` where any type will do; attributes are
keyword-only, with their default.

    @operation("ios17", T=FLOATS | INTS)
    @operation("ios15", T=FLOATS | {INT32})
    def add(x: T, y: T) -> T:
        '''Element-wise sum, with broadcasting: x + y.'''
        return x + y

A trailing underscore in a kernel's name keeps it clear of Python's own names and is not part of the operation's name.
"""

from __future__ import annotations

import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from moka.errors import UnknownOperationError
from moka.formats import dtypes
from moka.formats.dtypes import DType

__all__ = [
    "BOOL", "FLOATS", "FP16", "FP32", "INT8", "INT16", "INT32", "INTS", "NUMBERS", "OPSETS", "STRING", "UINT8", "UINT16",
    "BlockFunction", "Bools", "Floats", "Ints", "Kind", "OperationRecord", "Parameter", "State", "Strings", "T", "TensorList", "Tensors",
    "TypeVariable", "U", "V", "lookup", "operation", "records",
]  # fmt: skip

OPSETS = {"ios15": "CoreML5", "ios16": "CoreML6", "ios17": "CoreML7", "ios18": "CoreML8", "ios26": "CoreML9"}
"""Opsets, oldest first: the name used here, and the name that a program's function states."""

_RANK = {name: rank for rank, pair in enumerate(OPSETS.items()) for name in pair}

BOOL, STRING = frozenset({dtypes.BOOL}), frozenset({dtypes.STRING})
FP16, FP32 = frozenset({dtypes.FP16}), frozenset({dtypes.FP32})
INT8, INT16, INT32 = frozenset({dtypes.INT8}), frozenset({dtypes.INT16}), frozenset({dtypes.INT32})
UINT8, UINT16 = frozenset({dtypes.UINT8}), frozenset({dtypes.UINT16})
FLOATS = FP16 | FP32
INTS = INT8 | INT16 | INT32 | UINT8 | UINT16
NUMBERS = FLOATS | INTS

Domain: TypeAlias = frozenset[DType]


@dataclass(frozen=True, slots=True)
class TypeVariable:
    """Marks the parameters (and results) of one operation that share one element type."""

    name: str


T = Annotated[Tensor, TypeVariable("T")]
U = Annotated[Tensor, TypeVariable("U")]
V = Annotated[Tensor, TypeVariable("V")]

Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Bools: TypeAlias = tuple[bool, ...]
Strings: TypeAlias = tuple[str, ...]
Tensors: TypeAlias = tuple[Tensor, ...]
"""A variadic parameter: one or more tensors."""

BlockFunction: TypeAlias = Callable[..., tuple[Any, ...]]
"""A nested block, called with its inputs, giving its outputs."""


class State:
    """A buffer that outlives a run. Kernels replace ``tensor`` and never write into it, so what was read before stays as it was."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class TensorList(list[Any]):
    """A MIL list at run time. Kernels return a new one (elements are shared) and never change theirs.

    ``zero`` stands for elements that nothing was written to; they are None in the list itself.
    """

    def __init__(self, items: Iterable[Any] = (), zero: Tensor | None = None) -> None:
        super().__init__(items)
        self.zero = torch.zeros(()) if zero is None else zero

    def element(self, index: int) -> Tensor:
        """The element at ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside a list of {len(self)} elements")
        element: Tensor | None = self[index]
        return self.zero if element is None else element

    def replaced(self, elements: Mapping[int, Tensor]) -> TensorList:
        """A list with other elements at some indices, longer if it has to be."""
        if any(index < 0 for index in elements):
            raise IndexError(f"index {min(elements)} is negative")
        items = [*self, *[None] * (max(elements, default=0) + 1 - len(self))]
        for index, element in elements.items():
            items[index] = element
        written = next(iter(elements.values()), self.zero)
        return TensorList(items, written.new_zeros(()).expand(written.shape))


class Kind(Enum):
    """What a kernel wants for a parameter."""

    TENSOR = "tensor"
    TENSORS = "tensors"
    STATE = "state"
    LIST = "list"
    BLOCK = "block"
    ATTRIBUTE = "attribute"


_KINDS: dict[Any, Kind] = {
    Tensor: Kind.TENSOR,
    Tensors: Kind.TENSORS,
    State: Kind.STATE,
    TensorList: Kind.LIST,
    BlockFunction: Kind.BLOCK,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        kind: what the kernel gets.
        convert: for an attribute, from the constant's value or a tensor to what the kernel wants.
        variable: name of the type variable; None where any element type will do.
        required: whether a program must give it; else the kernel's default holds.
        choices: the values a string attribute may have; empty where any will do.
    """

    name: str
    kind: Kind
    required: bool
    default: Any = None
    variable: str | None = None
    convert: Callable[[Any], Any] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperationRecord:
    """What Moka knows of one operation from one opset on.

    Attributes:
        name: MIL's name.
        opset: the first opset that has this version.
        kernel: the definition, on PyTorch tensors: differentiable where PyTorch is, on any device.
        domains: element types that each type variable may stand for.
        call: what runs in the kernel's stead: one PyTorch function that does the same, where the kernel only adds its signature.
        folds: whether the result may be computed ahead where every input is constant (not so for random numbers and states).
    """

    name: str
    opset: str
    kernel: Callable[..., Any]
    domains: dict[str, Domain] = field(default_factory=dict)
    folds: bool = True
    call: Callable[..., Any] | None = None

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.kernel) or ""

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        hints = typing.get_type_hints(self.kernel, include_extras=True)
        return {name: _parameter(name, hints[name], parameter) for name, parameter in inspect.signature(self.kernel).parameters.items()}

    @cached_property
    def results(self) -> tuple[str | None, ...]:
        """The type variable of each result; None where the operation's rule is not a variable; empty if the number varies."""
        hint = typing.get_type_hints(self.kernel, include_extras=True).get("return")
        if any(typing.get_origin(inner) is tuple for inner in typing.get_args(hint)):
            return ()
        if typing.get_origin(hint) is tuple:
            arguments = typing.get_args(hint)
            return () if Ellipsis in arguments else tuple(map(_variable, arguments))
        return (_variable(hint),)


def _variable(hint: Any) -> str | None:
    for note in getattr(hint, "__metadata__", ()):
        if isinstance(note, TypeVariable):
            return note.name
    for inner in typing.get_args(hint):
        if (found := _variable(inner)) is not None:
            return found
    return None


def _bare(hint: Any) -> Any:
    """The hint without ``| None`` and without annotations."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = functools.reduce(operator.or_, (inner for inner in typing.get_args(hint) if inner is not type(None)))
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        return tuple[tuple(_bare(inner) for inner in typing.get_args(hint))]  # type: ignore[misc]
    return hint


def _parameter(name: str, hint: Any, parameter: inspect.Parameter) -> Parameter:
    bare = _bare(hint)
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    if bare in _KINDS:
        return Parameter(name, _KINDS[bare], required, default, _variable(hint))
    if typing.get_origin(bare) is Literal:
        return Parameter(name, Kind.ATTRIBUTE, required, default, None, str, typing.get_args(bare))
    return Parameter(name, Kind.ATTRIBUTE, required, default, _variable(hint), _CONVERTERS[bare])


def _sequence(element: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def convert(value: Any) -> tuple[Any, ...]:
        values = value.reshape(-1).tolist() if hasattr(value, "reshape") else value
        return tuple(element(item) for item in (values if isinstance(values, (list, tuple)) else [values]))

    return convert


def _scalar(element: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: element(value.item() if hasattr(value, "item") else value)


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: _scalar(int),
    float: _scalar(float),
    bool: _scalar(bool),
    int | float: _scalar(lambda value: value),
    str: str,
    Ints: _sequence(int),
    Floats: _sequence(float),
    Bools: _sequence(bool),
    Strings: _sequence(str),
    Any: lambda value: value,
}

_TABLE: dict[str, list[OperationRecord]] = {}

K = TypeVar("K", bound=Callable[..., Any])


def operation(
    opset: str, *, name: str | None = None, folds: bool = True, call: Callable[..., Any] | None = None, **domains: Domain
) -> Callable[[K], K]:
    """Enters a kernel into the table, from ``opset`` on.

    Args:
        opset: one of `OPSETS`.
        name: the operation's name, if the kernel's own name is not it.
        folds, call: see `OperationRecord`.
        domains: for each type variable of the signature, the element types that it may stand for.
    """
    if opset not in OPSETS:
        raise ValueError(f"operation: opset {opset!r} is none of {', '.join(OPSETS)}")

    def enter(kernel: K) -> K:
        record = OperationRecord(name or kernel.__name__.rstrip("_"), opset, kernel, domains, folds, call)
        versions = _TABLE.setdefault(record.name, [])
        if any(other.opset == opset for other in versions):
            raise ValueError(f"operation {record.name!r} has two records for {opset}")
        versions.append(record)
        return kernel

    return enter


def records() -> dict[str, list[OperationRecord]]:
    """Every record, by name, oldest opset first."""
    _load_families()
    return {name: sorted(versions, key=lambda record: _RANK[record.opset]) for name, versions in sorted(_TABLE.items())}


def lookup(name: str, opset: str) -> OperationRecord:
    """The newest record of ``name`` that is not above ``opset`` (``ios17`` or, as programs state it, ``CoreML7``).

    Raises:
        UnknownOperationError: there is none; the message says since which opset there is one, if there is.
    """
    _load_families()
    rank = _RANK.get(opset)
    if rank is None:
        raise UnknownOperationError(f"opset {opset!r} is unknown; known are {', '.join(OPSETS.values())}")
    versions = _TABLE.get(name, [])
    fitting = [record for record in versions if _RANK[record.opset] <= rank]
    if fitting:
        return max(fitting, key=lambda record: _RANK[record.opset])
    if versions:
        first = min(versions, key=lambda record: _RANK[record.opset]).opset
        raise UnknownOperationError(f"operation {name!r} exists from opset {OPSETS[first]} on; the program is for {opset}")
    raise UnknownOperationError(f"operation {name!r} (opset {opset}) has no record in Moka's table of operations")


def _load_families() -> None:
    """Families register on import; importing the package imports them all."""
    import moka.ops  # noqa: F401


COMPUTED: dict[DType, torch.dtype] = {
    dtypes.BOOL: torch.bool,
    dtypes.FP16: torch.float16,
    dtypes.FP32: torch.float32,
    dtypes.FP64: torch.float64,
    dtypes.BF16: torch.bfloat16,
    dtypes.FP8E4M3FN: torch.float8_e4m3fn,
    dtypes.FP8E5M2: torch.float8_e5m2,
    dtypes.INT4: torch.int8,
    dtypes.INT8: torch.int8,
    dtypes.INT16: torch.int16,
    dtypes.INT32: torch.int32,
    dtypes.INT64: torch.int64,
    dtypes.UINT1: torch.uint8,
    dtypes.UINT2: torch.uint8,
    dtypes.UINT3: torch.uint8,
    dtypes.UINT4: torch.uint8,
    dtypes.UINT6: torch.uint8,
    dtypes.UINT8: torch.uint8,
    dtypes.UINT16: torch.int32,
    dtypes.UINT32: torch.int64,
    dtypes.UINT64: torch.int64,
}
"""The torch dtype that a value of each element type is held and computed in. PyTorch has no usable kernels for the types narrower
than a byte and for wide unsigned ones, so those live in the next type that holds all their values."""
