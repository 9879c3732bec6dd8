"""Which parts of a program no compiled file is known to show, so that their text is a guess."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from moka.formats.mil_text.grammar import name_text, quoted

__all__ = ["unverified_forms"]


def unverified_forms(program: Any) -> list[str]:
    """What in a ``Program`` message has a form in Moka's text that is Moka's own, each said once; empty for most programs.

    Moka reads such texts back without loss; whether Core ML on a device reads them is not known.
    """
    found: dict[str, None] = {}
    for name, function in sorted(program.functions.items()):
        found.update(dict.fromkeys(_names(name, (item.name for item in function.inputs))))
        found.update(dict.fromkeys(_types(function.inputs)))
        for block in function.block_specializations.values():
            found.update(dict.fromkeys(_block(block)))
    return list(found)


def _block(block: Any) -> Iterator[str]:
    if block.attributes:
        yield "attributes of a block"
    for operation in block.operations:
        yield from _names(operation.type, (item.name for item in operation.outputs))
        yield from _types(operation.outputs)
        if any(_escaped(value) for value in _values(operation)):
            yield "quotes, backslashes or control characters in a string"
        for inner in operation.blocks:
            yield f"blocks of an operation: {operation.type}"
            yield from _block(inner)


def _names(first: str, others: Iterable[str]) -> Iterator[str]:
    for name in (first, *others):
        if name_text(name) != name:
            yield f"a name that is no identifier: {name!r}"


def _types(items: Iterable[Any]) -> Iterator[str]:
    for item in items:
        tensor = item.type.tensorType
        if tensor.rank < 0 or any(dimension.unknown.variadic for dimension in tensor.dimensions):
            yield "a tensor of any rank"


def _values(operation: Any) -> Iterator[Any]:
    yield from operation.attributes.values()
    for argument in operation.inputs.values():
        yield from (binding.value for binding in argument.arguments if binding.WhichOneof("binding") == "value")


def _escaped(value: Any) -> bool:
    immediate = value.immediateValue
    inner = (
        *immediate.list.values,
        *immediate.tuple.values,
        *(item for pair in immediate.dictionary.values for item in (pair.key, pair.value)),
    )
    return any(quoted(text) != f'"{text}"' for text in immediate.tensor.strings.values) or any(map(_escaped, inner))
