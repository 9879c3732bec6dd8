"""Real ML Programs that other people's converters wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import moka
from moka.models.features import MultiArrayFeature
from tests.corpus import PROGRAMS, WITH_LISTS


def positive_noise(model: moka.Model) -> dict[str, Any]:
    """Seeded random inputs above zero: some of these networks take logarithms of spectra."""
    random = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for name, feature in model.function.inputs.items():
        if isinstance(feature, MultiArrayFeature):
            inputs[name] = random.uniform(0.01, 1, feature.shape).astype(feature.dtype)
        else:
            inputs[name] = random.integers(0, 256, (feature.height, feature.width, 3), dtype=np.uint8)
    return inputs


@pytest.mark.parametrize("name", WITH_LISTS + PROGRAMS)
def test_program_runs(corpus: Path, name: str) -> None:
    model = moka.load(corpus / name)
    inputs = positive_noise(model)
    first, second = model.predict(inputs), model.predict(inputs)
    assert set(first) == set(model.function.outputs)
    for key, value in first.items():
        assert np.isfinite(value).all(), key
        assert np.ptp(value) > 0 or value.size == 1, f"{key} is constant"
        np.testing.assert_array_equal(value, second[key])


@pytest.mark.parametrize("name", WITH_LISTS + PROGRAMS)
def test_device_numerics_stay_close(corpus: Path, name: str) -> None:
    path = corpus / name
    inputs = positive_noise(moka.load(path))
    fast, device = (moka.load(path, numerics=numerics).predict(inputs) for numerics in ("fast", "device"))
    for key, value in fast.items():
        assert np.abs(value - device[key]).max() <= 0.02 * max(1.0, np.abs(value).max()), key


def test_basic_pitch_agrees_with_its_onnx_export(corpus: Path) -> None:
    """Spotify's Basic Pitch on random audio: the same network as its authors exported it to both formats."""
    session = onnxruntime.InferenceSession(str(corpus / "models/nmp.onnx"))
    audio = np.random.default_rng(0).normal(0, 0.3, (1, 43844, 1)).astype(np.float32)
    found = moka.load(corpus / "models/nmp.mlpackage").predict({"input_2": audio})
    for index, name in enumerate(("Identity", "Identity_1", "Identity_2")):
        (expected,) = session.run([f"StatefulPartitionedCall:{index}"], {session.get_inputs()[0].name: audio})
        assert np.abs(found[name] - expected).max() <= 1e-5 * np.abs(expected).max()
