"""What PyTorch and coremltools warn of while they export and convert is theirs to change."""

from __future__ import annotations

import pytest

_THEIRS = (
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore::DeprecationWarning:torch.*",
    "ignore::UserWarning:torch.*",
    "ignore:.*assigned during export:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/pytorch" in item.path.as_posix():
            for line in _THEIRS:
                item.add_marker(pytest.mark.filterwarnings(line))
