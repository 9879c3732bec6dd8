"""The text of ``model.mil`` as a ``Program`` message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moka.errors import FormatError
from moka.formats.mil_text.grammar import MAX_DEPTH, OPSET_NAMES, VERSIONS
from moka.formats.mil_text.lexer import Lexer
from moka.formats.mil_text.literals import ValueParser

__all__ = ["parse_program"]


def parse_program(text: str | bytes, path: Path) -> Any:
    """The ``Program`` message of a text.

    A name of an opset that is not known is taken as it is; types, values and structure are checked, but not whether a name is defined.

    Args:
        text: the text; bytes are UTF-8.
        path: the file that errors name.

    Raises:
        FormatError: with file, line and column: what was found and what was expected.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: byte {error.start}", "is not UTF-8, expected the text of an ML Program") from error
    return _Parser(Lexer(text, path)).program()


class _Parser(ValueParser):
    """Parses programs, functions, blocks and operations."""

    def program(self) -> Any:
        lexer = self._lexer
        program = self._mil.Program(version=1)
        lexer.expect("program")
        lexer.expect("(")
        if lexer.token not in VERSIONS:
            lexer.fail(f"a version of the text: {', '.join(VERSIONS)}")
        lexer.advance()
        lexer.expect(")")
        self._attributes(program.attributes)
        lexer.expect("{")
        while not lexer.take("}"):
            self._function(program.functions)
        if lexer.kind != "end":
            lexer.fail("the end of the file")
        return program

    def _attributes(self, attributes: Any) -> None:
        """Attributes in brackets, where there are any."""
        lexer = self._lexer
        if not lexer.take("["):
            return
        while True:
            name = self._new(attributes, "the name of an attribute")
            lexer.expect("=")
            self.value(attributes[name])
            if lexer.take("]"):
                return
            lexer.expect(",")

    def _new(self, names: Any, what: str) -> str:
        """A name that is not among these yet."""
        position = self._lexer.start
        name = self._lexer.name(what)
        if name in names:
            self._lexer.fail_at(position, f"{name!r} is there already, expected another name")
        return name

    def _function(self, functions: Any) -> None:
        lexer = self._lexer
        lexer.expect("func")
        function = functions[self._new(functions, "the name of a function")]
        lexer.expect("<")
        opset = lexer.name("the name of an opset")
        lexer.expect(">")
        function.opset = OPSET_NAMES.get(opset, opset)
        names: set[str] = set()
        self._inputs(function.inputs, names)
        self._attributes(function.attributes)
        self._block(function.block_specializations[function.opset], names, 1)
        lexer.expect(";")

    def _inputs(self, inputs: Any, names: set[str]) -> None:
        """Types and names in parentheses."""
        lexer = self._lexer
        lexer.expect("(")
        while not lexer.take(")"):
            if inputs:
                lexer.expect(",")
            self._declared(inputs, names)

    def _declared(self, items: Any, names: set[str]) -> None:
        item = items.add()
        item.type.CopyFrom(self.type())
        item.name = self._new(names, "the name of a value")
        names.add(item.name)

    def _block(self, block: Any, names: set[str], depth: int) -> None:
        lexer = self._lexer
        if depth > MAX_DEPTH:
            lexer.fail_at(lexer.start, f"found a block that nests more than {MAX_DEPTH} deep")
        lexer.expect("{")
        while not lexer.take("}"):
            self._operation(block.operations.add(), names, depth)
        lexer.expect("->")
        lexer.expect("(")
        while not lexer.take(")"):
            if block.outputs:
                lexer.expect(",")
            block.outputs.append(lexer.name("the name of a value"))
        self._attributes(block.attributes)

    def _operation(self, operation: Any, names: set[str], depth: int) -> None:
        lexer = self._lexer
        if lexer.peek() != "(":
            self._outputs(operation.outputs, names)
        operation.type = lexer.name("the name of an operation")
        lexer.expect("(")
        while not lexer.take(")"):
            if operation.inputs:
                lexer.expect(",")
            argument = operation.inputs[self._new(operation.inputs, "the name of an input")]
            lexer.expect("=")
            self._argument(argument.arguments)
        self._attributes(operation.attributes)
        while lexer.token == "(":
            block = operation.blocks.add()
            inner: set[str] = set()
            self._inputs(block.inputs, inner)
            self._block(block, inner, depth + 1)
        lexer.expect(";")

    def _outputs(self, outputs: Any, names: set[str]) -> None:
        self._declared(outputs, names)
        while self._lexer.take(","):
            self._declared(outputs, names)
        self._lexer.expect("=")

    def _argument(self, bindings: Any) -> None:
        """A name or a value, or any number of them in parentheses."""
        lexer = self._lexer
        if not lexer.take("("):
            self._binding(bindings.add())
            return
        while not lexer.take(")"):
            if bindings:
                lexer.expect(",")
            self._binding(bindings.add())

    def _binding(self, binding: Any) -> None:
        if self._lexer.kind == "name" and self._lexer.peek() in ("<", "("):
            self.value(binding.value)
        else:
            binding.name = self._lexer.name("the name of a value, or a value with its type")
