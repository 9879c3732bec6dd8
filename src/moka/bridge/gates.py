"""coremltools' questions whether this is a Mac, and how they are answered with yes.

Two functions and two constants decide. The functions are copied into many modules by ``from ... import``, some of them not
coremltools' own, so what is exchanged is the code inside them; the constants are set where they are defined before
other modules copy them, and in the modules that have copied them already.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["Gates", "loaded_modules"]

_CONSTANTS = "coremltools._deps"
_FUNCTIONS = "coremltools.models.utils"


def _is_macos() -> bool:
    return True


def _macos_version() -> tuple[int, int]:
    return (26, 0)  # the newest that coremltools knows; a literal, for the code runs in coremltools' module


class Gates:
    """Lifts the gates in the modules that are loaded, and in those loaded later until `close`."""

    def __init__(self) -> None:
        self._codes: list[tuple[FunctionType, CodeType]] = []
        self._constants: dict[str, Any] = {}
        self._hook = _ImportHook({_CONSTANTS: self._lift_constants, _FUNCTIONS: self._lift_functions})

    def open(self) -> None:
        sys.meta_path.insert(0, self._hook)  # first, so that what is loaded from here on is seen
        for name, lift in ((_CONSTANTS, self._lift_constants), (_FUNCTIONS, self._lift_functions)):
            if name in sys.modules:
                lift(sys.modules[name])
        self._set_copies(True)

    def close(self) -> None:
        sys.meta_path.remove(self._hook)
        for function, code in reversed(self._codes):
            function.__code__ = code
        _forget_version(sys.modules.get(_FUNCTIONS))
        if _CONSTANTS in sys.modules:
            self._restore_constants(sys.modules[_CONSTANTS])

    def _lift_functions(self, module: ModuleType) -> None:
        for replacement in (_is_macos, _macos_version):
            function = getattr(module, replacement.__name__, None)
            function = getattr(function, "__wrapped__", function)  # one of them is under a cache
            if isinstance(function, FunctionType):
                self._codes.append((function, function.__code__))
                function.__code__ = replacement.__code__
        _forget_version(module)

    def _lift_constants(self, module: ModuleType) -> None:
        for name, value in (("_IS_MACOS", True), ("MACOS_VERSION", _macos_version())):
            if name in vars(module):
                self._constants[name] = getattr(module, name)
            setattr(module, name, value)

    def _restore_constants(self, module: ModuleType) -> None:
        for name in ("_IS_MACOS", "MACOS_VERSION"):
            if name in self._constants:
                setattr(module, name, self._constants[name])
            elif name in vars(module):
                delattr(module, name)
        self._set_copies(self._constants.get("_IS_MACOS", False))

    @staticmethod
    def _set_copies(value: bool) -> None:
        for module in loaded_modules():
            if "_IS_MACOS" in vars(module):
                module.__dict__["_IS_MACOS"] = value


def _forget_version(module: ModuleType | None) -> None:
    """The version of the system is cached on its first use, perhaps before the code was exchanged."""
    clear = getattr(getattr(module, "_macos_version", None), "cache_clear", None)
    if clear is not None:
        clear()


def loaded_modules() -> list[ModuleType]:
    """coremltools' modules that are loaded."""
    loaded = list(sys.modules.items())
    return [module for name, module in loaded if module is not None and (name == "coremltools" or name.startswith("coremltools."))]


class _ImportHook(importlib.abc.MetaPathFinder):
    """Runs an action on certain modules right after their code has run, before anyone else sees them."""

    def __init__(self, actions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._actions = actions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._actions:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ActingLoader(spec.loader, self._actions[fullname])
        return spec


class _ActingLoader(importlib.abc.Loader):
    """Another loader, and an action after it; it takes itself out of the module, which then looks like any other."""

    def __init__(self, loader: Any, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action(module)
