"""The page about operations is what its script writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from moka.ops.table import records

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("moka_scripts_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(coverage: ModuleType) -> None:
    written = coverage.PAGE.read_text(encoding="utf-8")
    assert written == coverage.page(), "operations or cases changed: run python scripts/coverage.py"


def test_the_page_has_a_row_for_every_record_and_cases_for_each(coverage: ModuleType) -> None:
    rows = [line.split(" | ") for line in coverage.page().splitlines() if line.startswith("| ")][1:]
    assert [(row[0].removeprefix("| "), row[1]) for row in rows] == [
        (name, record.opset) for name, versions in records().items() for record in versions
    ]
    assert [row[0] for row in rows if int(row[-2]) == 0] == []
