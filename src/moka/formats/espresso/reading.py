"""One layer of a compiled network while it is read: its attributes, checked as they are taken, and what is made of it.

Whatever a layer has is taken by the function that reads its type; an attribute that is left over could change what the layer
computes, so it is refused, unless it is one of ``HINTS``, which only say where or how to compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from moka.errors import FormatError, UnsupportedError
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, BlobShape, EspressoWeights, Layer

__all__ = ["HINTS", "KIND_KEY", "READERS", "CompiledLayer", "CompiledNetwork", "axes_of", "reads"]

HINTS = frozenset(
    {"attributes", "debug_info", "hint_fallback_from_ane", "hint_fallback_from_metal", "n_parallel", "use_version", "version"}
)
"""Attributes that don't change what a layer computes: where it may run, in how many parts, which release wrote it."""

KIND_KEY = "moka_layer"
"""The attribute that marks a layer in Moka's own form, which may write no blobs: those of control flow don't."""

_COMMON = frozenset({"attributes", "bottom", "name", "top", "type"})
_FIVE = ("seq", "n", "k", "h", "w")
"""A blob's axes from the outermost to the innermost; ``seq`` is left out of files where it is 1."""
_LARGEST = 2**31 - 1
_LARGEST_FLOAT = 3.4028234663852886e38

LayerReader: TypeAlias = "Callable[[CompiledLayer], None]"
R = TypeVar("R", bound=LayerReader)
T = TypeVar("T")

READERS: dict[str, LayerReader] = {}
"""What reads each type of layer."""


def reads(*types: str) -> Callable[[R], R]:
    """Enters the function that reads layers of the types named."""

    def enter(reader: R) -> R:
        for name in types:
            if name in READERS:
                raise ValueError(f"layers of type {name!r} have two readers")
            READERS[name] = reader
        return reader

    return enter


def axes_of(shape: BlobShape) -> tuple[int, ...]:
    """A blob's shape: of its rank where the file states one, else [sequence, batch, channel, height, width]."""
    sizes = tuple(shape.get(axis, 1) for axis in _FIVE)
    rank = shape.get("_rank", len(sizes))
    return sizes[len(sizes) - rank :]


@dataclass
class CompiledNetwork:
    """What the layers of one compiled network share.

    Attributes:
        folder: where its files are.
        message: the ``NeuralNetwork`` message that is made.
        shapes: the shapes of its blobs.
        weights: its weight file; None where there is none, as a network without weights may have.
    """

    folder: Path
    message: Any
    shapes: dict[str, BlobShape]
    weights: EspressoWeights | None
    names: set[str] = field(default_factory=set)

    def unique(self, name: str) -> str:
        """A name for a layer or blob that the file has no name for."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name


class CompiledLayer:
    """One layer: attributes by name and kind, blobs, weights, and `add` for what it is in a specification.

    Attributes:
        network: what it shares with the other layers.
        name, type: as the file states them.
        inputs, outputs: names of blobs.
    """

    def __init__(self, network: CompiledNetwork, content: Layer) -> None:
        self.network = network
        self.name: str = content["name"]
        self.type: str = content["type"]
        self._content = content
        self.inputs = self._names("bottom")
        self.outputs = self._names("top")
        self._taken: set[str] = set()
        self._weights = self._weight_table()

    @property
    def where(self) -> str:
        """The layer, for messages."""
        return f"{self.network.folder / NET_FILE}: layer {self.name!r:.80} ({self.type:.40})"

    def refuse(self, attribute: str, problem: str) -> FormatError:
        """The error for an attribute that breaks the format."""
        return FormatError(f"{self.where}: {attribute}", problem)

    def unknown(self, attribute: str, found: object, known: str) -> UnsupportedError:
        """The error for what may be right but is of no known meaning."""
        return UnsupportedError(f"{self.where}: {attribute} is {found!r:.80}; known is {known}")

    def _names(self, attribute: str) -> list[str]:
        text = self._content.get(attribute, "")
        names: list[str] = text.split(",") if text else []
        if not all(names) or (attribute == "top" and not names and KIND_KEY not in self._content):
            raise self.refuse(attribute, f"found {text!r:.80}, expected names of blobs, joined by commas")
        return names

    # Attributes

    def has(self, name: str) -> bool:
        """Whether the layer states an attribute."""
        return name in self._content

    def attributes_with(self, part: str) -> list[str]:
        """Attributes not taken yet whose name has ``part`` in it."""
        return sorted(name for name in self._content if part in name and name not in self._taken)

    def _take(self, name: str, default: object) -> Any:
        self._taken.add(name)
        value = self._content.get(name, default)
        if value is None:
            raise self.refuse(name, "is missing")
        return value

    def content(self, name: str) -> object:
        """An attribute as it stands in the file; it has to be there."""
        return self._take(name, None)

    def integer(self, name: str, default: int | None = None, *, low: int = 0, high: int = _LARGEST) -> int:
        """An integer from ``low`` to ``high``; it has to be there unless there is a default."""
        value = self._take(name, default)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"found {value!r:.80}, expected an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number of single precision."""
        value = self._take(name, default)
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _LARGEST_FLOAT:
            raise self.refuse(name, f"found {value!r:.80}, expected a finite number")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no, written as ``true`` or as 1."""
        value = self._take(name, default)
        if value not in (0, 1) or not isinstance(value, (bool, int)):
            raise self.refuse(name, f"found {value!r:.80}, expected 0 or 1")
        return bool(value)

    def choice(self, name: str, known: Mapping[int, T], default: int | None = None) -> T:
        """What a number stands for, by a table of those that are known."""
        value = self._take(name, default)
        if type(value) is not int or value not in known:
            raise self.unknown(name, value, ", ".join(map(str, known)))
        return known[value]

    def only(self, name: str, *known: object, default: object = 0) -> None:
        """Checks an attribute that is understood with these values only; False and True are 0 and 1."""
        value = self._take(name, default)
        if value not in known:
            raise self.unknown(name, value, ", ".join(map(str, known)))

    def numbered(self, prefix: str, count: int, *, low: int = -_LARGEST) -> list[int]:
        """The integers ``prefix_0`` to ``prefix_COUNT``; further ones must be 0."""
        values = [self.integer(f"{prefix}_{index}", low=low) for index in range(count)]
        for name in [name for name in self._content if name.startswith(f"{prefix}_") and name not in self._taken]:
            self.only(name, 0)
        return values

    # Blobs

    def expect_inputs(self, *counts: int) -> None:
        """Checks how many blobs are read."""
        if len(self.inputs) not in counts:
            raise self.refuse("bottom", f"has {len(self.inputs)} blobs, expected {' or '.join(map(str, counts))}")

    def expect_some_inputs(self) -> None:
        """Checks that blobs are read."""
        if not self.inputs:
            raise self.refuse("bottom", "has no blobs, expected one or more")

    def expect_outputs(self, count: int = 1) -> None:
        """Checks how many blobs are written."""
        if len(self.outputs) != count:
            raise self.refuse("top", f"has {len(self.outputs)} blobs, expected {count}")

    def exact(self, blob: str) -> bool:
        """Whether a blob has a rank of its own, rather than the five axes of the older networks."""
        return "_rank" in self._shape(blob)

    def shape(self, blob: str) -> tuple[int, ...]:
        """A blob's shape, outermost axis first."""
        return axes_of(self._shape(blob))

    def _shape(self, blob: str) -> BlobShape:
        if blob not in self.network.shapes:
            raise FormatError(f"{self.network.folder / SHAPE_FILE}: blob {blob!r:.80}", f"is not there, layer {self.name!r:.80} uses it")
        return self.network.shapes[blob]

    # Weights

    def _weight_table(self) -> dict[str, Any]:
        table = self._take("weights", {})
        if not isinstance(table, dict):
            raise self.refuse("weights", f"found {table!r:.80}, expected an object")
        return dict(table)

    def weight_name(self, *names: str) -> str | None:
        """Which of the names, in the table of weights or as attribute, the layer has weights under."""
        return next((name for name in names if name in self._weights or name in self._content), None)

    @property
    def further_weights(self) -> Collection[str]:
        """Names in the table of weights that were not taken yet."""
        return self._weights.keys()

    def weight_file(self) -> EspressoWeights:
        """The weight file."""
        if self.network.weights is None:
            raise self.refuse("weights", "the network has no weight file")
        return self.network.weights

    def blob_id(self, name: str) -> int:
        """The id of the blob in the weight file that an attribute, or an entry of the table of weights, refers to."""
        if name in self._weights:
            value = self._weights.pop(name)
            if type(value) is not int or value < 0:
                raise self.refuse(f"weights: {name}", f"found {value!r:.80}, expected the id of a blob")
            return value
        return self.integer(name)

    # What is made

    def add(self, kind: str, *, then: str | None = None, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None) -> Any:
        """A layer of the specification with this one's name and blobs; its parameters are returned.

        Args:
            kind: as the fields of ``NeuralNetworkLayer`` are named.
            then: an activation that is part of the layer, added as a layer of its own.
        """
        reads, writes = self.inputs if inputs is None else inputs, self.outputs if outputs is None else outputs
        if then is not None:
            self.expect_outputs()
            middle = [self.network.unique(f"{writes[0]}__before_{then}")]
            params = self._append(self.name, kind, reads, middle)
            activation = self._append(self.network.unique(f"{self.name}__{then}"), "activation", middle, writes)
            getattr(activation, then).SetInParent()
            return params
        return self._append(self.name, kind, reads, writes)

    def _append(self, name: str, kind: str, reads: Sequence[str], writes: Sequence[str]) -> Any:
        message = self.network.message.layers.add(name=name, input=reads, output=writes)
        params = getattr(message, kind)
        params.SetInParent()
        return params

    def fused(self, **flags: str) -> str | None:
        """The activation that is part of the layer, of those that the flags named stand for: ``ReLU="fused_relu"``."""
        found = [activation for activation, name in flags.items() if self.flag(name)]
        if len(found) > 1:
            raise self.unknown(" and ".join(flags.values()), 1, "one of them")
        return found[0] if found else None

    def check_all_taken(self) -> None:
        """Refuses what the reader of the layer's type did not take."""
        left = sorted(set(self._content) - self._taken - _COMMON - HINTS)
        if left:
            known = ", ".join(sorted(self._taken))
            raise UnsupportedError(
                f"{self.where}: {left[0]} is {self._content[left[0]]!r:.80}, which has no known meaning; known are {known}"
            )
        if self._weights:
            raise UnsupportedError(f"{self.where}: weights: {sorted(self._weights)[0]!r:.80} has no known meaning here")
        extra = set(self._content.get("attributes") or {}) - {"is_output"}
        if extra:
            raise self.unknown("attributes", sorted(extra)[0], "is_output")
