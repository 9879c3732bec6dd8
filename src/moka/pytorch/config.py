"""How a PyTorch program is divided between Core ML and PyTorch, and how its Core ML parts are made and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from moka.errors import InputError
from moka.models.configuration import ComputeUnits, Configuration, EngineName

__all__ = ["DelegateConfig", "Precision"]

Precision: TypeAlias = Literal["float32", "float16"]

_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
_STATES_SINCE = "iOS18"


@dataclass(frozen=True)
class DelegateConfig:
    """Options of `moka.pytorch.delegate` and of ``torch.compile(backend="moka")``.

    Attributes:
        keep_out: operators that stay in PyTorch, as PyTorch names them: ``torch.ops.aten.topk``, one of its overloads, or ``"aten.topk"``.
        minimum_nodes: partitions of fewer nodes stay in PyTorch.
        maximum_partitions: how many parts may become Core ML models; those with the most nodes do. None for any number.
        whole_graph: whether all must become one Core ML model; if it can't, an error says why.
        compute_units: what Core ML models may run on.
        precision: of the Core ML models' computations.
        minimum_deployment_target: the oldest system that is to run the Core ML models; None for iOS 17, or iOS 18 where states ask for it.
        enumerated_shapes: by an input's name the shapes that it may have, the default one first. Of an input with flexible sizes only.
        states: whether buffers that the program changes become Core ML states (float16, as Core ML has them). Else they stay tensors of
            the module, of their own type, and go in and out.
        quantizer: how weights are compressed: a ``coremltools.optimize.coreml.OptimizationConfig``.
        engine: what runs the Core ML models, as in `moka.load`.
        threads: how many threads one run may use, as in `moka.load`.
        verify: whether each Core ML part is run once on the program's example inputs and stays in PyTorch if it differs.

    Raises:
        InputError: a value is none of those allowed.
    """

    keep_out: tuple[Any, ...] = ()
    minimum_nodes: int = 1
    maximum_partitions: int | None = None
    whole_graph: bool = False
    compute_units: ComputeUnits = "ALL"
    precision: Precision = "float32"
    minimum_deployment_target: str | None = None
    enumerated_shapes: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    states: bool = False
    quantizer: Any = None
    engine: EngineName = "auto"
    threads: int = 0
    verify: bool = True

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "float16"):
            raise InputError(f"precision is {self.precision!r}; expected 'float32' or 'float16'")
        if self.target not in _TARGETS:
            raise InputError(f"minimum_deployment_target is {self.minimum_deployment_target!r}; expected one of {', '.join(_TARGETS)}")
        if self.states and _TARGETS.index(self.target) < _TARGETS.index(_STATES_SINCE):
            raise InputError(f"minimum_deployment_target is {self.target!r}; states need {_STATES_SINCE!r} or newer")
        for name in ("minimum_nodes", "maximum_partitions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; expected 1 or more")
        Configuration(compute_units=self.compute_units, engine=self.engine, threads=self.threads)  # which checks these

    @property
    def target(self) -> str:
        """The deployment target, by coremltools' name."""
        return self.minimum_deployment_target or (_STATES_SINCE if self.states else "iOS17")

    @property
    def conversion(self) -> dict[str, Any]:
        """All options that a converted model depends on, as JSON has them."""
        return {
            "precision": self.precision,
            "target": self.target,
            "shapes": {name: [list(shape) for shape in shapes] for name, shapes in sorted(self.enumerated_shapes.items())},
            "quantizer": repr(self.quantizer),
        }
