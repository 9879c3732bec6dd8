"""A bridge for the conformance suite that spends no time on garbage: ``--bridge quick_bridge:install`` with this folder on PYTHONPATH.

coremltools collects all garbage at the end of every conversion, which in the suite's large processes takes most of a test's time.
Collecting only the youngest generation there changes no result.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import moka.bridge


def install() -> None:
    """Installs Moka's bridge, and makes ``gc.collect()`` collect young objects only."""
    collect: Callable[[int], int] = gc.collect
    gc.collect = lambda generation=0: collect(0)
    gc.set_threshold(5000, 20, 1000)
    moka.bridge.install()
