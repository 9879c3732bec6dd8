"""Pipelines: models that hand each other features by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moka.errors import FormatError, MokaError
from moka.formats.source import ModelSource
from moka.models.features import DictionaryFeature, Feature
from moka.models.kinds import model_class
from moka.models.model import ComputeUnits, Model, Numerics
from moka.models.parts import stages
from moka.models.rows import BatchModel, Row

__all__ = ["PipelineModel"]

_CHUNK = 512
"""Rows that pass through the stages together: enough for vector work, few enough for features of many columns."""


class PipelineModel(BatchModel):
    """A pipeline, plain or one that ends in a classifier or regressor.

    A stage takes inputs of the pipeline and outputs of stages before it.

    Attributes:
        stages: the models, by name.
    """

    def __init__(self, source: ModelSource, compute_units: ComputeUnits, function: str | None, numerics: Numerics) -> None:
        super().__init__(source, compute_units, function)
        self.stages: dict[str, Model] = {}
        known = set(self.function.inputs)
        for name, stage in stages(source).items():
            self.stages[name] = _load_stage(name, stage, compute_units, numerics)
            takes = self.stages[name].function.inputs
            if missing := [key for key, feature in takes.items() if key not in known and not feature.optional]:
                raise FormatError(self.path, f"stage {name!r} takes {missing[0]!r}, which is no input and no stage before it gives")
            self._follow_keys(takes)
            known.update(self.stages[name].function.outputs)
        if missing := [name for name in self.function.outputs if name not in known]:
            raise FormatError(self.path, f"output {missing[0]!r}: no stage of the pipeline gives it")

    def _follow_keys(self, takes: Mapping[str, Feature]) -> None:
        """Takes dictionaries with the keys that the stage takes: coremltools' converter describes integers as strings."""
        inputs = dict(self.function.inputs)
        for name, feature in self.function.inputs.items():
            taken = takes.get(name)
            if isinstance(feature, DictionaryFeature) and isinstance(taken, DictionaryFeature):
                inputs[name] = replace(feature, key=taken.key)
        self.function = replace(self.function, inputs=inputs)

    def _absent(self, feature: Feature) -> Any:
        return None  # the stage that takes it knows what stands for it

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        return [result for start in range(0, len(rows), _CHUNK) for result in self._flow(rows[start : start + _CHUNK])]

    def _flow(self, rows: list[Row]) -> list[Row]:
        flows = [{name: value for name, value in row.items() if value is not None} for row in rows]
        for stage in self.stages.values():
            takes = stage.function.inputs
            prepared = [stage._inputs({name: flow[name] for name in takes if name in flow}) for flow in flows]
            for flow, result in zip(flows, stage._predict_batch(prepared), strict=True):
                flow.update(result)
        return [{name: feature.present(flow[name]) for name, feature in self.function.outputs.items()} for flow in flows]


def _load_stage(name: str, stage: ModelSource, compute_units: ComputeUnits, numerics: Numerics) -> Model:
    """The model of one stage; its errors say which it is."""
    try:
        model: Model = model_class(stage)(stage, compute_units, None, numerics)
        return model
    except FormatError as error:
        raise FormatError(f"{error.where}: stage {name!r}", error.problem) from error
    except MokaError as error:
        raise type(error)(f"stage {name!r}: {error}") from error
