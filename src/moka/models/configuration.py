"""How a model is to run: what Core ML's users know as MLModelConfiguration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from moka.errors import InputError

__all__ = ["ComputeUnits", "Configuration", "EngineName", "Numerics"]

ComputeUnits: TypeAlias = Literal["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]
Numerics: TypeAlias = Literal["fast", "device"]
EngineName: TypeAlias = Literal["auto", "torch", "onnxruntime", "openvino", "coreml"]

_CHOICES = {
    "compute_units": ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"),
    "numerics": ("fast", "device"),
    "engine": ("auto", "torch", "onnxruntime", "openvino", "coreml"),
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a model is to run.

    Attributes:
        compute_units: what it may run on.
        function: which of a multifunction model's functions; None for the default one.
        numerics: ``fast``, or ``device``: every result rounded to its declared type.
        engine: what runs the operations that it can run; ``auto`` leaves it to the plan, which never takes ``coreml``: Apple's own Core ML,
            on macOS, which runs the whole model.
        threads: how many threads one prediction may use; 0 for as many as there are cores.
        allow_low_precision: whether what the model declares fp16 may be computed in bf16 where the processor is fast at it.
        plan: a plan that is to be followed, in place of one made for this machine.

    Raises:
        InputError: a value is none of those allowed.
    """

    compute_units: ComputeUnits = "ALL"
    function: str | None = None
    numerics: Numerics = "fast"
    engine: EngineName = "auto"
    threads: int = 0
    allow_low_precision: bool = False
    plan: Any = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if self.threads < 0:
            raise InputError(f"threads is {self.threads}; expected 0 (all cores) or a positive number")

    def of_part(self) -> Configuration:
        """For a model inside another one, which has functions and plans of its own."""
        return replace(self, function=None, plan=None)
