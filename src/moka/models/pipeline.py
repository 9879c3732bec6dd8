"""Pipelines: models that hand each other features by name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from moka.errors import FormatError, MokaError, UnsupportedError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import DictionaryFeature, Feature
from moka.models.images import ImageFeature
from moka.models.kinds import model_class
from moka.models.model import Model
from moka.models.parts import stages
from moka.models.rows import BatchModel, Row
from moka.models.update import Learned, Progress, Sample, UpdatableModel

__all__ = ["PipelineModel"]

_CHUNK = 512
"""Rows that pass through the stages together: enough for vector work, few enough for features of many columns."""


class PipelineModel(UpdatableModel, BatchModel):
    """A pipeline, plain or one that ends in a classifier or regressor.

    A stage takes inputs of the pipeline and outputs of stages before it. An update is one of the last stage.

    Attributes:
        stages: the models, by name.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._source = source
        self.stages: dict[str, Model] = {}
        known = set(self.function.inputs)
        for name, stage in stages(source).items():
            self.stages[name] = _load_stage(name, stage, configuration.of_part())
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
        outputs = self.function.outputs.items()
        return [{name: _present(feature, flow[name]) for name, feature in outputs} for flow in _through(self.stages.values(), rows)]

    def _inputs(self, data: Mapping[str, Any]) -> Row:
        """Checked inputs; images as they were given, for the stage that takes them makes an array of them."""
        checked = super()._inputs(data)
        images = [name for name, feature in self.function.inputs.items() if isinstance(feature, ImageFeature)]
        return {**checked, **{name: data.get(name) for name in images}}

    def _learned(self, samples: list[Sample], progress: Progress | None, parameters: Mapping[str, Any]) -> Learned:
        *before, last = self.stages.values()
        if not isinstance(last, UpdatableModel):
            raise UnsupportedError(f"{self.path}: the last stage is of kind {last.kind}, which is not updatable")
        takes = self.function.inputs
        rows = [self._inputs({name: value for name, value in sample.items() if name in takes}) for sample in samples]
        taught = [{**sample, **flow} for sample, flow in zip(samples, _through(before, rows), strict=True)]
        named: list[Sample] = [{name: values[name] for name in last.training_inputs if name in values} for values in taught]
        learned, metrics = last.learn(named, progress, parameters)
        specification = copy.deepcopy(self._source.specification)
        body = getattr(specification, self.kind)
        (body if self.kind == "pipeline" else body.pipeline).models[-1].CopyFrom(learned)
        return specification, metrics


def _through(stages: Iterable[Model], rows: list[Row]) -> list[Row]:
    """Rows of checked inputs, with what each stage made of them."""
    flows = [{name: value for name, value in row.items() if value is not None} for row in rows]
    for stage in stages:
        takes = stage.function.inputs
        prepared = [stage._inputs({name: flow[name] for name in takes if name in flow}) for flow in flows]
        for flow, result in zip(flows, stage._predict_batch(prepared), strict=True):
            flow.update(result)
    return flows


def _present(feature: Feature, value: Any) -> Any:
    """What a stage gave, as the pipeline describes it."""
    return value if isinstance(feature, ImageFeature) else feature.present(value)


def _load_stage(name: str, stage: ModelSource, configuration: Configuration) -> Model:
    """The model of one stage; its errors say which it is."""
    try:
        model: Model = model_class(stage)(stage, configuration)
        return model
    except FormatError as error:
        raise FormatError(f"{error.where}: stage {name!r}", error.problem) from error
    except MokaError as error:
        raise type(error)(f"stage {name!r}: {error}") from error
