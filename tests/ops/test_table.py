"""The table against coremltools' registry of core operations: every operation, every version, names, defaults and element types."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.input_type import InternalInputType, PyFunctionInputType, TensorInputType
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from moka.errors import UnknownOperationError
from moka.ops.table import lookup, records
from tests.cases.operations import all_cases

ABSENT = {
    "const": "the engine binds constants itself; they need no kernel",
    "_const_symbolic": "a helper of coremltools' own tests; never in a file",
}
"""Operations of coremltools that the table has no record of, and why."""

BEYOND = {
    "coreml_update_state": "a dialect operation of coremltools, from which it writes write_state and read_state",
    "write_state": "in files only: coremltools has no operation of that name",
}
"""Operations of the table that coremltools' registry has not, and why; those named nn_ are for layers of networks without a twin in MIL."""

OTHER_DEFAULTS = {
    ("fill", "value"): "a tensor, whose default of 0.0 the kernel makes",
    ("fill_like", "value"): "a tensor, whose default of 0.0 the kernel makes",
}
"""Defaults that are None in the table, and why."""


def versions() -> list[tuple[str, str, type]]:
    """Name, first opset and class of every version that coremltools has from iOS 15 on."""
    found = []
    for name, classes in sorted(SSAOpRegistry.core_ops.items()):
        before = None
        for target, definition in sorted(classes.items(), key=lambda item: item[0].value):
            opset = f"ios{target.name.removeprefix('iOS')}"
            if opset not in ("ios13", "ios14") and definition is not before and name not in ABSENT:
                found.append((name, opset, definition))
                before = definition
    return found


VERSIONS = versions()
each_version = pytest.mark.parametrize(("name", "opset", "definition"), VERSIONS, ids=lambda item: item if isinstance(item, str) else "")


def inputs(definition: Any) -> dict[str, Any]:
    """The inputs of a version, with coremltools' classes of them, but for what is internal to its builder."""
    items = definition.input_spec.input_types.items()
    return {name: kind for name, kind in items if isinstance(kind, PyFunctionInputType) or not isinstance(kind, InternalInputType)}


def defaults(definition: Any, rank: int) -> dict[str, Any]:
    """Defaults for inputs of some rank and size, as plain values."""
    operation = definition.__new__(definition)
    x = SimpleNamespace(rank=rank, shape=(rank,) * rank, dtype=types.fp32)
    for name in ("x", "weight", "box_indices", "boxes"):
        object.__setattr__(operation, name, x)
    object.__setattr__(operation, "return_indices", SimpleNamespace(val=True))
    return {name: plain(value) for name, value in operation.default_inputs().items()}


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


@each_version
def test_the_table_has_it(name: str, opset: str, definition: Any) -> None:
    try:
        assert lookup(name, opset).name == name
    except UnknownOperationError as error:
        pytest.fail(str(error))


@each_version
def test_inputs_have_the_same_names(name: str, opset: str, definition: Any) -> None:
    assert set(lookup(name, opset).parameters) == set(inputs(definition))


@each_version
def test_the_same_inputs_may_be_left_out(name: str, opset: str, definition: Any) -> None:
    parameters = lookup(name, opset).parameters
    optional = {key for key, kind in inputs(definition).items() if kind.optional}
    assert {key for key, parameter in parameters.items() if not parameter.required} == optional


@each_version
def test_defaults_are_the_same(name: str, opset: str, definition: Any) -> None:
    """A default that depends on the shape of an input is None in the table: the kernel works it out."""
    fixed, other = defaults(definition, 4), defaults(definition, 3)
    left_open = {key for key, value in fixed.items() if value != other[key] or (name, key) in OTHER_DEFAULTS}
    expected = {key: None if key in left_open else value for key, value in fixed.items() if key in inputs(definition)}
    found = {key: plain(lookup(name, opset).parameters[key].default) for key in expected}
    assert found == {key: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value for key, value in expected.items()}


@each_version
def test_element_types_are_the_same(name: str, opset: str, definition: Any) -> None:
    record = lookup(name, opset)
    for key, kind in inputs(definition).items():
        parameter = record.parameters[key]
        if isinstance(kind, TensorInputType) and parameter.variable is not None:
            domain = kind.type_domain or definition.type_domains[kind.type_domain_id]
            names = {types.builtin_to_string(item) for item in domain}
            assert set(map(str, record.domains[parameter.variable])) == {"string" if item == "str" else item for item in names}, key


def test_the_table_has_nothing_that_coremltools_has_not() -> None:
    assert {name for name in set(records()) - set(SSAOpRegistry.core_ops) if not name.startswith("nn_")} == set(BEYOND)


def test_no_version_is_invented() -> None:
    """Every record begins at an opset where coremltools changed the operation."""
    real = {(name, opset) for name, opset, _ in VERSIONS}
    own = {(name, record.opset) for name, versions in records().items() for record in versions if name in SSAOpRegistry.core_ops}
    assert own - real == set()


def test_every_record_has_a_case() -> None:
    """A case at the opset of each record, or at a later one that still uses it."""
    used = {(name, lookup(name, case.opset).opset) for case in all_cases() for name in case.operations if name != "const"}
    wanted = {(name, record.opset) for name, versions in records().items() for record in versions}
    kernels = {id(lookup(*key).kernel) for key in used}
    missing = sorted(key for key in wanted - used if id(lookup(*key).kernel) not in kernels)
    assert missing == []


def test_every_record_says_what_it_does() -> None:
    silent = [record.name for versions in records().values() for record in versions if not record.doc]
    assert silent == []
