"""Keeps count of the kinds of layer that networks of passed tests had."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from moka.importers.neural_network.layers import _nested
from moka.models.network_model import NetworkModel

COVERED = pytest.StashKey[set[str]]()
"""Kinds of layer that a session's passed tests have run."""

_RUN = pytest.StashKey[set[str]]()
"""Kinds of layer that one test has run."""


@pytest.fixture(autouse=True)
def kinds_that_run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes the kinds of layer of each network that predicts."""
    seen = request.node.stash.setdefault(_RUN, set())
    predict = NetworkModel._predict

    def noted(self: NetworkModel, *arguments: Any) -> dict[str, Any]:
        results = predict(self, *arguments)
        seen.update(_nested.kinds(self.network.message.layers))
        return results

    monkeypatch.setattr(NetworkModel, "_predict", noted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed and item.path.name != "test_corpus.py":  # most of those have no oracle
        seen: set[str] = item.stash[_RUN]
        item.session.stash.setdefault(COVERED, set()).update(seen)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What counts the kinds comes after all that is counted."""
    items.sort(key=lambda item: item.path.name == "test_complete.py")


@pytest.fixture
def covered(request: pytest.FixtureRequest) -> set[str]:
    """The kinds of layer that passed tests of this folder have run; skips where not all of them were asked for."""
    files = {item.path for item in request.session.items}
    missing = [path.name for path in request.path.parent.glob("test_*.py") if path not in files]
    options = request.config.option
    spread = getattr(request.config, "workerinput", {}).get("workercount", 1) > 1  # each worker sees its own tests only
    if spread or missing or options.keyword or options.markexpr or any("::" in argument for argument in request.config.args):
        pytest.skip("counts the layers of all tests in this folder; not all of them run")
    return request.session.stash.get(COVERED, set())
