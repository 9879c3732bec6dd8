"""A network's layers as the compiled model has them: what Apple's compiler folds into another layer is folded here.

    padding with zeros -> convolution         the convolution pads
    convolution -> batch normalization        other weights and biases
    convolution or inner product -> ReLU      the layer has a flag for it

Only a blob that one layer alone reads can go, and none that the model gives out. A ReLU whose own result is an output stays too.
The folded layers keep the name of the convolution or inner product, and the blob of the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from typing import Any

from moka.compiler.compilation import Compilation
from moka.errors import ProgramError
from moka.importers.neural_network.layers._nested import networks, reads, writes

__all__ = ["Node", "fold"]


@dataclass
class Node:
    """A layer of the compiled model: one of the source, with what is folded into it.

    Attributes:
        message: the ``NeuralNetworkLayer``.
        inputs, outputs: names of blobs.
        padding: the ``PaddingLayerParams`` before it.
        batchnorm: the ``BatchnormLayerParams`` after it.
        relu: whether a ReLU comes last.
    """

    message: Any
    inputs: list[str]
    outputs: list[str]
    padding: Any = None
    batchnorm: Any = None
    relu: bool = False

    @property
    def kind(self) -> str:
        """The field of ``NeuralNetworkLayer`` that is set."""
        return str(self.message.WhichOneof("layer"))

    @property
    def params(self) -> Any:
        """The layer's own message."""
        return getattr(self.message, self.kind)

    def __str__(self) -> str:
        return f"layer {self.message.name!r} ({self.kind})"


def fold(messages: Sequence[Any], outputs: Collection[str], compilation: Compilation) -> list[Node]:
    """The layers that are left, in order.

    Args:
        outputs: the blobs that the model gives out.

    Raises:
        ProgramError: a layer without a kind.
        UnsupportedError: a blob that two layers write, which no real compiled model shows.
    """
    nodes = [Node(message, list(message.input), list(message.output)) for message in messages]
    folding = _Folding(nodes, outputs, _fixed(nodes, compilation), compilation)
    return [node for node in nodes if not folding.folds(node)]


def _fixed(nodes: Sequence[Node], compilation: Compilation) -> set[str]:
    """The blobs for which the order of layers counts: those written twice, and those that nested networks read or write."""
    for node in nodes:
        if node.message.WhichOneof("layer") is None:
            raise ProgramError(f"layer {node.message.name!r} is of no kind that this version of the format has")
    counts = Counter(name for node in nodes for name in node.outputs)
    written = {name for name, count in counts.items() if count > 1}
    for name in sorted(written):
        compilation.guess(f"blob {name!r} is written by {counts[name]} layers")
    return written | {name for node in nodes for inner in networks(node.message) for name in [*reads(inner), *writes(inner)]}


def _takes(node: Node) -> bool:
    """Whether it is a layer that others are folded into: one with weights of its own, in a form that Apple's compiler is known to write."""
    return len(node.inputs) == 1 and (node.kind == "convolution" or (node.kind == "innerProduct" and not node.params.int8DynamicQuantize))


class _Folding:
    """Takes the layers in order and folds each one into an earlier one where it can."""

    def __init__(self, nodes: Sequence[Node], outputs: Collection[str], fixed: Set[str], compilation: Compilation) -> None:
        self.outputs, self.fixed, self.compilation = outputs, fixed, compilation
        self.readers = Counter(name for node in nodes for name in node.inputs)
        self.writers: dict[str, Node] = {}
        # A padding is folded into a layer after it, so it has to be known before its own turn.
        self.padded = {node.inputs[0]: node for node in nodes if node.kind == "convolution" and len(node.inputs) == 1}

    def folds(self, node: Node) -> bool:
        """Whether the layer is now part of another one."""
        if not self.fixed.isdisjoint([*node.inputs, *node.outputs]):
            return False
        if node.kind == "padding" and self._folds_padding(node):
            return True
        writer = self._sole_writer(node)
        if writer is not None and self._folds_after(node, writer):
            writer.outputs = node.outputs
            self.writers[node.outputs[0]] = writer
            return True
        self.writers.update(dict.fromkeys(node.outputs, node))
        return False

    def _sole_writer(self, node: Node) -> Node | None:
        """The layer whose only reader this one is."""
        if len(node.inputs) != 1 or self.readers[node.inputs[0]] != 1 or node.inputs[0] in self.outputs:
            return None
        return self.writers.get(node.inputs[0])

    def _folds_after(self, node: Node, writer: Node) -> bool:
        if node.kind == "batchnorm":
            return self._folds_batchnorm(node, writer)
        if node.kind == "activation" and _takes(writer) and not writer.relu:
            return self._folds_activation(node, writer)
        return False

    def _folds_batchnorm(self, node: Node, writer: Node) -> bool:
        params = node.params
        if params.computeMeanVar or params.instanceNormalization:
            return False
        if writer.kind != "convolution" or writer.batchnorm is not None or writer.relu:
            return False
        if not _takes(writer):
            return False
        if writer.params.isDeconvolution:
            self.compilation.guess(f"{node}: batch normalization after a deconvolution")
        if node.outputs[0] in self.outputs:
            self.compilation.guess(f"{node}: batch normalization whose result is an output of the model")
        writer.batchnorm = params
        return True

    def _folds_activation(self, node: Node, writer: Node) -> bool:
        kind = node.params.WhichOneof("NonlinearityType")
        if kind in ("tanh", "PReLU"):
            self.compilation.guess(f"{node}: {kind} right after {writer}, which compiled layers have a flag for")
        if kind != "ReLU" or node.outputs[0] in self.outputs:
            return False
        if writer.kind == "convolution" and writer.params.isDeconvolution:
            self.compilation.guess(f"{node}: ReLU after a deconvolution")
        writer.relu = True
        return True

    def _folds_padding(self, node: Node) -> bool:
        """Whether a padding became part of the convolution that alone reads it."""
        name = node.outputs[0]
        reader = self.padded.get(name)
        if reader is None or self.readers[name] != 1 or name in self.outputs:
            return False
        if node.params.WhichOneof("PaddingType") != "constant" or node.params.constant.value:
            return False
        if reader.params.isDeconvolution or reader.params.WhichOneof("ConvolutionPaddingType") != "valid":
            return False
        if any(edge.startEdgeSize or edge.endEdgeSize for edge in reader.params.valid.paddingAmounts.borderAmounts):
            self.compilation.guess(f"{reader}: padding of its own after a padding layer")
            return False
        reader.padding, reader.inputs = node.params, node.inputs
        return True
