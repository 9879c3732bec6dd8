"""What a model says of its own updates: the losses, the weights that learn, and the parameters with the values that they may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moka.errors import InputError, ProgramError

__all__ = [
    "OPTIMIZERS",
    "Loss",
    "TrainableWeight",
    "UpdateParameter",
    "losses",
    "neighbors_parameter",
    "network_parameters",
    "optimizer",
    "trainable_weights",
]

OPTIMIZERS = {
    "sgdOptimizer": {"learning_rate": "learningRate", "momentum": "momentum"},
    "adamOptimizer": {"learning_rate": "learningRate", "beta1": "beta1", "beta2": "beta2", "eps": "eps"},
}
"""The optimizers of networks, with the parameters that each has: Moka's name, and the field."""

_LOSSES = {
    "categoricalCrossEntropyLossLayer": "categorical_cross_entropy",
    "meanSquaredErrorLossLayer": "mean_squared_error",
}

_UPDATABLE = {"convolution": "hasBias", "innerProduct": "hasBias"}
"""Kinds of layers that may learn, with the field that says whether they have a bias."""


@dataclass(frozen=True)
class UpdateParameter:
    """A parameter of an update as the model has it.

    Attributes:
        kind: ``int``, ``float`` or ``bool``.
        allowed: a tuple of the values that it may have; None where a range says it.
        low, high: the smallest and the largest value, where there is a range.
        least: the smallest value that makes sense, whatever the model allows.
    """

    name: str
    kind: type
    default: Any
    allowed: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    least: float | None = None

    @classmethod
    def parse(cls, name: str, message: Any, *, least: float | None = None) -> UpdateParameter:
        """From an ``Int64Parameter``, ``DoubleParameter`` or ``BoolParameter`` message."""
        kind = {"Int64Parameter": int, "DoubleParameter": float, "BoolParameter": bool}[message.DESCRIPTOR.name]
        limits = message.WhichOneof("AllowedValues") if kind is not bool and "AllowedValues" in message.DESCRIPTOR.oneofs_by_name else None
        allowed = tuple(message.set.values) if limits == "set" else None
        low, high = (message.range.minValue, message.range.maxValue) if limits == "range" else (None, None)
        return cls(name, kind, message.defaultValue, allowed, low, high, least)

    def limits(self) -> str:
        """The values that the model allows, in words; empty where it sets no limits."""
        if self.allowed is not None:
            return ", ".join(map(str, self.allowed))
        return "" if self.low is None else f"{self.low} to {self.high}"

    def checked(self, value: Any) -> Any:
        """A value that a user chose.

        Raises:
            InputError: of another type, or none of those that the model allows.
        """
        plain = value.item() if hasattr(value, "item") else value
        if isinstance(plain, bool) != (self.kind is bool) or not isinstance(plain, (int, float)) or self.kind(plain) != plain:
            raise InputError(f"{self.name} is {value!r}; expected {'an int' if self.kind is int else f'a {self.kind.__name__}'}")
        if not self._allows(plain):
            raise InputError(f"{self.name} is {value!r}; the model allows {self.limits()}")
        return self.sensible(self.kind(plain))

    def _allows(self, value: float) -> bool:
        if self.allowed is not None:
            return value in self.allowed
        return self.low is None or self.high is None or self.low <= value <= self.high

    def sensible(self, value: Any) -> Any:
        """The value, unless no update could be made with it."""
        if self.least is not None and not value >= self.least:
            raise InputError(f"{self.name} is {value!r}; expected at least {self.least}")
        return value


@dataclass(frozen=True)
class TrainableWeight:
    """One message of weights that learn.

    Attributes:
        layer, field: index of the layer in the network, and the field of its own message.
    """

    layer: int
    field: str

    def message(self, network: Any) -> Any:
        """The ``WeightParams`` in a ``NeuralNetwork`` message or its kin."""
        layer = network.layers[self.layer]
        return getattr(getattr(layer, layer.WhichOneof("layer")), self.field)


@dataclass(frozen=True)
class Loss:
    """A loss layer: ``kind`` is ``categorical_cross_entropy`` or ``mean_squared_error``; the blob that it reads, and the target's name."""

    name: str
    kind: str
    input: str
    target: str


def losses(network: Any) -> list[Loss]:
    """The loss layers of a network's message.

    Raises:
        ProgramError: there is none, or one of a kind that the format does not define.
    """
    found = []
    for message in network.updateParams.lossLayers:
        kind = message.WhichOneof("LossLayerType")
        if kind not in _LOSSES:
            raise ProgramError(f"loss layer {message.name!r}: its kind is not set; expected one of {', '.join(_LOSSES)}")
        body = getattr(message, kind)
        found.append(Loss(message.name, _LOSSES[kind], body.input, body.target))
    if not found:
        raise ProgramError("updateParams.lossLayers: the network has no loss layer; an updatable one has one or more")
    return found


def optimizer(network: Any) -> str:
    """Which optimizer a network's updates take, as its field is called: ``sgdOptimizer`` or ``adamOptimizer``.

    Raises:
        ProgramError: none is set.
    """
    kind = network.updateParams.optimizer.WhichOneof("OptimizerType")
    if kind is None:
        raise ProgramError(f"updateParams.optimizer is not set; expected {' or '.join(OPTIMIZERS)}")
    return str(kind)


def network_parameters(network: Any) -> list[UpdateParameter]:
    """The parameters of a network's updates.

    Raises:
        ProgramError: no optimizer is set.
    """
    kind, message = optimizer(network), network.updateParams
    chosen = getattr(message.optimizer, kind)
    return [
        UpdateParameter.parse("epochs", message.epochs, least=1),
        UpdateParameter.parse("mini_batch_size", chosen.miniBatchSize, least=1),
        *[UpdateParameter.parse(name, getattr(chosen, field), least=0) for name, field in OPTIMIZERS[kind].items()],
        UpdateParameter.parse("shuffle", message.shuffle),
        UpdateParameter.parse("seed", message.seed),
    ]


def neighbors_parameter(message: Any) -> UpdateParameter:
    """How many neighbors vote, in a ``KNearestNeighborsClassifier`` message."""
    return UpdateParameter.parse("number_of_neighbors", message.numberOfNeighbors, least=1)


def trainable_weights(network: Any) -> list[TrainableWeight]:
    """Weights and biases that are marked updatable, in layers that are.

    Raises:
        ProgramError: a layer of a kind that can't learn is marked, or weights that are not float32, or none are.
    """
    found = [weight for index, layer in enumerate(network.layers) if layer.isUpdatable for weight in _of_layer(index, layer)]
    if not found:
        raise ProgramError("layers: no weights are marked updatable, in the layer and in the weights themselves")
    for weight in found:
        if not weight.message(network).floatValue:
            raise ProgramError(f"layer {network.layers[weight.layer].name!r}: {weight.field} is updatable; expected float32 weights")
    return found


def _of_layer(index: int, layer: Any) -> list[TrainableWeight]:
    kind = layer.WhichOneof("layer")
    if kind not in _UPDATABLE:
        raise ProgramError(f"layer {layer.name!r} ({kind}) is marked updatable; only {' and '.join(_UPDATABLE)} layers can be")
    params = getattr(layer, kind)
    fields = ["weights", "bias"] if getattr(params, _UPDATABLE[kind]) else ["weights"]
    return [TrainableWeight(index, field) for field in fields if getattr(params, field).isUpdatable]
