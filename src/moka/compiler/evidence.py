"""What is known of compiled models from real files, kind by kind: what is written without a word, and what only as a guess.

A pair is a source with what Apple's compiler made of it. ``docs/compiled-format.md`` shows these tables.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTAINER_VERSIONS", "KINDS", "Evidence", "Version", "container_version"]

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the compiled form of a kind of model is known from.

    Attributes:
        container: the name of its container.
        pairs: how many pairs show it, inside pipelines too.
        compiled: how many compiled models without their source show it.
        reported: seen in real files that are not at hand.
    """

    container: str
    pairs: int = 0
    compiled: int = 0
    reported: bool = False


KINDS = {
    "mlProgram": Evidence("generic", pairs=6, compiled=4),
    "neuralNetwork": Evidence("generic", pairs=7, compiled=2),
    "neuralNetworkClassifier": Evidence("generic", pairs=1),
    "pipelineClassifier": Evidence("generic.model0v...", pairs=1),
    "pipelineRegressor": Evidence("generic.model0v...", compiled=1),
    "pipeline": Evidence("generic.model0v...", reported=True),
    "kNearestNeighborsClassifier": Evidence("notreesyet", pairs=1),
    "textClassifier": Evidence("spec", pairs=1, compiled=1),
    "featureVectorizer": Evidence("spec", compiled=1),
    "glmRegressor": Evidence("spec", compiled=1),
    "glmClassifier": Evidence("spec", reported=True),
    "oneHotEncoder": Evidence("spec", reported=True),
    "visionFeaturePrint": Evidence("spec", reported=True),
}
"""Kinds of model that real files show; one that is not here is a guess."""

_NETWORK_VERSIONS: dict[int, Version] = {1: (1, 2, 1), 2: (1, 3, 0), 4: (3, 0, 0), 5: (4, 0, 0)}
_PROGRAM_VERSIONS: dict[int, Version] = {6: (5, 0, 0), 7: (5, 0, 0), 8: (8, 0, 0), 9: (9, 0, 0)}

CONTAINER_VERSIONS = {
    "neuralNetwork": _NETWORK_VERSIONS,
    "neuralNetworkClassifier": _NETWORK_VERSIONS,
    "neuralNetworkRegressor": _NETWORK_VERSIONS,
    "mlProgram": _PROGRAM_VERSIONS,
}
"""Versions of containers by specification version, where they differ; a version that is not here is a guess.

Real files at hand show those of networks of versions 1, 2 and 4 and of programs of 6, 7 and 9. The two others are known from published
SHA-256 sums of root files: of the files that can be made of what is published about those models, one has that sum
(``tests/compiler/test_published_roots.py``).
"""

_FIXED_VERSIONS = {"spec": (1, 0, 0), "notreesyet": (1, 0, 0), "pipeline": (1, 0, 1)}

_GUESSED_VERSIONS: dict[int, Version] = {3: (2, 0, 0), 10: (10, 0, 0)}
"""What stands for a specification version that no file shows, after its neighbors; else that of the version before."""


def container_version(kind: str, container: str, specification_version: int) -> tuple[Version, bool]:
    """The version of a model's container, and whether real files show it."""
    versions = CONTAINER_VERSIONS.get(kind)
    if versions is None:
        return _FIXED_VERSIONS[container], True
    if specification_version in versions:
        return versions[specification_version], True
    below = [version for number, version in sorted(versions.items()) if number < specification_version]
    return _GUESSED_VERSIONS.get(specification_version) or (below or [*versions.values()])[-1], False
