"""How errors cross from Moka to coremltools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moka.errors import ExecutionError, MokaError

__all__ = ["runtime_errors"]


@contextmanager
def runtime_errors() -> Iterator[None]:
    """Turns errors into RuntimeError: coremltools knows no other, and lets a conversion go on after one of these.

    One while a model runs starts as Core ML's does, which is what callers look for. An error that Moka did not raise on purpose says which
    type it was; the cause stays attached to either.
    """
    try:
        yield
    except ExecutionError as error:
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
    except MokaError as error:
        raise RuntimeError(str(error)) from error
    except RuntimeError:
        raise
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__} inside Moka: {error}") from error
