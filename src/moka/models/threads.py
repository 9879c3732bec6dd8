"""How many threads a computation may use."""

from __future__ import annotations

import os

__all__ = ["worker_count"]


def worker_count() -> int:
    """The processors that this process may use, or ``OMP_NUM_THREADS`` where it is set, as for the libraries that do the computing."""
    stated = os.environ.get("OMP_NUM_THREADS", "").strip()
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
