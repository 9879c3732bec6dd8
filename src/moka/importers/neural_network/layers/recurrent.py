"""Recurrent layers. Blobs are sequences [sequence, batch, channels, 1, 1]; states that come in or go out are [1, batch, channels, 1, 1].

MIL's operations express most of them: the inner limit of 50 that the format describes shows with unbounded activations alone, and a cell
state of at most 1 more at each step reaches its limit late. The rest go to the ``nn_`` operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import reshaped
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value

Array: TypeAlias = np.ndarray[Any, Any]

_ACTIVATIONS: dict[str, tuple[tuple[str, tuple[float, ...]], ...]] = {
    "linear": (("linear", (0, 0)), ("linear", (1, 0))),
    "sigmoid": (("sigmoid", ()),),
    "tanh": (("tanh", ()),),
    "ReLU": (("relu", ()),),
    "scaledTanh": (("tanh", (0, 0)), ("tanh", (1, 1)), ("scaled_tanh", (1.7159, 2 / 3))),
    "sigmoidHard": (("sigmoid_hard", (0, 0)), ("sigmoid_hard", (0.2, 0.5))),
}
"""By name in the format: the name that operations have for each alpha and beta that recurrent layers take. Files mostly leave both 0, which
stands for the function's usual form; for the scaled hyperbolic tangent that is the plain one, as coremltools' tests on devices show."""

_BOUNDED = {"sigmoid", "tanh", "sigmoid_hard"}
"""Activations from -1 to 1 that an input beyond 50 doesn't change."""

_CELL_LIMIT = 50.0


@layer("simpleRecurrent")
def simple_recurrent(net: NetworkBuilder, params: Any, x: Value, state: Value | None = None) -> list[Value]:
    """The plain recurrent layer; with an output for the state, the last one."""
    inputs, outputs = _sizes(params)
    (function,) = _functions(net, [params.activation], 1)
    sequence, batch = _sequence(net, x, inputs)
    y, h = net.emit_all(
        "rnn" if function in _BOUNDED else "nn_rnn",
        2,
        x=sequence,
        initial_h=_state(net, state, batch, outputs),
        weight_ih=_stack(net, params, ["weightMatrix"], outputs, inputs),
        weight_hh=_stack(net, params, ["recursionMatrix"], outputs, outputs),
        bias=_stack(net, params, ["biasVector"], outputs) if params.hasBiasVector else None,
        activation=function,
        **_direction(params, params.sequenceOutput),
    )
    return _results(net, [y, h])


@layer("gru")
def gru(net: NetworkBuilder, params: Any, x: Value, state: Value | None = None) -> list[Value]:
    """The gated recurrent unit; with an output for the state, the last one."""
    inputs, outputs = _sizes(params)
    gate, function = _functions(net, params.activations, 2)
    sequence, batch = _sequence(net, x, inputs)
    gates = ["resetGate", "outputGate", "updateGate"]
    y, h = net.emit_all(
        "gru" if {gate, function} <= _BOUNDED else "nn_gru",
        2,
        x=sequence,
        initial_h=_state(net, state, batch, outputs),
        weight_ih=_stack(net, params, [f"{name}WeightMatrix" for name in gates], outputs, inputs),
        weight_hh=_stack(net, params, [f"{name}RecursionMatrix" for name in gates], outputs, outputs),
        bias=_stack(net, params, [f"{name}BiasVector" for name in gates], outputs) if params.hasBiasVectors else None,
        recurrent_activation=gate,
        activation=function,
        **_direction(params, params.sequenceOutput),
    )
    return _results(net, [y, h])


@layer("uniDirectionalLSTM")
def unidirectional_lstm(net: NetworkBuilder, params: Any, x: Value, *states: Value) -> list[Value]:
    """Long short-term memory; its states are hidden and cell."""
    functions = _functions(net, params.activations, 3)
    sequence, batch = _sequence(net, x, params.inputVectorSize)
    _check_states(net, states, 2)
    direction = _direction(params, params.params.sequenceOutput)
    return _results(net, _lstm(net, params, params.weightParams, functions, sequence, batch, states, direction))


@layer("biDirectionalLSTM")
def bidirectional_lstm(net: NetworkBuilder, params: Any, x: Value, *states: Value) -> list[Value]:
    """Two LSTMs, the second from the sequence's end, side by side at each step; the states are the first's, then the second's."""
    if len(params.weightParams) != 2:
        raise ProgramError(f"{net.origin}: weightParams has {len(params.weightParams)} entries; expected 2, forward and backward")
    sequence, batch = _sequence(net, x, params.inputVectorSize)
    _check_states(net, states, 4)
    whole = params.params.sequenceOutput
    results = []
    for index, direction in enumerate(("forward", "reverse")):
        functions = _functions(net, params.activationsBackwardLSTM if index else params.activationsForwardLSTM, 3)
        own = states[2 * index : 2 * index + 2]
        options = {"direction": direction, "output_sequence": whole}
        results.append(_lstm(net, params, params.weightParams[index], functions, sequence, batch, own, options))
    (y, *forward), (y_back, *backward) = results
    aligned = net.emit("reverse", x=y_back, axes=[0]) if whole else y_back
    joined = net.emit("concat", values=[y, aligned], axis=2)
    return _results(net, [joined, *forward, *backward])


def _lstm(
    net: NetworkBuilder,
    params: Any,
    weights: Any,
    functions: Sequence[str],
    sequence: Value,
    batch: int,
    states: Sequence[Value],
    direction: dict[str, Any],
) -> list[Value]:
    """One direction: the sequence, the last hidden state, the last cell state."""
    options, inputs, outputs = params.params, *_sizes(params)
    gates = ["inputGate", "forgetGate", "outputGate", "blockInput"]
    skipped = "forgetGate" if options.coupledInputAndForgetGate else ""
    h, c = states or (None, None)
    operation, limits = _cell_limit(net, options, functions, sequence, bool(states))
    return net.emit_all(
        operation,
        3,
        x=sequence,
        initial_h=_state(net, h, batch, outputs),
        initial_c=_state(net, c, batch, outputs),
        weight_ih=_stack(net, weights, [f"{name}WeightMatrix" for name in gates], outputs, inputs, skipped=skipped),
        weight_hh=_stack(net, weights, [f"{name}RecursionMatrix" for name in gates], outputs, outputs, skipped=skipped),
        bias=_lstm_bias(net, options, weights, gates, outputs, skipped),
        peephole=_peephole(net, options, weights, gates[:3], outputs, skipped),
        recurrent_activation=functions[0],
        cell_activation=functions[1],
        activation=functions[2],
        **limits,
        **direction,
    )


def _cell_limit(
    net: NetworkBuilder, options: Any, functions: Sequence[str], sequence: Value, has_states: bool
) -> tuple[str, dict[str, Any]]:
    """The operation and its limits: MIL's where that is the same, and without a limit that no cell state can reach."""
    clip = options.cellClipThreshold or _CELL_LIMIT
    if options.coupledInputAndForgetGate or not set(functions) <= _BOUNDED:
        return "nn_lstm", {"clip": clip, "coupled": options.coupledInputAndForgetGate}
    steps = net.shape(sequence)[0]
    reachable = has_states or not isinstance(steps, int) or steps > clip
    return "lstm", {"clip": clip if reachable else None}


def _lstm_bias(net: NetworkBuilder, options: Any, weights: Any, gates: Sequence[str], size: int, skipped: str) -> Array | None:
    """Biases, with 1 more for the forget gate if the layer says so."""
    if not options.hasBiasVectors and not options.forgetBias:
        return None
    names = [f"{name}BiasVector" for name in gates]
    bias = _stack(net, weights, names, size, skipped=skipped) if options.hasBiasVectors else np.zeros(len(gates) * size, np.float32)
    if options.forgetBias:
        bias[size : 2 * size] += 1
    return bias


def _peephole(net: NetworkBuilder, options: Any, weights: Any, gates: Sequence[str], size: int, skipped: str) -> Array | None:
    names = [f"{name}PeepholeVector" for name in gates]
    return _stack(net, weights, names, size, skipped=skipped) if options.hasPeepholeVectors else None


def _sizes(params: Any) -> tuple[int, int]:
    return int(params.inputVectorSize), int(params.outputVectorSize)


def _functions(net: NetworkBuilder, messages: Sequence[Any], count: int) -> list[str]:
    """The layer's activations, by the names that operations have."""
    if len(messages) != count:
        raise ProgramError(f"{net.origin}: has {len(messages)} activations; expected {count}")
    return [_function(net, message) for message in messages]


def _function(net: NetworkBuilder, message: Any) -> str:
    kind = message.WhichOneof("NonlinearityType")
    if kind not in _ACTIVATIONS:
        raise ProgramError(f"{net.origin}: activation is {kind or 'not set'}; expected one of {', '.join(_ACTIVATIONS)}")
    parameters = getattr(message, kind)
    for name, numbers in _ACTIVATIONS[kind]:
        if not numbers or np.allclose((parameters.alpha, parameters.beta), numbers, atol=0.01):
            return name
    allowed = " or ".join(f"{alpha:.4g} and {beta:.4g}" for _, (alpha, beta) in _ACTIVATIONS[kind])
    stated = f"{parameters.alpha:.4g} and {parameters.beta:.4g}"
    raise ProgramError(f"{net.origin}: activation {kind} has alpha and beta {stated}; recurrent layers take {allowed}")


def _sequence(net: NetworkBuilder, x: Value, size: int) -> tuple[Value, int]:
    """A blob as a sequence [s, b, size], and b."""
    shape = net.shape(x)
    if len(shape) != 5 or shape[2:] != (size, 1, 1):
        raise ProgramError(f"{net.origin}: the input has shape {list(shape)}; expected [sequence, batch, {size}, 1, 1]")
    if not isinstance(shape[1], int):
        raise ProgramError(f"{net.origin}: the batch of {x.name!r} depends on data; it has to be known here")
    return net.emit("squeeze", x=x, axes=[3, 4]), shape[1]


def _check_states(net: NetworkBuilder, states: Sequence[Value], count: int) -> None:
    if len(states) not in (0, count):
        raise ProgramError(f"{net.origin}: has {len(states)} inputs for states; expected none or {count}")


def _state(net: NetworkBuilder, given: Value | None, batch: int, size: int) -> Any:
    """An initial state as [batch, size]: zeros where none is given, and one that is given for all of the batch where it has one row."""
    if given is None:
        return np.zeros((batch, size), np.float32)
    if net.shapes.tensor(given) is None:  # converters make states longer than the batch, of which the first rows count
        rows_of_state = net.emit("reshape", rank=2, x=given, shape=[-1, size])
        return reshaped(net, net.emit("slice_by_size", rank=2, x=rows_of_state, begin=[0, 0], size=[batch, size]), [batch, size])
    rows, rest = divmod(int(np.prod(net.static_shape(given))), size)
    if rest or rows not in (1, batch):
        raise ProgramError(
            f"{net.origin}: the state {given.name!r} has shape {list(net.shape(given))}; expected [1, {batch}, {size}, 1, 1]"
        )
    state = net.emit("reshape", x=given, shape=[rows, size])
    return state if rows == batch else net.emit("tile", x=state, reps=[batch, 1])


def _stack(net: NetworkBuilder, message: Any, fields: Sequence[str], *shape: int, skipped: str = "") -> Array:
    """Weights of several gates, each of ``shape``, one under the other; zeros for a gate that the layer does not use."""
    parts = [
        np.zeros(shape, np.float32)
        if skipped and field.startswith(skipped)
        else net.weights.read(getattr(message, field), shape, f"{net.origin}: {field}")
        for field in fields
    ]
    return np.concatenate(parts)


def _direction(params: Any, output_sequence: bool) -> dict[str, Any]:
    return {"direction": "reverse" if params.reverseInput else "forward", "output_sequence": output_sequence}


def _results(net: NetworkBuilder, values: Sequence[Value]) -> list[Value]:
    """The sequence and, where the layer has outputs for them, the states, with five axes."""
    sequence, *states = values
    blobs = [net.emit("expand_dims", x=sequence, axes=[-2, -1])]
    if len(net.layer.output) > 1:
        blobs += [net.emit("expand_dims", x=state, axes=[0, -2, -1]) for state in states]
    return blobs
