"""What a network of the zoo is, and how coremltools turns it into a package."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Inputs = dict[str, torch.Tensor]
PRECISIONS = ("fp32", "fp16")
SEED = 20240229


@dataclass(frozen=True)
class Built:
    """A PyTorch module in eval mode and the inputs it is called with, one dict a step.

    A network without state has one step; a decoder with a key-value cache has several, which share that cache.
    """

    module: torch.nn.Module
    steps: tuple[Inputs, ...]

    def __call__(self) -> list[tuple[torch.Tensor, ...]]:
        """The outputs of every step, always as tuples, computed in order."""
        with torch.inference_mode():
            results = [self.module(**inputs) for inputs in self.steps]
        return [result if isinstance(result, tuple) else (result,) for result in results]


def settle(module: torch.nn.Module, steps: Sequence[Inputs]) -> None:
    """Makes a fresh network as telling as a trained one, in place.

    Parameters that are all one number (a bias of zeros, a scale of ones) get noise, since dropping them would go
    unnoticed. Batch normalisations get the statistics of the first inputs, since signals otherwise die out over many
    layers: MobileNetV2's largest logit would be 1e-21, which half precision rounds to zero.
    """
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and parameter.min() == parameter.max():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for norm in norms:
            norm.train().momentum = 1.0
        if norms:
            module(**steps[0])
    module.eval()


def through_export(built: Built) -> dict[str, Any]:
    """The arguments of `coremltools.convert` for a program captured by `torch.export`."""
    exported = torch.export.export(built.module, (), kwargs=built.steps[0])
    return {"model": exported.run_decompositions({})}


def through_trace(inputs: Callable[[], list[Any]], states: Callable[[], list[Any]]) -> Callable[[Built], dict[str, Any]]:
    """The arguments of `coremltools.convert` for a program captured by `torch.jit.trace`.

    `inputs` and `states` make coremltools' descriptions; they are functions so that coremltools is imported only when
    something is converted.
    """

    def capture(built: Built) -> dict[str, Any]:
        traced = torch.jit.trace(built.module, example_kwarg_inputs=built.steps[0], check_trace=False)
        return {"model": traced, "inputs": inputs(), "states": states()}

    return capture


@dataclass(frozen=True)
class Network:
    """A named architecture with its published sizes and seeded random weights."""

    name: str
    description: str
    make: Callable[[], tuple[torch.nn.Module, Sequence[Inputs]]]
    capture: Callable[[Built], dict[str, Any]] = through_export
    target: str = "iOS17"

    def build(self) -> Built:
        """The module and its inputs; the same numbers every time."""
        torch.manual_seed(SEED)
        module, steps = self.make()
        settle(module.eval(), steps)
        return Built(module, tuple(steps))

    def convert(self, precision: str) -> Any:
        """The network as a `coremltools.models.MLModel`, not loaded; raises what coremltools raises."""
        import coremltools as ct

        precisions = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ct.convert(
                **self.capture(self.build()),
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, self.target),
                compute_precision=precisions[precision],
                skip_model_load=True,
            )

    def path(self, folder: Path, precision: str) -> Path:
        """Where the package lies in a folder of models."""
        return folder / f"{self.name}-{precision}.mlpackage"

    def package(self, folder: Path, precision: str, force: bool = False) -> tuple[Path, float]:
        """The package's path and the seconds spent on converting it; 0 when it was there already."""
        path = self.path(folder, precision)
        if path.exists() and not force:
            return path, 0.0
        start = time.perf_counter()
        model = self.convert(precision)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(str(path))
        return path, time.perf_counter() - start
