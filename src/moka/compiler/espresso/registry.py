"""The table of layers: how each kind of the source becomes a layer of the compiled model, and how that is known.

    @layer("softmax", to="softmax", verified=1, seen="2 compiled networks")
    def softmax(net: LayerContext, params: Any) -> Attributes:
        return {"C": 2}

A translation gets the layer with its surroundings and its own message; it returns the attributes that this type of layer has beside
those of all layers (name, type, blobs, weights). What a field's value is not known to become it passes to ``net.guess``, and it raises
``net.no_form`` where it has no form to give: then, as for kinds that have no translation, Moka's own form is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from moka.compiler.compilation import Compilation
from moka.compiler.espresso.graph import Node
from moka.compiler.espresso.weights import Blob, stored
from moka.errors import UnsupportedError
from moka.formats.espresso.own_form import PARAMETERS_KEY, message_content
from moka.formats.espresso.reading import KIND_KEY

__all__ = ["LAYERS", "LISTED", "Attributes", "Evidence", "LayerContext", "NoFormError", "Translation", "evidence", "layer"]

Attributes: TypeAlias = dict[str, Any]

LISTED = "public list of compiled layers"
"""An account of what coremlcompiler made of 106 networks: types and fields of layers, numbers of operations. All files at hand agree."""


@dataclass(frozen=True)
class Evidence:
    """How the form of a compiled layer is known.

    Attributes:
        pairs: in how many real pairs of a source and its compiled model it comes out equal.
        seen: where a compiled layer of this form is known from, without its source.
        scope: what of the layer that holds for; all else is a guess.
    """

    pairs: int = 0
    seen: str = ""
    scope: str = ""

    @property
    def is_guess(self) -> bool:
        """Whether no real compiled model has the layer."""
        return not (self.pairs or self.seen)

    def __str__(self) -> str:
        if self.is_guess:
            return "inferred"
        found = [f"verified by {self.pairs} pair{'s' * (self.pairs > 1)}"] * bool(self.pairs) + [f"seen: {self.seen}"] * bool(self.seen)
        return "; ".join(found)


class NoFormError(UnsupportedError):
    """How a layer is compiled is not known, not even as a guess."""


class LayerContext:
    """One layer while it is translated.

    Attributes:
        node: the layer, with what is folded into it.
        shapes: the shape of each blob, by name; none of a blob whose shape depends on data.
        exact: whether blobs have the axes that the source gives them; else there are five, sequence to width.
        blobs: those of the weight file so far, in order.
    """

    def __init__(self, node: Node, shapes: dict[str, tuple[int, ...]], exact: bool, blobs: list[Blob], compilation: Compilation) -> None:
        self.node, self.shapes, self.exact, self.blobs = node, shapes, exact, blobs
        self._compilation = compilation

    def input_shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of a blob that the layer reads; NoFormError where it depends on data."""
        name = self.node.inputs[index]
        if name not in self.shapes:
            raise self.no_form(f"blob {name!r}, whose shape depends on data")
        return self.shapes[name]

    def add_blob(self, blob: Blob) -> int:
        """Puts a blob into the weight file and returns its id: 1, 3, 5 and so on, even ones being the padding between them."""
        self.blobs.append(blob)
        return 2 * len(self.blobs) - 1

    def no_form(self, what: str) -> NoFormError:
        """The error for what no form is known of."""
        return NoFormError(what)

    def own_form(self, what: str) -> Attributes:
        """Moka's own form of the layer, which notes that no other is known, and of what."""
        self.guess(f"{what}: how Apple's compiler writes it is not known, and what stands there is a form of Moka's own")
        content = message_content(self.node.params, lambda message, field: self.add_blob(stored(message, field)))
        return {KIND_KEY: self.node.kind, PARAMETERS_KEY: content}

    def guess(self, what: str) -> None:
        """Notes that no real compiled model shows ``what`` of this layer; UnsupportedError unless guesses are asked for."""
        self._compilation.guess(f"{self.node}: {what}")

    def guess_unless(self, known: bool, what: str) -> None:
        """As `guess`, where it is not known."""
        if not known:
            self.guess(what)


Make: TypeAlias = Callable[[LayerContext, Any], Attributes]


@dataclass(frozen=True)
class Translation:
    """How one kind of layer is compiled: the type that it becomes, what makes its attributes, and how that is known."""

    kind: str
    type: str
    make: Make
    evidence: Evidence


LAYERS: dict[str, Translation] = {}


def layer(*kinds: str, to: str, verified: int = 0, seen: str = "", scope: str = "") -> Callable[[Make], Make]:
    """Enters a translation for the kinds of layer named, as the fields of ``NeuralNetworkLayer`` are.

    Args:
        to: the type of the compiled layer; a ``type`` among the attributes goes before it.
        verified, seen, scope: as the attributes of `Evidence`.
    """

    def enter(make: Make) -> Make:
        for kind in kinds:
            if kind in LAYERS:
                raise ValueError(f"layer {kind!r} has two translations")
            LAYERS[kind] = Translation(kind, to, make, Evidence(verified, seen, scope))
        return make

    return enter


def evidence() -> list[tuple[str, str, Evidence]]:
    """Kind of layer, type of the compiled layer and how that is known, for each kind that there is a translation for."""
    return [(item.kind, item.type, item.evidence) for item in sorted(LAYERS.values(), key=lambda item: item.kind.lower())]
