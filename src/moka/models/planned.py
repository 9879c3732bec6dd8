"""What plans are made of: the function that a model runs, and the sizes of its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moka.errors import InputError, UnsupportedError
from moka.importers.neural_network import import_network
from moka.ir.program import Function
from moka.models.features import Feature, MultiArrayFeature
from moka.models.images import ImageFeature
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.models.shapes import Shape, declared_shape, known_shapes
from moka.planning.sizes import Sizes

__all__ = ["Planned", "input_shapes", "planned"]


@dataclass(frozen=True)
class Planned:
    """A model's function as plans see it.

    Attributes:
        shapes: how many shapes the inputs may have: 1, a number of enumerated ones, or None for an open range.
        network: whether it was made of a neural network.
    """

    function: Function
    sizes: Sizes
    shapes: int | None
    network: bool


def planned(model: ProgramModel | NetworkModel, shapes: Mapping[str, Shape]) -> Planned:
    """The function that a model runs for given shapes of its inputs, with the sizes of its values.

    Raises:
        InputError: a name that is no input's, or a shape that the model does not take.
        UnsupportedError: an input whose shape is neither declared nor given.
    """
    features = model.function.inputs
    _check(features, shapes)
    known = input_shapes(model, shapes)
    count = _count(features.values())
    if isinstance(model, ProgramModel):
        function = model.program.functions[model.function.name]
        return Planned(function, Sizes(known_shapes(function, known if count != 1 or shapes else {})), count, False)
    if missing := [name for name in features if name not in known]:
        raise UnsupportedError(f"{model.path.name}: input {missing[0]!r} has no declared shape; say which one: shapes={{...}}")
    return Planned(import_network(model.network, known).functions["main"], Sizes(), count, True)


def _check(features: Mapping[str, Feature], shapes: Mapping[str, Shape]) -> None:
    for name, shape in shapes.items():
        feature = features.get(name)
        if feature is None:
            raise InputError(f"shape of {name!r}: the model has no such input; it takes {', '.join(features) or 'none'}")
        if isinstance(feature, MultiArrayFeature) and not feature.accepts(shape):
            raise InputError(f"shape of {name!r} is {list(shape)}; expected {feature.allowed()}")


def input_shapes(model: ProgramModel | NetworkModel, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes of a model's inputs that are given or declared."""
    arrays = {name: feature for name, feature in model.function.inputs.items() if isinstance(feature, MultiArrayFeature | ImageFeature)}
    found = {name: shapes.get(name) or declared_shape(feature) for name, feature in arrays.items()}
    return {name: shape for name, shape in found.items() if shape}


def _count(features: Iterable[Feature]) -> int | None:
    """How many shapes the inputs may have; None for an open range."""
    counts = [1]
    for feature in features:
        if any(low != high for low, high in _ranges(feature)):
            return None
        counts.append(len(getattr(feature, "shapes", ())) or len(getattr(feature, "sizes", ())))
    return max(counts)


def _ranges(feature: Any) -> list[Any]:
    """Ranges of sizes: of an array's axes, of an image's width and height."""
    found = (*getattr(feature, "ranges", ()), getattr(feature, "width_range", None), getattr(feature, "height_range", None))
    return [bounds for bounds in found if bounds is not None]
