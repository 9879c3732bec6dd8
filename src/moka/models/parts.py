"""A model taken apart: the models of a pipeline, each with its program or network; one part for a model of any other kind."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from moka.formats.source import ModelSource
from moka.importers.ml_program import import_program
from moka.ir.program import Function, Program

__all__ = ["Part", "parts", "stages"]


@dataclass(frozen=True)
class Part:
    """A model that is not a pipeline.

    Attributes:
        name: of the stage in its pipeline, nested ones joined by dots; empty outside a pipeline.
        source: the model, as if it had been opened on its own.
        program: its ML Program; None for a model of another kind.
    """

    name: str
    source: ModelSource
    program: Program | None

    @property
    def kind(self) -> str:
        """The model's kind as the format names it."""
        return str(self.source.specification.WhichOneof("Type"))

    @property
    def body(self) -> Any:
        """The message of the model's kind: a ``NeuralNetwork``, a ``TextClassifier``."""
        return getattr(self.source.specification, self.kind)

    @property
    def network(self) -> Any:
        """The neural network; None for a model of another kind."""
        return self.body if self.kind.startswith("neuralNetwork") else None

    def functions(self, name: str | None = None) -> list[Function]:
        """The program's functions, or the one that the name says; a pipeline's function has the only one that a stage has."""
        functions = self.program.functions if self.program is not None else {}
        if name is None or (name not in functions and len(functions) == 1):
            return list(functions.values())
        return [functions[name]] if name in functions else []


def parts(source: ModelSource, name: str = "") -> list[Part]:
    """The parts of a model, in order.

    Raises:
        FormatError, ProgramError: an ML Program in it breaks the format.
    """
    inner = stages(source)
    if not inner:
        is_program = source.specification.WhichOneof("Type") == "mlProgram"
        return [Part(name, source, import_program(source) if is_program else None)]
    return [part for key, stage in inner.items() for part in parts(stage, f"{name}.{key}" if name else key)]


def stages(source: ModelSource) -> dict[str, ModelSource]:
    """The stages of a pipeline by name, in order; empty for a model of any other kind.

    Names are those of the file, else ``model0``, ``model1``, ... as the format states. Stages share the weight files.
    """
    kind = source.specification.WhichOneof("Type")
    if kind not in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        return {}
    body = getattr(source.specification, kind)
    pipeline = body if kind == "pipeline" else body.pipeline
    found = {}
    for index, message in enumerate(pipeline.models):
        stage = copy.copy(source)
        stage.specification = message
        name = pipeline.names[index] if index < len(pipeline.names) else ""
        found[name or f"model{index}"] = stage
    return found
