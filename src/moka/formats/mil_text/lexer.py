"""Tokens of the text, read one at a time, and errors that name line and column."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from moka.errors import FormatError
from moka.formats.mil_text.grammar import NAME, unquoted

__all__ = ["Lexer"]

_TOKEN = re.compile(
    rf"""(?:\s++|//[^\n]*+)*+
    (?: (?P<name>{NAME})
      | (?P<mark>->|[()\[\]{{}}<>=,;?]|\.\.\.)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F.]++(?:[pP][-+]?\d++)?|\d[\d.]*+(?:[eE][-+]?\d++)?|inf\b|nan\b))
      | (?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")
      | (?P<end>\Z) )""",
    re.VERBOSE | re.DOTALL,
)
_SHOWN = 40


class Lexer:
    """The text with a current token.

    Attributes:
        text: the whole text.
        kind: ``name``, ``mark``, ``number``, ``string`` or ``end``.
        token: the current token as it stands in the text.
        start, end: where it begins and ends.
    """

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self.end = 0
        self._path = path
        self.advance()

    def advance(self) -> None:
        """Makes the next token the current one."""
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            start = re.compile(r"\s*").match(self.text, self.end).end()  # type: ignore[union-attr]  # matches everywhere
            what = "a string that is not closed" if self.text[start] == '"' else f"character {self.text[start]!r}"
            self.fail_at(start, f"found {what}, expected a name, a number, a string or a bracket")
        self.kind = match.lastgroup
        self.start, self.end = match.span(match.lastgroup or 0)
        self.token = self.text[self.start : self.end]

    def jump(self, position: int) -> None:
        """Makes the first token at or behind ``position`` the current one."""
        self.end = position
        self.advance()

    def peek(self) -> str:
        """The token behind the current one; empty where there is none."""
        match = _TOKEN.match(self.text, self.end)
        return match[match.lastgroup or 0] if match else ""

    def take(self, token: str) -> bool:
        """Whether the current token is this one, which is then left behind."""
        if self.token != token or self.kind == "string":
            return False
        self.advance()
        return True

    def expect(self, token: str) -> None:
        """Leaves this token behind."""
        if not self.take(token):
            self.fail(repr(token))

    def name(self, what: str) -> str:
        """The name at hand; one with unusual characters stands as a string."""
        if self.kind == "string":
            return self.string(what)
        token = self.token
        if self.kind != "name":
            self.fail(what)
        self.advance()
        return token

    def string(self, what: str) -> str:
        if self.kind != "string":
            self.fail(what)
        token = self.token
        self.advance()
        return unquoted(token)

    def fail(self, expected: str) -> NoReturn:
        """Raises an error that says what the current token is, and what was expected in its place."""
        token = self.token if len(self.token) <= _SHOWN else f"{self.token[:_SHOWN]}..."
        self.fail_at(self.start, f"found {'the end of the file' if self.kind == 'end' else repr(token)}, expected {expected}")

    def fail_at(self, position: int, problem: str) -> NoReturn:
        line = self.text.count("\n", 0, position) + 1
        column = position - self.text.rfind("\n", 0, position)
        raise FormatError(f"{self._path}: line {line}, column {column}", problem)
