"""Numbers as compiled networks hold them."""

from __future__ import annotations

import numpy as np

from moka.errors import UnsupportedError

__all__ = ["number"]


def number(value: float) -> int | float:
    """A float32 as a JSON number: an integer where it is one, else the decimal of the float32 itself.

    Raises:
        UnsupportedError: infinite, or not a number.
    """
    single = float(np.float32(value))
    if not np.isfinite(single):
        raise UnsupportedError(f"a layer's parameter is {single}; a compiled network holds finite numbers only")
    return int(single) if single.is_integer() else single
