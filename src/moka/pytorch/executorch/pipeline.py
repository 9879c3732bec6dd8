"""ExecuTorch's Core ML backend with Moka's compiler in the place of Apple's."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from moka.errors import UnsupportedError

__all__ = ["install", "is_installed", "require", "uninstall"]

_ENTRIES = ("preprocess", "preprocess_multimethod")
"""What ExecuTorch calls of the backend for a program, or for several that share weights."""

_lock = threading.RLock()
_originals: dict[str, Any] = {}


def require(module: str, what: str) -> ModuleType:
    """A module of ExecuTorch.

    Raises:
        UnsupportedError: ExecuTorch is not installed.
    """
    if importlib.util.find_spec("executorch") is None:
        raise UnsupportedError(f"{what} is ExecuTorch's, which is not installed: pip install executorch (tested with version 1.5)")
    return importlib.import_module(f"executorch.{module}")


def install(*, unverified: bool = True, force: bool = False) -> bool:
    """Makes ExecuTorch's pipeline compile with Moka where a program asks for ``MODEL_TYPE.COMPILED_MODEL``; safe to call twice.

    Args:
        unverified: compile also what no real compiled model has shown, in Moka's own reading, with a warning that names it and a mark in
            the compiled model's ``metadata.json``: such a program runs with Moka; with Apple's Core ML it has not been tried. Without, it
            is refused.
        force: do so on macOS too, in place of Apple's compiler.

    Returns:
        Whether Moka compiles now: False only on macOS without ``force``.

    Raises:
        UnsupportedError: ExecuTorch is not installed.
    """
    with _lock:
        if sys.platform == "darwin" and not force:
            return is_installed()
        backend = _backend()
        uninstall()
        for name in _ENTRIES:
            _originals[name] = backend.__dict__[name]
            setattr(backend, name, _compiling(_originals[name], unverified))
        return True


def uninstall() -> None:
    """Undoes `install`."""
    with _lock:
        for name, original in _originals.items():
            setattr(_backend(), name, original)
        _originals.clear()


def is_installed() -> bool:
    """Whether ExecuTorch compiles with Moka now."""
    return bool(_originals)


def _backend() -> Any:
    return require("backends.apple.coreml.compiler.coreml_preprocess", "CoreMLBackend").CoreMLBackend


def _compiling(entry: Any, unverified: bool) -> Any:
    """A static or class method of the backend, during which coremltools' models are compiled by Moka."""

    @functools.wraps(entry.__func__)
    def call(*args: Any, **options: Any) -> Any:
        with _moka_compiles(unverified):
            return entry.__func__(*args, **options)

    return type(entry)(call)


@contextlib.contextmanager
def _moka_compiles(unverified: bool) -> Iterator[None]:
    """Answers ``MLModel.get_compiled_model_path`` with what Moka compiles; the caller moves it away."""
    from coremltools.models import MLModel

    with _lock, tempfile.TemporaryDirectory(prefix="moka-executorch-") as folder:
        original = MLModel.get_compiled_model_path
        MLModel.get_compiled_model_path = _compiler(Path(folder), unverified)
        try:
            yield
        finally:
            MLModel.get_compiled_model_path = original


def _compiler(folder: Path, unverified: bool) -> Callable[[Any], str]:
    from moka.compiler.compile import compile

    def compiled_path(model: Any) -> str:
        place = Path(tempfile.mkdtemp(dir=folder))
        source = place / "model.mlpackage"
        model.save(str(source))
        try:
            return str(compile(source, place))
        except UnsupportedError as error:
            if not unverified:
                raise
            warnings.warn(f"compiled in Moka's own reading, not tried on Apple's devices: {error}", RuntimeWarning, stacklevel=2)
            return str(compile(source, place, unverified=True))

    return compiled_path
