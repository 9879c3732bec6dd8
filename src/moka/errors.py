"""Moka's errors, one small tree.

    MokaError
    ├── FormatError             a file or folder is not what its format demands
    ├── ProgramError            a program breaks a rule: of its own structure or of an operation
    │   └── UnknownOperationError   an operation that the table has no record of
    ├── UnsupportedError        valid, but not something Moka (or this machine) can do
    ├── InputError              a value given to a model has a wrong name, type, shape or size
    ├── ExecutionError          an operation failed while a model was running
    └── CacheError              the folder of the cache can't be used

Every message names the file, field, operation or feature first, then what was found, what was expected and what to do.
"""

from __future__ import annotations

__all__ = [
    "CacheError",
    "ExecutionError",
    "FormatError",
    "InputError",
    "MokaError",
    "ProgramError",
    "UnknownOperationError",
    "UnsupportedError",
]


class MokaError(Exception):
    """Base of every error that Moka raises on purpose."""


class FormatError(MokaError):
    """A file or folder is not what its format demands.

    Args:
        where: the file, with the field inside it where one is known: ``weight.bin: blob at 64: offset``.
        problem: what was found and what was expected.
    """

    def __init__(self, where: object, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = str(where)
        self.problem = problem


class ProgramError(MokaError):
    """A program breaks a rule of its structure or of one of its operations."""


class UnknownOperationError(ProgramError):
    """A program uses an operation that the table of operations has no record of."""


class UnsupportedError(MokaError):
    """Something valid that Moka, or this machine, can't do."""


class InputError(MokaError, ValueError):
    """A value given to a model has a wrong name, type, shape or size."""


class ExecutionError(MokaError, RuntimeError):
    """An operation failed while a model was running."""


class CacheError(MokaError, OSError):
    """The folder of the cache can't be used: its disk is full, say."""
