"""What can be told to be wrong with a network without shapes: all of it at once, where a translation stops at the first problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network import layers as _layers  # noqa: F401  enters the translations
from moka.importers.neural_network.layers._nested import networks, writes
from moka.importers.neural_network.messages import check_enumerations
from moka.importers.neural_network.registry import LAYERS, check_inputs

__all__ = ["problems"]


def problems(message: Any, inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[str]:
    """Problems of a ``NeuralNetwork`` message or its kin, each with the layer that it is in.

    Args:
        inputs, outputs: names of the model's inputs, and of those outputs that are blobs.
    """
    given = set(inputs)
    yield from _of_layers(message.layers, given)
    written = given | set(writes(message.layers))
    for name in outputs:
        if name not in written:
            yield f"output {name!r} is a blob that no layer writes"


def _of_layers(messages: Sequence[Any], known: set[str]) -> Iterator[str]:
    """Problems of layers in order; ``known`` are the blobs that there are, to which come those that the layers write."""
    for message in messages:
        kind = message.WhichOneof("layer")
        where = f"layer {message.name!r} ({kind})"
        for name in message.input:
            if name not in known:
                yield f"{where} reads the blob {name!r}, which no input and no earlier layer writes"
        if kind not in LAYERS:
            yield f"layer {message.name!r} is of no kind that Moka knows"
        else:
            yield from _caught(check_enumerations, getattr(message, kind), where)
            yield from _caught(check_inputs, LAYERS[kind], len(message.input), where)
        inside = set(known)
        for nested in networks(message):
            yield from _of_layers(nested, set(known) if kind == "branch" else inside)  # one side of a branch sees nothing of the other
        known.update(writes([message]))


def _caught(check: Any, *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except ProgramError as error:
        yield str(error)
