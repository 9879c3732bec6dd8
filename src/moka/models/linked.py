"""Linked models: a model that stands for another one in a file beside it."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from moka.errors import FormatError, ProgramError, UnsupportedError
from moka.formats.mlpackage import relative_path_problem
from moka.formats.source import ModelSource, open_source
from moka.models.configuration import Configuration
from moka.models.kinds import model_class
from moka.models.model import Model, ModelState
from moka.models.rows import Row

__all__ = ["LinkedModel"]

_DEEPEST = 16


class LinkedModel(Model):
    """A model in another file, below the folder of this one: features and predictions are passed on.

    Where a compiled model is named (``.mlmodelc``) and is not there, its source beside it (``.mlmodel`` or ``.mlpackage``) serves as well.

    Attributes:
        model: the other model.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        message: Any = source.specification.linkedModel
        if message.WhichOneof("LinkType") != "linkedModelFile":
            raise FormatError(self.path, "linkedModel: names no file")
        linked = open_source(_find(source, message.linkedModelFile))
        if _links.get() == _DEEPEST:
            raise ProgramError(f"{self.path}: linkedModel: more than {_DEEPEST} models that link to each other")
        token = _links.set(_links.get() + 1)
        try:
            self.model: Model = model_class(linked)(linked, configuration.of_part())
        finally:
            _links.reset(token)
        for what, own, other in (
            ("input", self.function.inputs, self.model.function.inputs),
            ("output", self.function.outputs, self.model.function.outputs),
        ):
            if missing := [name for name in own if name not in other]:
                raise FormatError(self.path, f"{what} {missing[0]!r}: the linked model {linked.path.name} has none of that name")

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        return self._predict_batch([inputs])[0]

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        results = self.model._predict_batch([self.model._inputs(row) for row in rows])
        return [{name: result[name] for name in self.function.outputs} for result in results]


_links: ContextVar[int] = ContextVar("links", default=0)
"""How many links lead to the model that is being loaded."""


def _find(source: ModelSource, link: Any) -> Path:
    """The file that a link names, searched for in the folders that it lists, all below that of the model."""
    name = link.linkedModelFileName.defaultValue
    tried = []
    for folder in (link.linkedModelSearchPath.defaultValue or ".").split(":"):
        if folder.startswith("$"):
            raise UnsupportedError(
                f"{source.path}: linkedModel: search path {folder!r} is a bundle of an app, as Apple's systems have them"
            )
        for candidate in _candidates(name):
            relative = candidate if folder in (".", "") else f"{folder.removeprefix('./').rstrip('/')}/{candidate}"
            if problem := relative_path_problem(relative):
                raise FormatError(source.path, f"linkedModel: {relative!r}: {problem}")
            path = (source.path.parent / relative).resolve()
            if not path.is_relative_to(source.path.parent.resolve()):
                raise FormatError(source.path, f"linkedModel: {relative!r} leads outside the model's folder through a link")
            if path.exists():
                return path
            tried.append(relative)
    raise FormatError(source.path, f"linkedModel: found none of {', '.join(tried)} beside the model")


def _candidates(name: str) -> list[str]:
    stem = name.removesuffix(".mlmodelc")
    return [name, f"{stem}.mlmodel", f"{stem}.mlpackage"] if stem != name else [name]
