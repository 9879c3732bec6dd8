"""The table against coremltools' registry of operations: names, opsets, parameters, defaults and element types."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from moka.ops import OPSETS, lookup, records
from moka.ops.table import Kind, OperationRecord

NOT_RECORDS = {"const", "_const_symbolic"}
"""Constants are values of the program, not operations of the table."""

DEFAULTS_BY_INPUT = {"strides", "pad", "dilations", "axes", "box_indices", "bias"}
"""Defaults that coremltools works out from the input; in the table they are None, like those of tensors, and left to the kernel."""

WIDER = {("resample", "ios15", "coordinates")}
"""Tensors of which the table allows more element types than coremltools writes."""


def registered() -> Iterator[tuple[str, str, Any]]:
    """Name, first opset and definition of every version of every core operation."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    for name, versions in SSAOpRegistry.core_ops.items():
        seen: set[Any] = set()
        for target, definition in sorted(versions.items(), key=lambda pair: pair[0].value):
            if definition not in seen and name not in NOT_RECORDS:
                seen.add(definition)
                yield name, max("ios15", target.name.lower()), definition


@pytest.fixture(scope="module")
def versions() -> list[tuple[str, str, Any, OperationRecord]]:
    return [(name, opset, definition, lookup(name, opset)) for name, opset, definition in registered()]


def test_every_version_of_every_operation_has_a_record(versions: list[Any]) -> None:
    known = {(name, opset) for name, opset, _, _ in versions}
    assert len(known) > 220
    mine = {(name, record.opset) for name, versions in records().items() for record in versions if not name.startswith("nn_")}
    assert known <= mine
    assert {name for name, _ in mine - known} <= {"coreml_update_state", "write_state"}  # coremltools writes the second for the first


def test_parameters_are_the_same(versions: list[Any]) -> None:
    for name, opset, definition, record in versions:
        given = {key: kind for key, kind in definition.input_spec.input_types.items() if key != "_existing_blocks"}
        assert set(record.parameters) == set(given), (name, opset)
        assert {key for key, item in record.parameters.items() if not item.required} == {key for key in given if given[key].optional}, (
            name,
            opset,
        )


def test_element_types_are_the_same(versions: list[Any]) -> None:
    from coremltools.converters.mil.mil import types

    checked = 0
    for name, opset, definition, record in versions:
        for key, parameter in record.parameters.items():
            if parameter.kind is not Kind.TENSOR or parameter.variable is None or (name, opset, key) in WIDER:
                continue
            kind = definition.input_spec.input_types[key]
            domain = definition.type_domains[kind.type_domain_id] if kind.type_domain_id else kind.type_domain
            expected = {types.builtin_to_string(item) for item in domain}
            assert {item.name for item in record.domains[parameter.variable]} == expected, (name, opset, key)
            checked += 1
    assert checked > 200


def default_inputs(definition: Any) -> dict[str, Any]:
    """The defaults of an operation whose inputs are all float32 and of rank 4."""
    from coremltools.converters.mil.mil import types

    operation = definition.__new__(definition)
    for key in definition.input_spec.input_types:
        setattr(operation, key, SimpleNamespace(dtype=types.fp32, rank=4, shape=(2, 3, 4, 5), val=None))
    return dict(operation.default_inputs().items())


def test_defaults_are_the_same(versions: list[Any]) -> None:
    checked = 0
    for name, opset, definition, record in versions:
        for key, expected in default_inputs(definition).items():
            found = record.parameters[key].default
            if found is None and (key in DEFAULTS_BY_INPUT or record.parameters[key].kind is Kind.TENSOR):
                continue
            where = f"{name}, {opset}, {key}: found {found!r}, expected {expected!r}"
            if isinstance(expected, float | np.floating):
                assert np.float32(found) == np.float32(expected), where  # coremltools rounds them to the type of the input
            else:
                assert found == (tuple(expected) if isinstance(expected, list) else expected), where
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("opset", OPSETS)
def test_an_older_opset_never_gets_a_newer_record(opset: str) -> None:
    order = list(OPSETS)
    for name, versions in records().items():
        if order.index(versions[0].opset) <= order.index(opset):
            assert order.index(lookup(name, opset).opset) <= order.index(opset)
