"""Cases of `moka.ops.states`: after the outputs comes what the state holds at the end."""

from __future__ import annotations

import numpy as np

from tests.cases.operations import Buffer, Case

HELD = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
NEW = np.array([[-1.0, 0.5], [np.inf, 0.0]], np.float32)

CASES = [
    Case("read_state", {"input": Buffer(HELD)}, [HELD, HELD], opset="ios18"),
    Case("write_state", {"input": Buffer(HELD), "data": NEW}, NEW, outputs=(), opset="ios18"),
    Case("coreml_update_state", {"state": Buffer(HELD), "value": NEW}, [NEW, NEW], opset="ios18"),
]
