"""Activations: one type of layer, with a number for the function."""

from __future__ import annotations

from dataclasses import dataclass

from moka.formats.espresso.reading import CompiledLayer, reads
from moka.formats.espresso.weights import read_floats, set_floats


@dataclass(frozen=True, slots=True)
class _Function:
    """A function as the specification has it.

    Attributes:
        kind: the field of ``ActivationParams``.
        parameters: those that it has, of alpha and beta. What is 1 is not in the file; what is 0 is.
    """

    kind: str
    parameters: tuple[str, ...] = ()


_FUNCTIONS = {
    0: _Function("ReLU"),
    1: _Function("tanh"),
    2: _Function("leakyReLU", ("alpha",)),
    3: _Function("sigmoid"),
    5: _Function("scaledTanh", ("alpha", "beta")),
    6: _Function("linear", ("alpha", "beta")),
    7: _Function("sigmoidHard", ("alpha", "beta")),
    8: _Function("ELU", ("alpha",)),
    9: _Function("thresholdedReLU", ("alpha",)),
    10: _Function("softplus"),
    12: _Function("softsign"),
}
_LEAKY, _SLOPES = 2, 4
_LAYERS = {19: ("gelu", 0), 20: ("erf", None), 21: ("gelu", 1), 22: ("gelu", 2)}
"""Functions that are layers of their own in the specification, with their mode."""


@reads("activation")
def _activation(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    mode = layer.choice("mode", {number: number for number in (*_FUNCTIONS, _SLOPES, *_LAYERS)})
    if mode == _SLOPES or (mode == _LEAKY and layer.further_weights):
        _slopes(layer)
    elif mode in _LAYERS:
        kind, variant = _LAYERS[mode]
        params = layer.add(kind)
        if variant is not None:
            params.mode = variant
    else:
        _function(layer, _FUNCTIONS[mode])


def _function(layer: CompiledLayer, function: _Function) -> None:
    params = getattr(layer.add("activation"), function.kind)
    params.SetInParent()
    for name in ("alpha", "beta"):
        value = layer.number(name, 1)  # says nothing where the function has no such parameter
        if name in function.parameters:
            setattr(params, name, value)


def _slopes(layer: CompiledLayer) -> None:
    """A leaky rectifier with a slope for each channel, which the one blob of weights holds."""
    names = sorted(layer.further_weights)
    if len(names) != 1:
        raise layer.unknown("weights", names, "one blob with a slope for each channel")
    layer.number("alpha", 0)
    layer.number("beta", 0)
    channels = layer.shape(layer.inputs[0])[-3:][0]
    set_floats(layer.add("activation").PReLU.alpha, read_floats(layer, names[0], channels))
