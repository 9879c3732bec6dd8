"""How much memory this process has, as the system states it."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_memory", "resident_memory"]


def resident_memory() -> int | None:
    """Bytes of this process in memory now; None where the system does not say."""
    return _status("VmRSS")


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory; None where the system does not say."""
    found = _status("VmHWM")
    if found is not None or sys.platform == "win32":
        return found
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(field: str) -> int | None:
    """A size that Linux states in kB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)
