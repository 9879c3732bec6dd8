"""The one program: functions of blocks of operations on values. Every front end makes it, everything else reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from moka.ir.types import StateType, Type

__all__ = ["Argument", "Block", "Constant", "Function", "Operation", "Program", "Value"]


@dataclass(eq=False, slots=True)
class Value:
    """What an operation, a block or a function defines under a name.

    ``producer`` is the operation that computes it; None for an input of a function or block.
    """

    name: str
    type: Type
    producer: Operation | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"%{self.name}"


class Constant:
    """A value that the file states: an immediate one, or one in a weight file that is read on first use.

    ``value`` is a NumPy array for tensors (a view of the mapped file where the type allows it), a ``str`` for a scalar string, a
    list or dict of such for lists and dictionaries.
    """

    __slots__ = ("_load", "_value", "file", "type")

    def __init__(self, type: Type, value: Any = None, *, load: Callable[[], Any] | None = None, file: tuple[str, int] | None = None):
        self.type = type
        self.file = file
        """Name of the weight file and offset of the blob's record; None for an immediate value."""
        self._value = value
        self._load = load

    @property
    def value(self) -> Any:
        return self._value if self._load is None else self._load()

    def __repr__(self) -> str:
        return f"Constant({self.type}, file={self.file})" if self.file else f"Constant({self.type}, {self._value!r})"


Argument: TypeAlias = Value | Constant


@dataclass(eq=False, slots=True)
class Operation:
    """One operation: ``outputs = type(inputs, attributes) { blocks }``.

    Attributes:
        type: the operation's name in MIL: ``conv``, ``const``.
        inputs: parameter name to its arguments; one, but for variadic parameters such as concat's ``values``.
        outputs: the values it defines, in order.
        attributes: constants attached to the operation itself; const and the older constexpr operations have their values here.
        blocks: nested blocks of control flow, in the order of the file (cond: true, false; while_loop: condition, body).
        origin: the layer or source line that it came from, for messages and plans.
    """

    type: str
    inputs: dict[str, tuple[Argument, ...]] = field(default_factory=dict)
    outputs: list[Value] = field(default_factory=list)
    attributes: dict[str, Constant] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    origin: str = ""

    @property
    def name(self) -> str:
        """The name in the file, or that of the first output."""
        stated = self.attributes.get("name")
        if stated is not None:
            return str(stated.value)
        return self.outputs[0].name if self.outputs else self.type

    def arguments(self) -> Iterator[Argument]:
        """Every argument of every input, in order."""
        for arguments in self.inputs.values():
            yield from arguments

    def __str__(self) -> str:
        return f"{self.type} {self.name!r}"


@dataclass(eq=False, slots=True)
class Block:
    """A list of operations in order of execution, with the values that it takes and gives."""

    inputs: list[Value] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    attributes: dict[str, Constant] = field(default_factory=dict)

    def walk(self) -> Iterator[Operation]:
        """Every operation, those of nested blocks before the operation that holds them."""
        for operation in self.operations:
            for block in operation.blocks:
                yield from block.walk()
            yield operation


@dataclass(eq=False, slots=True)
class Function:
    """A function that a model offers: inputs (states among them), a body for ``opset``, and what the file notes about it."""

    name: str
    inputs: list[Value]
    opset: str
    body: Block
    attributes: dict[str, Constant] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Value]:
        return self.body.outputs

    @property
    def states(self) -> list[Value]:
        return [value for value in self.inputs if isinstance(value.type, StateType)]


@dataclass(eq=False, slots=True)
class Program:
    """A whole ML Program: its functions, and the notes of whoever wrote it."""

    functions: dict[str, Function]
    attributes: dict[str, Constant] = field(default_factory=dict)
    version: int = 1
    doc: str = ""
