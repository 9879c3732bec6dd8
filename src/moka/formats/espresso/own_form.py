"""Moka's own form of layers that no real compiled model shows: the layer's message as it is in the source, field by field.

    {"type": "mvn", "moka_layer": "mvn", "moka_parameters": {"acrossChannels": true, "epsilon": 1e-05}, ...}

``moka_layer`` is the field of ``NeuralNetworkLayer`` that is set. Of messages only the fields that are set stand there; numbers that
JSON lacks are texts, and the numbers of a ``WeightParams`` message are the id of a blob in the weight file. Nested networks are such
messages too. Nothing but Moka reads this form, and the two names tell it from what Apple's compiler writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from moka.errors import FormatError
from moka.formats.espresso.reading import KIND_KEY, CompiledLayer, CompiledNetwork
from moka.formats.espresso.weights import set_floats

__all__ = [
    "PARAMETERS_KEY",
    "PREPROCESSING_KEY",
    "WEIGHT_FIELDS",
    "message_content",
    "nested_outputs",
    "read_own_form",
    "read_own_preprocessing",
]

PARAMETERS_KEY = "moka_parameters"
PREPROCESSING_KEY = "moka_preprocessing"
"""What a net says of images that ``transform_params`` can't: messages of ``NeuralNetworkPreprocessing``, in order."""

WEIGHT_FIELDS = ("floatValue", "float16Value", "rawValue", "int8RawValue")
"""Fields of ``WeightParams`` that hold numbers, each a blob of its own."""

_DEEPEST = 90
"""Messages in each other; protobuf takes about 100."""

_NETWORKS = {"branch": ("ifBranch", "elseBranch"), "loop": ("conditionNetwork", "bodyNetwork")}

AddWeights: TypeAlias = Callable[[Any, str], int]


def message_content(message: Any, add_weights: AddWeights) -> dict[str, Any]:
    """A message as JSON holds it.

    Args:
        add_weights: puts the numbers of a ``WeightParams`` message, in the field named, into the weight file; gives the blob's id.
    """
    if message.DESCRIPTOR.name == "WeightParams":
        blobs = {name: add_weights(message, name) for name in WEIGHT_FIELDS if len(getattr(message, name))}
        return blobs | {field.name: _content(field, value, add_weights) for field, value in _rest(message)}
    return {field.name: _content(field, value, add_weights) for field, value in message.ListFields()}


def _rest(message: Any) -> Iterator[tuple[Any, Any]]:
    return ((field, value) for field, value in message.ListFields() if field.name not in WEIGHT_FIELDS)


def _content(field: Any, value: Any, add_weights: AddWeights) -> Any:
    if _is_map(field):
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _item(inner, value[key], add_weights) for key in sorted(value)}
    if _is_repeated(value):
        return [_item(field, item, add_weights) for item in value]
    return _item(field, value, add_weights)


def _is_repeated(value: Any) -> bool:
    """Whether a field's value is that of a repeated field; descriptors say so in other ways with each release of protobuf."""
    return hasattr(value, "extend")


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _item(field: Any, value: Any, add_weights: AddWeights) -> Any:
    if field.message_type is not None:
        return message_content(value, add_weights)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_own_form(layer: CompiledLayer) -> None:
    """Adds the layer of the specification that a layer in this form is.

    Raises:
        FormatError: a kind, a field or a value that the specification does not have.
    """
    message = layer.network.message.layers.add(name=layer.name, input=layer.inputs, output=layer.outputs)
    kinds = {field.name for field in message.DESCRIPTOR.oneofs_by_name["layer"].fields}
    kind = layer.content(KIND_KEY)
    if not isinstance(kind, str) or kind not in kinds:
        raise layer.refuse(KIND_KEY, f"found {kind!r:.80}, expected a kind of layer that the specification has")
    _Filling(layer).fill(getattr(message, kind), layer.content(PARAMETERS_KEY), PARAMETERS_KEY, 0)


def read_own_preprocessing(network: CompiledNetwork, content: object) -> None:
    """Adds what is done to images, where a net says so in Moka's own form; errors as in `read_own_form`."""
    place = CompiledLayer(network, {"name": "", "type": PREPROCESSING_KEY, "top": PREPROCESSING_KEY})
    if not isinstance(content, list):
        raise place.refuse(PREPROCESSING_KEY, f"found {content!r:.80}, expected a list")
    for index, item in enumerate(content):
        _Filling(place).fill(network.message.preprocessing.add(), item, f"{PREPROCESSING_KEY}[{index}]", 0)


class _Filling:
    """Fills messages from JSON."""

    def __init__(self, layer: CompiledLayer) -> None:
        self.layer = layer

    def fill(self, message: Any, content: Any, where: str, depth: int) -> None:
        """Fills a message, which is set even if it stays empty."""
        if not isinstance(content, dict) or depth > _DEEPEST:
            raise self.layer.refuse(where, f"found {content!r:.80}, expected an object, with at most {_DEEPEST} in each other")
        message.SetInParent()
        for name, value in content.items():
            field, place = message.DESCRIPTOR.fields_by_name.get(name), f"{where}.{name:.80}"
            if field is None:
                raise self.layer.refuse(place, f"{message.DESCRIPTOR.name} has no such field")
            if message.DESCRIPTOR.name == "WeightParams" and name in WEIGHT_FIELDS:
                self._set_weights(message, name, value, place)
            else:
                self._set(message, field, value, place, depth + 1)

    def _set(self, message: Any, field: Any, value: Any, where: str, depth: int) -> None:
        target = getattr(message, field.name)
        expected = dict if _is_map(field) else list if _is_repeated(target) else None
        if expected is not None and not isinstance(value, expected):
            raise self.layer.refuse(where, f"found {value!r:.80}, expected {'an object' if expected is dict else 'a list'}")
        if _is_map(field):  # from texts to messages, as all maps of layers are
            for key, item in value.items():
                self.fill(target[key], item, f"{where}.{key:.80}", depth)
        elif field.message_type is not None:
            for item in value if _is_repeated(target) else [value]:
                self.fill(target.add() if _is_repeated(target) else target, item, where, depth)
        else:
            self._set_scalars(message, field, value, where)

    def _set_scalars(self, message: Any, field: Any, value: Any, where: str) -> None:
        try:
            if _is_repeated(getattr(message, field.name)):
                getattr(message, field.name).extend(_scalar(field, item) for item in value)
            else:
                setattr(message, field.name, _scalar(field, value))
        except (TypeError, ValueError) as error:
            raise self.layer.refuse(where, f"found {value!r:.80}, which the field can't hold: {error}") from error

    def _set_weights(self, message: Any, name: str, value: Any, where: str) -> None:
        if type(value) is not int or value < 0:
            raise self.layer.refuse(where, f"found {value!r:.80}, expected the id of a blob")
        file = self.layer.weight_file()
        data = file.blob(value)
        if name != "floatValue":
            setattr(message, name, data.tobytes())
        elif data.size % 4:
            raise FormatError(f"{file.path}: blob {value}", f"has {data.size} bytes, expected numbers of 4; {self.layer.where} uses it")
        else:
            set_floats(message, np.frombuffer(data.data, "<f4"))


def _scalar(field: Any, value: Any) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE) and isinstance(value, str):
        return float(value)
    if isinstance(value, bool) is not (field.type == field.TYPE_BOOL):
        raise TypeError(f"expected {'true or false' if field.type == field.TYPE_BOOL else 'no truth value'}")
    return value


def nested_outputs(message: Any) -> Iterator[str]:
    """The blobs that the networks nested in a layer write, which layers after it may read."""
    kind = message.WhichOneof("layer")
    for name in _NETWORKS.get(kind, ()):
        for layer in getattr(getattr(message, kind), name).layers:
            yield from layer.output
            yield from nested_outputs(layer)
