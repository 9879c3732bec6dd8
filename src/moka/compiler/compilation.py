"""What the steps of one compilation share: its options, and what was written without a real file to go by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from moka.compiler.evidence import Version, container_version
from moka.errors import UnsupportedError
from moka.formats.mlmodelc.coremldata import Body
from moka.formats.source import ModelSource

__all__ = ["Compilation", "Compiled", "Progress"]

Progress: TypeAlias = Callable[[str], object]
"""Called with what is being done: ``copying weights/weight.bin``."""


@dataclass
class Compilation:
    """One compilation.

    Attributes:
        unverified: whether to write what no real compiled model has shown as well.
        rank_info: whether to write ``model.rank.info.json`` beside each network.
        progress: called before each step that may take long.
        guesses: what was written without a real file to go by.
    """

    unverified: bool = False
    rank_info: bool = False
    progress: Progress = lambda _: None
    guesses: list[str] = field(default_factory=list)

    def guess(self, what: str) -> None:
        """Notes that ``what`` has been seen in no real compiled model.

        Raises:
            UnsupportedError: unless the compilation may be unverified.
        """
        if not self.unverified:
            raise UnsupportedError(
                f"{what}: has been seen in no model that Apple compiled, so its compiled form is not known; "
                "compile with unverified (--unverified) for Moka's own reading of it, which metadata.json then says"
            )
        if what not in self.guesses:
            self.guesses.append(what)

    def version(self, source: ModelSource, container: str) -> Version:
        """The version of a model's container."""
        kind, number = source.specification.WhichOneof("Type"), source.specification.specificationVersion
        version, known = container_version(kind, container, number)
        if not known:
            self.guess(f"{kind} of specification version {number}")
        return version


@dataclass(frozen=True)
class Compiled:
    """What the root file and the analytics of a model state, and what a pipeline needs to know of the models in it.

    Attributes:
        container: the name of its container, with those of its own models for a pipeline.
        version: the container's version.
        body: the root file's content behind the header.
        details: the sections of its analytics, but for the one about the source's file.
    """

    container: str
    version: Version
    body: Body
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
