"""Sound analysis preprocessing: what VGGish takes, from the samples of a sound."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.encoders import Transformer
from moka.models.features import Array

__all__ = ["SoundAnalysisPreprocessing", "log_mel"]

_RATE = 16_000
_WINDOW, _HOP, _TRANSFORM = 400, 160, 512
_BANDS, _LOWEST, _HIGHEST = 64, 125.0, 7500.0
_OFFSET = 0.01


class SoundAnalysisPreprocessing(Transformer):
    """Log-mel spectrogram of a sound of one channel at 16 kHz, as AudioSet's VGGish defines it."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        if self._message.WhichOneof("SoundAnalysisPreprocessingType") != "vggish":
            raise FormatError(self.path, "has no type of preprocessing; expected vggish")
        self._shape = tuple(getattr(self._output, "shape", ()))

    def _transform(self, value: Any) -> Any:
        samples = np.reshape(value, -1)
        if len(samples) < _WINDOW:
            raise InputError(f"input {self._input.name!r} has {len(samples)} samples; expected at least {_WINDOW}, 25 ms at 16 kHz")
        features = log_mel(samples)
        return features.reshape(self._shape) if features.size == np.prod(self._shape) else features


def log_mel(samples: Array) -> Array:
    """log(mel + 0.01) [frames, 64 bands] of samples in -1 to 1.

    Magnitudes of a 512-point transform of 25 ms Hann windows every 10 ms, in 64 triangles of equal width on the mel scale
    1127 ln(1 + f / 700) from 125 to 7500 Hz. Source: Hershey et al., CNN architectures for large-scale audio classification, 2017.
    """
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float64), _WINDOW)[::_HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    magnitudes = np.abs(np.fft.rfft(frames * window, _TRANSFORM))
    return np.asarray(np.log(magnitudes @ _triangles() + _OFFSET))


def _triangles() -> Array:
    """[frequencies, bands]; the lowest frequency, 0 Hz, is in no band."""
    mel = _mel(np.linspace(0, _RATE / 2, _TRANSFORM // 2 + 1))[:, None]
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), _BANDS + 2)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0
    return np.asarray(weights)


def _mel(frequency: Any) -> Any:
    return 1127 * np.log1p(np.asarray(frequency) / 700)
