"""A bridge for the conformance suite that computes every float in float64: ``--bridge exact_bridge:install``, this folder on PYTHONPATH.

A test that fails here as well wants values that its own file does not hold: fp16 weights judged against results of the fp32 weights
they were rounded from, say. No runtime that is true to the file can pass it (`docs/conformance.md`).
"""

from __future__ import annotations

import torch
from quick_bridge import install as install_quick

from moka.engines.arithmetic import Arithmetic
from moka.formats import dtypes
from moka.ops.table import COMPUTED


def install() -> None:
    """Installs Moka's bridge, with float64 for fp16 and fp32."""
    Arithmetic.held = property(lambda self: COMPUTED | {dtypes.FP16: torch.float64, dtypes.FP32: torch.float64})  # type: ignore[assignment]
    install_quick()
