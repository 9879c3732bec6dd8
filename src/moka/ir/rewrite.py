"""Rewriting: rules that replace what an operation gives, and one driver that applies them until nothing changes.

A rule is a function of an operation and the program's uses. It returns None to leave the operation alone, or what stands for each of its
outputs from now on: values that exist already, constants, or outputs of new operations, which the driver puts in place.

    def drop_identity(operation: Operation, uses: Uses) -> Replacements:
        return operation.inputs["x"] if operation.type == "identity" else None

    rewrite(function, [drop_identity])
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from moka.ir.program import Argument, Block, Function, Operation, Value
from moka.ir.types import StateType

__all__ = ["Replacements", "Rule", "Uses", "remove_unused", "rewrite"]

Replacements: TypeAlias = Sequence[Argument] | None
"""What stands for each output of an operation; None: the operation stays."""

_MOST_SWEEPS = 100


class Uses:
    """Who uses each value of a function: operations as an input, blocks as an output. What a sweep replaced counts until its end."""

    def __init__(self, function: Function) -> None:
        self._users: dict[Value, list[Operation | Block]] = defaultdict(list)
        self._operations: set[Operation] = set()
        self._body = function.body
        self._enter(function.body)

    def of(self, value: Value) -> list[Operation]:
        """The operations that have the value among their inputs, one entry for every use."""
        return [user for user in self._users.get(value, ()) if isinstance(user, Operation)]

    def is_output(self, value: Value) -> bool:
        """Whether the function or a nested block gives the value."""
        return any(isinstance(user, Block) for user in self._users.get(value, ()))

    def count(self, value: Value) -> int:
        return len(self._users.get(value, ()))

    def add(self, operation: Operation) -> None:
        """Enters an operation, with its nested blocks."""
        self._operations.add(operation)
        for value in _values(operation):
            self._users[value].append(operation)
        for block in operation.blocks:
            self._enter(block)

    def new_operations(self, replacements: Sequence[Argument]) -> Iterator[Operation]:
        """Operations behind replacements that the function does not have yet, each after those that it uses; enters them."""
        for argument in replacements:
            producer = argument.producer if isinstance(argument, Value) else None
            if producer is not None and producer not in self._operations:
                yield from self.new_operations([*producer.arguments()])
                self.add(producer)
                yield producer

    def may_replace(self, outputs: Sequence[Value], replacements: Sequence[Argument]) -> bool:
        """Whether replacements may stand for outputs: blocks give values only, and outputs of the function keep their names."""
        if any(self.is_output(old) and not isinstance(new, Value) for old, new in zip(outputs, replacements, strict=True)):
            return False
        given = set(self._body.outputs)
        renamed = [new for old, new in zip(outputs, replacements, strict=True) if old in given and isinstance(new, Value)]
        return len(set(renamed)) == len(renamed) and all(new.producer is not None and new not in given for new in renamed)

    def replace(self, old: Value, new: Argument) -> None:
        """Puts ``new`` wherever ``old`` is used; as an output of the function it takes over the name."""
        if old in self._body.outputs and isinstance(new, Value):
            old.name, new.name = new.name, old.name
        users = self._users.pop(old, [])
        for user in users:
            if isinstance(user, Operation):
                for name, arguments in user.inputs.items():
                    user.inputs[name] = tuple(new if argument is old else argument for argument in arguments)
            elif isinstance(new, Value):
                user.outputs = [new if value is old else value for value in user.outputs]
        if isinstance(new, Value):
            self._users[new] += users

    def _enter(self, block: Block) -> None:
        for operation in block.operations:
            self.add(operation)
        for value in block.outputs:
            self._users[value].append(block)


Rule: TypeAlias = Callable[[Operation, Uses], Replacements]


def rewrite(function: Function, rules: Sequence[Rule]) -> int:
    """Applies the rules, in place, until none of them changes anything, and removes what nobody uses any more.

    Rules are tried in their order on every operation, first on those of nested blocks. A replacement that would rename an output of the
    function is not made.

    Returns:
        How many operations were replaced.

    Raises:
        RuntimeError: the rules undo each other: they still change something after 100 sweeps.
    """
    total = 0
    for _ in range(_MOST_SWEEPS):
        changes = _sweep(function.body, rules, Uses(function))
        remove_unused(function)
        if not changes:
            return total
        total += changes
    names = ", ".join(getattr(rule, "__name__", str(rule)) for rule in rules)
    raise RuntimeError(f"rules {names}: still changing function {function.name!r} after {_MOST_SWEEPS} sweeps")


def _sweep(block: Block, rules: Sequence[Rule], uses: Uses) -> int:
    """One pass over a block's operations; gives the number of those replaced."""
    changes = 0
    kept: list[Operation] = []
    for operation in block.operations:
        changes += sum(_sweep(inner, rules, uses) for inner in operation.blocks)
        replacements = _replacements(operation, rules, uses)
        if replacements is None:
            kept.append(operation)
            continue
        changes += 1
        kept += uses.new_operations(replacements)
        for old, new in zip(operation.outputs, replacements, strict=True):
            uses.replace(old, new)
    block.operations = kept
    return changes


def _replacements(operation: Operation, rules: Sequence[Rule], uses: Uses) -> Replacements:
    """What the first rule that has an answer puts in the operation's place."""
    for rule in rules:
        replacements = rule(operation, uses)
        if replacements is not None and uses.may_replace(operation.outputs, replacements):
            return replacements
    return None


def remove_unused(function: Function) -> None:
    """Removes operations whose results nobody uses, but for those that may change a state."""
    _remove_unused(function.body, set())


def _remove_unused(block: Block, used: set[Value]) -> None:
    used.update(block.outputs)
    kept = []
    for operation in reversed(block.operations):
        if _has_effect(operation) or not used.isdisjoint(operation.outputs):
            used.update(_values(operation))
            for inner in operation.blocks:
                _remove_unused(inner, used)
            kept.append(operation)
    block.operations = kept[::-1]


def _has_effect(operation: Operation) -> bool:
    inner = (inner for block in operation.blocks for inner in block.operations)
    return any(isinstance(value.type, StateType) for value in _values(operation)) or any(map(_has_effect, inner))


def _values(operation: Operation) -> list[Value]:
    return [argument for argument in operation.arguments() if isinstance(argument, Value)]
