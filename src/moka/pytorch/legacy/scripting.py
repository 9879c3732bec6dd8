"""TorchScript modules that run a Core ML model: what ``torch._C._jit_to_backend("coreml", ...)`` gives.

The module holds what `preprocess` made and calls the operator ``moka::coreml_execute``, so that it can be saved and loaded as every
TorchScript module; a process that loads it imports `moka.pytorch.legacy` first.
"""

from __future__ import annotations

import functools
import keyword
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from moka.errors import InputError, UnsupportedError
from moka.pytorch.legacy.conversion import preprocess
from moka.pytorch.legacy.runtime import CoreMLBackend, Executor

__all__ = ["install", "is_installed", "to_backend", "uninstall"]

BACKEND = "coreml"
_PREPROCESS = "torch.backends._coreml.preprocess"

_lock = threading.RLock()
_executors: dict[tuple[str, str], Executor] = {}
_before: dict[str, Any] = {}


def _execute(model: torch.Tensor, hash: str, extra: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Runs the model, which the first call in a process compiles and loads."""
    with _lock:
        executor = _executors.get((hash, extra))
        if executor is None:
            processed = {"model": model.cpu().numpy().tobytes(), "hash": hash, "extra": extra}
            executor = _executors[hash, extra] = CoreMLBackend.compile(processed)["forward"]
    return executor.run(inputs)


_library = torch.library.Library("moka", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define("coreml_execute(Tensor model, str hash, str extra, Tensor[] inputs) -> Tensor[]")  # type: ignore[no-untyped-call]
_library.impl("coreml_execute", _execute, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


class _Holder(torch.nn.Module):
    """What `preprocess` gave, as TorchScript can keep it."""

    def __init__(self, model: bytes, hash: str, extra: str) -> None:
        super().__init__()
        self.register_buffer("model", torch.from_numpy(np.frombuffer(model, np.uint8).copy()))
        self.hash = hash
        self.extra = extra


def to_backend(script_module: Any, compile_spec: Mapping[str, tuple[Any, ...]]) -> Any:
    """A TorchScript module that runs on Core ML, with the arguments and results of the original.

    Raises:
        InputError: the specification does not fit the module.
        UnsupportedError: the module can't be converted, or takes or gives something else than tensors, tuples and lists of them.
    """
    schema = _schema(script_module)
    names = [argument.name for argument in schema.arguments[1:]]
    if others := [argument for argument in schema.arguments[1:] if str(argument.type) != "Tensor"]:
        raise UnsupportedError(f"argument {others[0].name!r} is a {others[0].type}; Core ML's backend takes tensors")
    processed = preprocess(script_module, compile_spec)
    taken, given = len(compile_spec["forward"][0]), len(compile_spec["forward"][1])
    if taken != len(names):
        raise InputError(f"inputs: {taken} are specified, the module takes {len(names)}")
    names = [f"{name}_" if keyword.iskeyword(name) else name for name in names]
    arguments, listed = "".join(f", {name}: Tensor" for name in names), ", ".join(names)
    annotation, result = _results(schema.returns[0].type.annotation_str, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is; so is all of this
        kind = type("CoreMLModule", (_Holder,), {})  # a class of its own: TorchScript compiles one ``forward`` for each
        module = torch.jit.script(kind(processed["model"], processed["hash"], processed["extra"]))
    module.define(f"""
def forward(self{arguments}) -> {annotation}:
    outputs = torch.ops.moka.coreml_execute(self.model, self.hash, self.extra, [{listed}])
    return {result}
""")
    return module


def _schema(script_module: Any) -> Any:
    inner = getattr(script_module, "_c", script_module)
    if not isinstance(inner, torch._C.ScriptModule):
        raise InputError(f"a {type(script_module).__name__} is given; expected what torch.jit.script or torch.jit.trace gives")
    return inner._get_method("forward").schema


def _results(returns: str, count: int) -> tuple[str, str]:
    """The annotation of ``forward``, and what it returns, for the type that the original returns."""
    several = f"Tuple[{', '.join(['Tensor'] * count)}]"
    results = {
        "Tensor": "outputs[0]",
        "List[Tensor]": "outputs",
        several: "(" + "".join(f"outputs[{index}], " for index in range(count)) + ")",
    }
    if returns not in results:
        raise UnsupportedError(f"the module returns {returns}, {count} outputs are specified; expected a tensor, a list, or {several}")
    return returns, results[returns]


def install() -> None:
    """Makes PyTorch's own names lead here; safe to call twice.

    ``torch._C._jit_to_backend("coreml", ...)`` gives what `to_backend` gives, and ``torch.backends._coreml.preprocess`` is this package.
    """
    with _lock:
        if _before:
            return
        import torch.backends._coreml as package

        functions: Any = torch._C
        _before["function"] = functions._jit_to_backend
        _before["module"] = sys.modules.get(_PREPROCESS)
        functions._jit_to_backend = _dispatching(functions._jit_to_backend)
        ours = sys.modules["moka.pytorch.legacy"]
        sys.modules[_PREPROCESS] = ours
        package.preprocess = ours  # type: ignore[attr-defined]


def uninstall() -> None:
    """Undoes `install`."""
    with _lock:
        if not _before:
            return
        import torch.backends._coreml as package

        functions: Any = torch._C
        functions._jit_to_backend = _before["function"]
        module: ModuleType | None = _before["module"]
        if module is None:
            del sys.modules[_PREPROCESS]
            del package.preprocess  # type: ignore[attr-defined]
        else:
            sys.modules[_PREPROCESS] = module
            package.preprocess = module  # type: ignore[attr-defined]
        _before.clear()


def is_installed() -> bool:
    """Whether PyTorch's names lead here."""
    return bool(_before)


def _dispatching(original: Any) -> Any:
    @functools.wraps(original)
    def jit_to_backend(backend: str, module: Any, method_compile_spec: Mapping[str, Any]) -> Any:
        if backend == BACKEND:
            return to_backend(module, method_compile_spec)
        return original(backend, module, method_compile_spec)

    return jit_to_backend
