"""Turning the bridge on and off."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import threading
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from moka.bridge import coreml
from moka.bridge.gates import Gates, loaded_modules
from moka.formats.schema import coremltools_folder

__all__ = ["install", "is_installed", "uninstall"]

_REMOTE_PROXIES = "coremltools.models.ml_program.experimental.compute_plan_utils"

_ALIASES = {
    "libmodelpackage": {"ModelPackage": "_ModelPackage"},
    "libmilstoragepython": {"_BlobStorageReader": "BlobReader", "_BlobStorageWriter": "BlobWriter"},
}
"""Names that coremltools gives to what it imports from these libraries."""

_lock = threading.RLock()
_installed: _Installation | None = None


@dataclass
class _StandIn:
    """A module of ours under the name of one of coremltools' libraries, and the library that was there before, if any."""

    name: str
    module: ModuleType
    before: ModuleType | None = None

    @property
    def full_name(self) -> str:
        return f"coremltools.{self.name}"


@dataclass
class _Installation:
    """All that is different while the bridge is installed."""

    stand_ins: list[_StandIn]
    gates: Gates = field(default_factory=Gates)

    def open(self) -> None:
        for stand_in in self.stand_ins:
            stand_in.before = sys.modules.get(stand_in.full_name)
            _register(stand_in.full_name, stand_in.module)
        self.gates.open()
        for stand_in in self.stand_ins:
            _rebind(stand_in, stand_in.before, stand_in.module)
        _derive_again()

    def close(self) -> None:
        self.gates.close()
        for stand_in in self.stand_ins:
            _register(stand_in.full_name, stand_in.before)
            _rebind(stand_in, stand_in.module, stand_in.before or _own_library(stand_in.full_name))
        _derive_again()


def _rebind(stand_in: _StandIn, old: ModuleType | None, new: ModuleType | None) -> None:
    """Exchanges what loaded modules took from one library, None where it was missing, for what they would get from another."""
    aliases = _ALIASES.get(stand_in.name, {})
    for public in stand_in.module.__all__:
        name, before = aliases.get(public, public), getattr(old, public, None)
        for module in loaded_modules():
            if module not in (old, new) and name in vars(module) and vars(module)[name] is before:
                setattr(module, name, getattr(new, public, None))


def _derive_again() -> None:
    """Reloads the module that derives classes from the library's when it is loaded."""
    if _REMOTE_PROXIES in sys.modules:
        importlib.reload(sys.modules[_REMOTE_PROXIES])


def _own_library(full_name: str) -> ModuleType | None:
    """coremltools' own library, where it has one and coremltools is in use."""
    if "coremltools" not in sys.modules:
        return None
    try:
        return importlib.import_module(full_name)
    except Exception:  # coremltools, too, takes any failure for the library's absence
        return None


def install(*, force: bool = False, replace_libraries: bool = False, engine: str | None = None) -> bool:
    """Makes stock coremltools use Moka as its Core ML runtime, whether it was imported before or not.

    Registers `coremltools.libcoremlpython`; `libmilstoragepython` and `libmodelpackage` too where the installed coremltools
    has none for this platform; and answers coremltools' questions whether this is a Mac with yes. Imports neither
    coremltools nor torch. Safe to call twice, and from several threads.

    Args:
        force: install on macOS too, in place of Apple's Core ML.
        replace_libraries: use Moka's own code for weight files and packages even where coremltools' libraries are there.
        engine: what models run on, as for `moka.load`; None for what the environment variable MOKA_ENGINE says, else ``auto``.

    Returns:
        Whether the bridge is installed now: False only on macOS without ``force``.

    Raises:
        UnsupportedError: coremltools is not installed.
    """
    global _installed
    with _lock:
        if sys.platform == "darwin" and not force:
            return is_installed()
        coreml.engine = engine
        if _installed is None:
            installation = _Installation(_stand_ins(replace_libraries))
            installation.open()
            _installed = installation
        return True


def uninstall() -> None:
    """Undoes `install`: coremltools is as if it had been imported without it. Models already loaded go on working."""
    global _installed
    with _lock:
        if _installed is not None:
            _installed.close()
            _installed = None


def is_installed() -> bool:
    """Whether coremltools uses Moka now."""
    return _installed is not None


def _stand_ins(replace_libraries: bool) -> list[_StandIn]:
    stand_ins = [_stand_in("libcoremlpython", coreml)]
    if replace_libraries or not _has_library("libmilstoragepython"):
        stand_ins.append(_stand_in("libmilstoragepython", importlib.import_module("moka.bridge.milstorage")))
    if replace_libraries or not _has_library("libmodelpackage"):
        stand_ins.append(_stand_in("libmodelpackage", importlib.import_module("moka.bridge.modelpackage")))
    return stand_ins


def _stand_in(name: str, source: Any) -> _StandIn:
    module = ModuleType(f"coremltools.{name}", source.__doc__)
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None, origin="moka.bridge")
    vars(module).update({"__all__": list(source.__all__)}, **{public: getattr(source, public) for public in source.__all__})
    return _StandIn(name, module)


def _has_library(name: str) -> bool:
    """Whether the installed coremltools has a library that this Python can load, by the suffixes that it loads."""
    return importlib.machinery.PathFinder.find_spec(f"coremltools.{name}", [str(coremltools_folder())]) is not None


def _register(full_name: str, module: ModuleType | None) -> None:
    """Makes a module the one that imports find, also as an attribute of its loaded package; None takes it away."""
    package = sys.modules.get("coremltools")
    name = full_name.rpartition(".")[2]
    if module is not None:
        sys.modules[full_name] = module
        if package is not None:
            setattr(package, name, module)
        return
    sys.modules.pop(full_name, None)
    if package is not None:
        vars(package).pop(name, None)
