"""coremltools' PyTorch frontend: does a piece of a graph convert, which node fails and why, and the finished package.

A piece is an FX graph whose placeholders are constants, inputs or changed buffers. It is handed to coremltools as the
``torch.export.ExportedProgram`` that it would be if it had been exported on its own. coremltools is imported when it is first needed, and
kept from printing.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from moka.pytorch.config import DelegateConfig
from moka.pytorch.program import outputs_of

__all__ = ["REFUSED", "Features", "Piece", "Refusal", "RefusedError", "attempt", "converting", "coremltools", "quiet", "write_package"]

REFUSED = "coremltools: "
"""How the reasons begin that coremltools gives."""

_lock = threading.RLock()


@dataclass(frozen=True)
class Piece:
    """A part of a program, ready for conversion.

    Attributes:
        module: the graph; its output is a tuple of tensors.
        constants: tensors by the name of their placeholder.
        ranges: allowed sizes (smallest, largest or None) by symbol.
        states: by placeholder the name of the buffer that it is, and its content; for buffers that become Core ML states.
        writes: for each of the first outputs the name of the buffer that it is written to.
    """

    module: torch.fx.GraphModule
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)
    ranges: Mapping[Any, Any] = field(default_factory=dict)
    states: Mapping[str, tuple[str, torch.Tensor]] = field(default_factory=dict)
    writes: tuple[str, ...] = ()

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Constants and the content of states, by placeholder."""
        return {**self.constants, **{name: tensor for name, (_, tensor) in self.states.items()}}

    def exported(self) -> ExportedProgram:
        """The piece as an exported program."""
        graph = torch.fx.Graph()
        graph.output(graph.graph_copy(self.module.graph, {}))
        inputs = [self._input(node.name) for node in graph.find_nodes(op="placeholder")]
        outputs = [self._output(index, node.name) for index, node in enumerate(outputs_of(graph))]
        tensors = dict(self.states.values())
        signature = ExportGraphSignature(inputs, outputs)
        return ExportedProgram(self.module, graph, signature, tensors, dict(self.ranges), [], constants=dict(self.constants))

    def _input(self, name: str) -> InputSpec:
        argument = TensorArgument(name)
        if name in self.constants:
            return InputSpec(InputKind.CONSTANT_TENSOR, argument, name)
        if name in self.states:
            return InputSpec(InputKind.BUFFER, argument, self.states[name][0], persistent=True)
        return InputSpec(InputKind.USER_INPUT, argument, None)

    def _output(self, index: int, name: str) -> OutputSpec:
        if index < len(self.writes):
            return OutputSpec(OutputKind.BUFFER_MUTATION, TensorArgument(name), self.writes[index])
        return OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name), None)


@dataclass(frozen=True)
class Refusal:
    """Why coremltools does not convert a piece; ``node`` is the one that it failed at, None where that can't be told."""

    node: str | None
    reason: str


class RefusedError(Exception):
    """A piece does not convert."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True)
class Features:
    """The names that a package gives to a piece's inputs, outputs and states, in their order."""

    inputs: list[str]
    outputs: list[str]
    states: list[str]


def coremltools() -> ModuleType:
    """coremltools, imported without its greetings, with the compositions that Moka adds to it."""
    with quiet():
        import coremltools

        from moka.pytorch.lowering import register

        register()
        return coremltools  # type: ignore[no-any-return]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what coremltools logs, warns and draws while it imports and converts."""
    loggers = [logging.getLogger(name) for name in ("coremltools", "root")]
    levels = [logger.level for logger in loggers]
    with _lock, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """For conversions of exported programs: quiet, without gradients, and with an error where the result would be another program."""
    from moka.pytorch.lowering import faithful

    with quiet(), torch.no_grad(), faithful():
        yield


def attempt(piece: Piece, config: DelegateConfig) -> Refusal | None:
    """Converts a piece with coremltools' frontend alone, which is where nearly all refusals come from; None if it converts."""
    ct = coremltools()
    from coremltools.converters.mil.frontend.torch.load import load

    exported = piece.exported()
    try:
        with converting():
            load(exported, inputs=_inputs(exported, config), specification_version=getattr(ct.target, config.target))
    except Exception as error:
        return _refusal(error)
    return None


def write_package(piece: Piece, config: DelegateConfig, path: Path) -> Features:
    """Converts a piece and writes it as an ``.mlpackage``.

    Raises:
        RefusedError: it does not convert.
    """
    ct = coremltools()
    precisions = {"float32": ct.precision.FLOAT32, "float16": ct.precision.FLOAT16}
    exported = piece.exported()
    try:
        with converting():
            model = ct.convert(
                exported,
                inputs=_inputs(exported, config),
                convert_to="mlprogram",
                compute_precision=precisions[config.precision],
                minimum_deployment_target=getattr(ct.target, config.target),
                skip_model_load=True,
            )
            function = model._mil_program.functions["main"]
            described = model.get_spec().description
            names = [[item.name for item in features] for features in (described.input, described.state)]
            _compressed(model, config).save(str(path))
    except Exception as error:
        raise RefusedError(_refusal(error)) from error
    return Features(names[0], [var.name for var in function.outputs], names[1])


def _compressed(model: Any, config: DelegateConfig) -> Any:
    """The model with its weights compressed as the quantizer's configuration says, by the kind of its operations' configurations."""
    if config.quantizer is None:
        return model
    from coremltools.optimize import coreml as optimize

    steps = {
        "OpThresholdPrunerConfig": optimize.prune_weights,
        "OpMagnitudePrunerConfig": optimize.prune_weights,
        "OpPalettizerConfig": optimize.palettize_weights,
        "OpLinearQuantizerConfig": optimize.linear_quantize_weights,
    }
    settings = config.quantizer
    stated = [settings.global_config, *(settings.op_type_configs or {}).values(), *(settings.op_name_configs or {}).values()]
    kinds = {type(item).__name__ for item in stated if item is not None}
    for step in dict.fromkeys(steps[kind] for kind in steps if kind in kinds):
        model = step(model, settings)
    return model


def _inputs(exported: ExportedProgram, config: DelegateConfig) -> list[Any] | None:
    """coremltools' descriptions of the inputs, where shapes are enumerated; else it takes them from the program."""
    names = exported.graph_signature.user_inputs
    if not any(name in config.enumerated_shapes for name in names):
        return None
    import coremltools as ct

    return [
        ct.TensorType(name=name, shape=ct.EnumeratedShapes([list(shape) for shape in config.enumerated_shapes[name]]))
        if name in config.enumerated_shapes
        else ct.TensorType(name=name)
        for name in names
    ]


def _refusal(error: Exception) -> Refusal:
    text = " ".join(str(error).split()) or "no reason given"
    return Refusal(_failed_node(error.__traceback__), f"{REFUSED}{type(error).__name__}: {text}")


def _failed_node(traceback: TracebackType | None) -> str | None:
    """The name of the node that coremltools was at: the ``node`` of the functions that take one after the other."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name in ("from_exir_node", "convert_single_node"):
            return str(frame.f_locals["node"].name)
        traceback = traceback.tb_next
    return None
