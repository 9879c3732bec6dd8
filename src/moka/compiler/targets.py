"""The options of Apple's compiler that say what a compiled model is for."""

from __future__ import annotations

import re

from moka.errors import InputError, UnsupportedError
from moka.formats.source import ModelSource
from moka.models.metadata import availability

__all__ = ["CONTAINERS", "PLATFORMS", "check_target"]

PLATFORMS = {
    "ios": "iOS",
    "iphoneos": "iOS",
    "iphonesimulator": "iOS",
    "macos": "macOS",
    "macosx": "macOS",
    "maccatalyst": "macCatalyst",
    "tvos": "tvOS",
    "appletvos": "tvOS",
    "appletvsimulator": "tvOS",
    "watchos": "watchOS",
    "watchsimulator": "watchOS",
    "visionos": "visionOS",
    "xros": "visionOS",
    "xrsimulator": "visionOS",
}
"""Names of systems, in small letters, as Xcode and its tools call them."""

CONTAINERS = ("bundle-resources", "swift-package")


def check_target(source: ModelSource, platform: str | None, deployment_target: str | None, container: str | None) -> None:
    """Checks that a model loads on what it is compiled for.

    Raises:
        InputError: a system, a release or a container that there is none of; a release without a system.
        UnsupportedError: the release is too old for the model's specification version.
    """
    if container is not None and container not in CONTAINERS:
        raise InputError(f"container is {container!r}; expected one of {', '.join(CONTAINERS)}")
    if platform is not None and platform.lower() not in PLATFORMS:
        raise InputError(f"platform is {platform!r}; expected one of {', '.join(PLATFORMS)}")
    if deployment_target is None:
        return
    if not re.fullmatch(r"\d{1,4}(\.\d{1,4}){0,2}", deployment_target):
        raise InputError(f"deployment_target is {deployment_target!r}; expected a release such as '16.0'")
    if platform is None:
        raise InputError("deployment_target needs a platform: a release is one of iOS, macOS, ...")
    system = PLATFORMS[platform.lower()]
    version = source.specification.specificationVersion
    needed = availability(version).get(system)
    if needed is not None and _numbers(deployment_target) < _numbers(needed):
        raise UnsupportedError(
            f"{source.path}: specification version {version} needs {system} {needed}, and the deployment target is {deployment_target}; "
            f"convert the model for {system} {deployment_target}, or raise the deployment target"
        )


def _numbers(release: str) -> list[int]:
    numbers = [int(part) for part in release.split(".")]
    return numbers + [0] * (3 - len(numbers))
