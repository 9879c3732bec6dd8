"""Errors at the border to coremltools are RuntimeErrors with Moka's message."""

from __future__ import annotations

import pytest

from moka.bridge.failures import runtime_errors
from moka.errors import ExecutionError, InputError


def test_a_failed_run_starts_as_core_ml_says_it() -> None:
    with pytest.raises(RuntimeError, match=r"^Unable to compute the prediction using ML Program: gather 'g' failed$"), runtime_errors():
        raise ExecutionError("gather 'g' failed")


def test_a_wrong_input_keeps_its_message() -> None:
    with pytest.raises(RuntimeError, match=r"^input 'x' is missing$"), runtime_errors():
        raise InputError("input 'x' is missing")


def test_an_error_that_moka_did_not_raise_says_its_type() -> None:
    with pytest.raises(RuntimeError, match=r"^KeyError inside Moka: 'x'$"), runtime_errors():
        raise KeyError("x")
