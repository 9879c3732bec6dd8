"""States: buffers that outlive a prediction, read and replaced by the program."""

from __future__ import annotations

from moka.ops.table import BOOL, FLOATS, INT8, INT16, INT32, UINT8, UINT16, State, T, operation

_STATES = FLOATS | INT8 | INT16 | INT32 | UINT8 | UINT16 | BOOL


@operation("ios18", folds=False)
def read_state(input: State) -> T:
    """What the state holds. Later writes don't reach the result: a write replaces the state's tensor."""
    return input.tensor


@operation("ios18", folds=False, T=_STATES)
def write_state(input: State, data: T) -> tuple[()]:
    """From now on the state holds ``data``, of the shape and type that the state has. It has no output."""
    _put(input, data)
    return ()


@operation("ios18", folds=False, T=_STATES)
def coreml_update_state(state: State, value: T) -> T:
    """From now on the state holds ``value``, which is also the result.

    Converters use it; in files it is write_state and, where the result is used, read_state.
    """
    _put(state, value)
    return value


def _put(state: State, value: T) -> None:
    if value.shape != state.tensor.shape:
        raise ValueError(f"a state of shape {tuple(state.tensor.shape)} can't hold a value of shape {tuple(value.shape)}")
    state.tensor = value
