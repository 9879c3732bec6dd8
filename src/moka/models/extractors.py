"""Models whose algorithm is not in the file: Apple keeps it on its devices, or an app brings it.

Users may register what takes its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from moka.errors import ExecutionError, InputError, MokaError, UnsupportedError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Feature, MultiArrayFeature
from moka.models.images import ImageFeature
from moka.models.model import Model, ModelState
from moka.models.rows import Row

__all__ = ["MISSING", "ExtractorModel", "is_registered", "register_feature_extractor"]

Extractor: TypeAlias = Callable[..., Any]

MISSING = {
    "textClassifier": "a text classifier whose network or word embedding Apple's Natural Language framework holds",
    "wordTagger": "the features of Apple's Natural Language framework, whose weights alone are in the file",
    "gazetteer": "the code of Apple's Natural Language framework that reads its data",
    "wordEmbedding": "the code of Apple's Natural Language framework that reads its data",
    "visionFeaturePrint": "the network, which is part of Apple's operating systems",
    "audioFeaturePrint": "the network, which is part of Apple's operating systems",
    "classConfidenceThresholding": "the thresholds, which an app chooses on the precision-recall curves that the file holds",
    "customModel": "the app's own class that the file names",
    "serializedModel": "a description of the kind of model that the file holds as bytes",
}
"""What a file of each kind lacks for a prediction."""

_registered: dict[tuple[str, str], Extractor] = {}


def register_feature_extractor(kind: str, module: Extractor | None, *, name: str = "") -> None:
    """Says what computes models of a kind that their files do not hold. Models that are loaded already use it too.

    Args:
        kind: as the format names it: ``visionFeaturePrint``, ``audioFeaturePrint``, ``textClassifier``, ``wordTagger``, ``gazetteer``,
            ``wordEmbedding``, ``classConfidenceThresholding``, ``customModel`` or ``serializedModel``.
        module: a PyTorch module, or any function. It is called with the inputs in the order of the description: images as float32
            tensors [1, channels, height, width] of values 0 to 255 (red, green, blue whatever the model's order), multi-arrays as
            tensors, all else as it is; and with ``model=`` the loaded model if it takes an argument of that name. It gives the outputs in
            the order of the description: one value, a tuple, or a dict by name. Arrays take the declared shape where the number of
            elements is the same. None takes back what was registered.
        name: only for models of this name: ``scene`` or ``objects`` for vision feature prints, ``sound`` for audio ones, the class's
            name for custom models, the identifier for serialized ones. Without it the module serves all that have none of their own.

    Raises:
        InputError: another kind, or a module that can't be called.
    """
    if kind not in MISSING:
        raise InputError(f"kind {kind!r} takes no replacement; those that do are {', '.join(MISSING)}")
    if module is None:
        _registered.pop((kind, name), None)
        return
    if not callable(module):
        raise InputError(f"the replacement for {kind} is a {type(module).__name__}; expected a PyTorch module or a function")
    _registered[kind, name] = module


def is_registered(kind: str, name: str) -> bool:
    """Whether models of the kind and name have a replacement."""
    return _find(kind, name) is not None


def _find(kind: str, name: str) -> Extractor | None:
    return _registered.get((kind, name), _registered.get((kind, "")))


class ExtractorModel(Model):
    """A model that runs with what `register_feature_extractor` was given; without it, predicting says what is missing.

    Attributes:
        name: which of its kind it is: a feature print's type, a custom model's class.
        settings: what the file says, by the format's names of fields; data of the kind's own form is there as bytes.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        message: Any = getattr(source.specification, self.kind)
        self.settings: Mapping[str, Any] = settings(message)
        self.name: str = _name(message, self.settings)

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        extractor = _find(self.kind, self.name)
        if extractor is None:
            raise UnsupportedError(self._missing())
        features = self.function.inputs
        given = [_given(features[name], inputs[name]) for name in features]
        results = self._results(_call(extractor, given, self))
        return {name: _present(feature, results[name]) for name, feature in self.function.outputs.items()}

    def _missing(self) -> str:
        what, named = (f"{self.kind} ({self.name})", f", name={self.name!r}") if self.name else (self.kind, "")
        return (
            f"{self.path.name}: a {what} can't predict here. The file lacks {MISSING[self.kind]}; "
            f"register what takes its place: moka.register_feature_extractor({self.kind!r}, module{named})"
        )

    def _results(self, found: Any) -> Row:
        """What the replacement gave, by name."""
        names = list(self.function.outputs)
        values = found if isinstance(found, dict) and set(names) <= set(found) else None
        if values is None:
            listed = list(found) if isinstance(found, (tuple, list)) and len(names) > 1 else [found]
            if len(listed) != len(names):
                raise ExecutionError(f"the replacement for {self.kind} gave {len(listed)} outputs; expected {', '.join(names)}")
            values = dict(zip(names, listed, strict=True))
        return values


def settings(message: Any) -> dict[str, Any]:
    """A message's fields as plain values, nested messages as dicts."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: settings(item) for key, item in value.items()}
    if hasattr(value, "ListFields"):
        return settings(value)
    if isinstance(value, (str, bytes, int, float)):
        return value
    return [settings(item) if hasattr(item, "ListFields") else item for item in value]


def _name(message: Any, facts: Mapping[str, Any]) -> str:
    for oneof in ("VisionFeaturePrintType", "AudioFeaturePrintType"):
        if oneof in message.DESCRIPTOR.oneofs_by_name:
            return message.WhichOneof(oneof) or ""
    return str(facts.get("className") or facts.get("identifier") or "")


def _given(feature: Feature, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        import torch

        order = slice(None, None, -1) if isinstance(feature, ImageFeature) and feature.color_space == "BGR" else slice(None)
        return torch.from_numpy(np.ascontiguousarray(value[:, order] if isinstance(feature, ImageFeature) else value))
    return value


def _call(extractor: Extractor, given: list[Any], model: ExtractorModel) -> Any:
    import torch

    try:
        takes_model = "model" in inspect.signature(getattr(extractor, "forward", extractor)).parameters
        with torch.no_grad():
            return extractor(*given, model=model) if takes_model else extractor(*given)
    except MokaError:
        raise
    except Exception as error:
        raise ExecutionError(f"the replacement for {model.kind} failed: {type(error).__name__}: {error}") from error


def _present(feature: Feature, value: Any) -> Any:
    if not isinstance(feature, MultiArrayFeature):
        return feature.present(value)
    array = feature.present(value)
    return array.reshape(feature.shape) if feature.shape and array.size == np.prod(feature.shape) else array
