"""A stand-in for coremltools' binding to Core ML: it sits below coremltools' own classes, which check and convert as on a Mac.

It takes and gives values as the binding does by its published source, and computes with the NumPy function that a test gives it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from moka.engines import core_ml

TAKEN = ("float32", "float64", "int32", "int8")


class HeldState:
    """What ``MLState`` holds: buffers that are given as float32 where they are float16."""

    def __init__(self, buffers: dict[str, np.ndarray]) -> None:
        self.buffers = buffers

    def read_state(self, name: str) -> np.ndarray:
        return given(self.buffers[name].copy())

    def write_state(self, name: str, value: np.ndarray) -> None:
        self.buffers[name][...] = taken(value)


class Binding:
    """``_MLModelProxy``. Its class attributes say what it does and hold what was seen; each test starts with fresh ones."""

    compute: ClassVar[Callable[..., dict[str, Any]]]
    states: ClassVar[dict[str, np.ndarray]]
    newest: ClassVar[int]
    failure: ClassVar[str]
    loads: ClassVar[list[tuple[Any, ...]]]
    fed: ClassVar[list[dict[str, Any]]]
    batches: ClassVar[list[int]]
    plan: ClassVar[Any]
    running = threading.Lock()

    def __init__(self, path: str, compute_units: str, function_name: str, hints: dict[str, str], asset: Any) -> None:
        if self.failure:
            raise RuntimeError(self.failure)
        self.loads.append((path, compute_units, function_name, hints, asset))

    def predict(self, data: dict[str, Any], state: HeldState | None) -> dict[str, Any]:
        assert self.running.acquire(blocking=False), "two predictions at a time"
        try:
            self.fed.append({name: taken(value) for name, value in data.items()})
            held = () if state is None else (state.buffers,)
            time.sleep(0.001)
            return {name: given(value) for name, value in type(self).compute(self.fed[-1], *held).items()}
        finally:
            self.running.release()

    def batchPredict(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (Core ML's name)
        self.batches.append(len(data))
        return [self.predict(item, None) for item in data]

    def newState(self) -> HeldState:  # noqa: N802 (Core ML's name)
        return HeldState({name: array.copy() for name, array in self.states.items()})

    def get_compiled_model_path(self) -> str:
        return "/compiled/by/Core ML.mlmodelc"

    @staticmethod
    def get_compute_plan(path: str, compute_units: str) -> Any:
        Binding.loads.append((path, compute_units))
        return Binding.plan

    @classmethod
    def maximum_supported_specification_version(cls) -> int:
        return cls.newest


def taken(value: Any) -> Any:
    """A value as the binding takes it, refused where it would refuse it."""
    if isinstance(value, np.ndarray):
        if value.dtype.name not in TAKEN or not value.flags.writeable or min(value.strides, default=1) < 0:
            raise RuntimeError(f"Unsupported array: {value.dtype}, {value.flags}")
        return value
    if getattr(value, "mode", None) in ("RGB", "RGBA", "L", "F") or type(value) in (int, float, str, dict):
        return value
    raise RuntimeError(f"value type not convertible: {value!r}")


def given(value: Any) -> Any:
    """A value as the binding gives it."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype == np.float16 else value
    return value.convert("RGBA") if getattr(value, "mode", None) == "RGB" else value


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Binding]:
    """A Mac, as far as the engine and coremltools can tell, whose Core ML is the stand-in."""
    import coremltools.models._compiled_model
    import coremltools.models.compute_plan
    import coremltools.models.model

    (tmp_path / "coremltools").mkdir()
    (tmp_path / "coremltools" / "libcoremlpython.py").touch()
    monkeypatch.setattr(core_ml, "sys", SimpleNamespace(platform="darwin", modules={}))
    monkeypatch.setattr(core_ml, "coremltools_folder", lambda: tmp_path / "coremltools")
    for module in (coremltools.models.model, coremltools.models._compiled_model, coremltools.models.compute_plan):
        monkeypatch.setattr(module, "_MLModelProxy", Binding)
        if hasattr(module, "_macos_version"):
            monkeypatch.setattr(module, "_macos_version", lambda: (15, 0))
    monkeypatch.setattr(coremltools.models.model, "_is_macos", lambda: True)
    fresh = {"states": {}, "newest": 10, "failure": "", "loads": [], "fed": [], "batches": [], "plan": None}
    for name, value in fresh.items():
        monkeypatch.setattr(Binding, name, value, raising=False)
    monkeypatch.setattr(Binding, "compute", staticmethod(lambda data: dict(data)), raising=False)
    return Binding
