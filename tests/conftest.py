"""Fixtures that tests of all rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, leave the cache of whoever runs them alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOKA_CACHE", str(tmp_path_factory.mktemp("moka_cache")))
        yield


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real models: ``MOKA_CORPUS``, or ``shared/corpus`` beside the repository; skips where there is none."""
    folder = Path(os.environ.get("MOKA_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "corpus")
    if not folder.is_dir():
        pytest.skip(f"no folder of real models at {folder}; set MOKA_CORPUS")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are reported as skipped where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
