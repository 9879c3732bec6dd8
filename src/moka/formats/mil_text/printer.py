"""A ``Program`` message as the text of ``model.mil``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TextIO

from moka.errors import FormatError, InputError
from moka.formats import schema
from moka.formats.mil_text.flexible import flexible_shapes
from moka.formats.mil_text.grammar import MAX_DEPTH, OPSET_TEXTS, VERSIONS, name_text, specification_version, text_version
from moka.formats.mil_text.values import ValuePrinter

__all__ = ["print_model", "print_program", "write_model", "write_program"]

BUILD_INFO = "buildInfo"
_NONE: Mapping[str, Any] = MappingProxyType({})


def print_model(model: Any, build_info: Mapping[str, str] | None = None) -> str:
    """The text of the program of a ``Model`` message, with what the compiler takes from the rest of the model.

    That is the version of the text, and the flexible shapes of each function's inputs (``moka.formats.mil_text.flexible``).

    Args:
        model: a ``Model`` message with an ``mlProgram``.
        build_info: what is added to the ``buildInfo`` attribute, such as the compiler's version.

    Raises:
        FormatError: a type, value or shape that breaks the schema's rules.
    """
    return "".join(_model(model, build_info))


def write_model(model: Any, stream: TextIO, build_info: Mapping[str, str] | None = None) -> None:
    """``print_model`` into a text stream, one operation at a time."""
    stream.writelines(_model(model, build_info))


def print_program(program: Any, build_info: Mapping[str, str] | None = None, *, version: str | None = None) -> str:
    """The text of a ``Program`` message alone.

    Operations, outputs and blocks stand in the order of the message; functions, their inputs, an operation's inputs, attributes and entries
    of dictionaries are sorted by name, as Apple's compiler writes them.

    Args:
        program: a ``Program`` message.
        build_info: what is added to the ``buildInfo`` attribute, such as the compiler's version.
        version: the version of the text, ``"1.0"`` or ``"1.3"``; by default the one that the functions' opsets have at least.

    Raises:
        FormatError: a type or value that breaks the schema's rules.
    """
    return "".join(_program(program, build_info, version))


def write_program(program: Any, stream: TextIO, build_info: Mapping[str, str] | None = None, *, version: str | None = None) -> None:
    """``print_program`` into a text stream, one operation at a time."""
    stream.writelines(_program(program, build_info, version))


def _model(model: Any, build_info: Mapping[str, str] | None) -> Iterator[str]:
    attributes = flexible_shapes(model.description, model.mlProgram.functions)
    return _program(model.mlProgram, build_info, text_version(model.specificationVersion), attributes)


def _program(
    program: Any, build_info: Mapping[str, str] | None, version: str | None, function_attributes: Mapping[str, Any] = _NONE
) -> Iterator[str]:
    version = version or text_version(specification_version(function.opset for function in program.functions.values()))
    if version not in VERSIONS:
        raise InputError(f"version of the text: found {version!r}, expected one of {', '.join(VERSIONS)}")
    printer = _Printer(scalars=VERSIONS[version])
    yield f"program({version})\n"
    attributes = dict(program.attributes)
    if build_info:
        attributes[BUILD_INFO] = _extended(attributes.get(BUILD_INFO), build_info)
    if attributes:
        yield f"{printer.attributes(attributes)}\n"
    yield "{\n"
    for name, function in sorted(program.functions.items()):
        yield from printer.function(name, function, function_attributes.get(name, _NONE))
    yield "}"


def _extended(value: Any, build_info: Mapping[str, str]) -> Any:
    """A dictionary of strings (empty for None) with these entries beside its own, or in the place of those of the same name."""
    mil = schema.mil()
    string = mil.ValueType(tensorType=mil.TensorType(dataType=mil.STRING))
    extended = mil.Value(type=mil.ValueType(dictionaryType=mil.DictionaryType(keyType=string, valueType=string)))
    pairs = {} if value is None else {_text(pair.key): _text(pair.value) for pair in value.immediateValue.dictionary.values}
    for key, text in (pairs | dict(build_info)).items():
        pair = extended.immediateValue.dictionary.values.add()
        for message, item in ((pair.key, key), (pair.value, text)):
            message.type.CopyFrom(string)
            message.immediateValue.tensor.strings.values.append(item)
    return extended


def _text(value: Any) -> str:
    return "".join(value.immediateValue.tensor.strings.values)


class _Printer(ValuePrinter):
    """Prints functions, blocks and operations."""

    def attributes(self, values: Mapping[str, Any]) -> str:
        return f"[{', '.join(f'{name_text(name)} = {self.value(value)}' for name, value in sorted(values.items()))}]" if values else ""

    def _declared(self, items: Iterable[Any]) -> str:
        return ", ".join(f"{self.type(item.type)} {name_text(item.name)}" for item in items)

    def function(self, name: str, message: Any, more_attributes: Mapping[str, Any]) -> Iterator[str]:
        block = message.block_specializations.get(message.opset)
        if block is None:
            raise FormatError(f"function {name!r}", f"has no block for its opset {message.opset!r}")
        inputs = self._declared(sorted(message.inputs, key=lambda item: item.name))
        attributes = self.attributes({**more_attributes, **message.attributes})
        yield f"    func {name_text(name)}<{OPSET_TEXTS.get(message.opset, message.opset)}>({inputs}){attributes and ' '}{attributes} {{\n"
        yield from self._body(block, 2)
        yield ";\n"

    def _body(self, block: Any, depth: int) -> Iterator[str]:
        """The operations of a block, and its outputs at the closing brace."""
        if depth > MAX_DEPTH:
            raise FormatError("a program", f"nests blocks more than {MAX_DEPTH} deep")
        for operation in block.operations:
            yield from self._operation(operation, depth + 1)
        yield f"{'    ' * depth}}} -> ({', '.join(map(name_text, block.outputs))}){self.attributes(block.attributes)}"

    def _operation(self, message: Any, depth: int) -> Iterator[str]:
        outputs = self._declared(message.outputs)
        inputs = ", ".join(f"{name_text(name)} = {self._argument(argument.arguments)}" for name, argument in sorted(message.inputs.items()))
        attributes = self.attributes(message.attributes)
        yield f"{'    ' * depth}{outputs}{outputs and ' = '}{name_text(message.type)}({inputs}){attributes}"
        for block in message.blocks:
            yield f"\n{'    ' * depth}({self._declared(block.inputs)}) {{\n"
            yield from self._body(block, depth)
        yield ";\n"

    def _argument(self, bindings: Any) -> str:
        texts = [name_text(binding.name) if binding.WhichOneof("binding") == "name" else self.value(binding.value) for binding in bindings]
        return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
