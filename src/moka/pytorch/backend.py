"""``torch.compile(model, backend="moka")``.

    fast = torch.compile(model.eval(), backend="moka")
    with torch.no_grad():
        fast(image)

    torch.compile(model, backend="moka", options={"precision": "float16"})     # the fields of `DelegateConfig`

Each graph that torch.compile captures is divided as `moka.pytorch.delegate` divides an exported program; between graph breaks runs
Python. Weights are part of the Core ML models: who changes them (in place, or by loading others) gets new models at the next call. What was
made is kept in Moka's cache, so that the next run of the same program converts nothing.

Graphs that are to give gradients run in PyTorch, which a warning says once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule

from moka.pytorch.building import build
from moka.pytorch.config import DelegateConfig
from moka.pytorch.program import Program, outputs_of
from moka.pytorch.report import DelegationReport

__all__ = ["compile_graph", "reports"]

_REBUILDS = 4
"""How often weights may change before a graph stays in PyTorch: it is then being trained."""

_reports: list[DelegationReport] = []


def compile_graph(module: GraphModule, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, mode: str | None = None) -> Any:
    """What torch.compile calls for each graph that it captures.

    Args:
        module: the graph, as torch.compile captured it.
        inputs: its arguments, weights among them.
        options: fields of `DelegateConfig`.
        mode: torch.compile's; it makes no difference.
    """
    config = DelegateConfig(**(options or {}))
    if torch.is_grad_enabled() and any(isinstance(value, torch.Tensor) and value.requires_grad for value in inputs):
        _warn_of_gradients()
        return module.forward
    from torch._dynamo.backends.common import aot_autograd

    def compiler(graph: GraphModule, _: Sequence[Any]) -> Callable[..., Any]:
        return _CompiledGraph(graph, _static_inputs(graph), config)

    return aot_autograd(fw_compiler=compiler, inference_compiler=compiler)(module, inputs)


def reports() -> tuple[DelegationReport, ...]:
    """The reports on the graphs that this process compiled, in order."""
    return tuple(_reports)


class _CompiledGraph:
    """A graph, divided when it is first called: only then are its weights known."""

    _boxed_call = True

    def __init__(self, graph: GraphModule, static: Sequence[int], config: DelegateConfig) -> None:
        self._graph = graph
        self._static = static
        self._config = config
        self._weights: list[tuple[int, torch.Tensor, int]] = []
        self._run: Callable[..., Any] | None = None
        self._builds = 0
        self._taken: list[int] = []
        self._changing: set[int] = set()

    def __call__(self, values: list[Any]) -> Any:
        given = list(values)
        values.clear()
        changed = [index for index, tensor, version in self._weights if given[index] is not tensor or _version(tensor) != version]
        if self._run is None or changed:
            self._changing.update(index for index in changed if not isinstance(given[index], torch.nn.Parameter))
            self._build(given)
        assert self._run is not None
        with torch.no_grad():
            return list(self._run(*[given[index] for index in self._taken]))

    def _build(self, given: Sequence[Any]) -> None:
        """Makes the Core ML models for the weights as they are now; buffers that have changed once are inputs."""
        self._builds += 1
        if self._builds > _REBUILDS:
            self._weights, self._taken, self._run = [], list(range(len(given))), self._graph.forward
            return
        graph = torch.fx.Graph()
        graph.output(graph.graph_copy(self._graph.graph, {}))
        places = graph.find_nodes(op="placeholder")
        fixed = [index for index in self._static if index not in self._changing and isinstance(given[index], torch.Tensor)]
        self._weights = [(index, given[index], _version(given[index])) for index in fixed]
        constants = {places[index].name: tensor.detach() for index, tensor, _ in self._weights}
        results = tuple((OutputKind.USER_OUTPUT, None) for _ in outputs_of(graph))
        program = Program(GraphModule(self._graph, graph), constants, results=results)
        examples = {node.name: given[index] for index, node in enumerate(places) if node.name not in constants}
        order = {node.name: index for index, node in enumerate(places)}
        _reports.append(build(program, self._config, examples).report)
        names = [node.name for node in program.module.graph.find_nodes(op="placeholder")]
        held = {name: program.constants[name] for name in names if name in program.constants}
        self._taken = [order[name] for name in names if name not in held]
        self._run = _bound(program.module, names, held)


def _bound(module: GraphModule, names: Sequence[str], held: Mapping[str, torch.Tensor]) -> Callable[..., Any]:
    """The module with the constants that it still needs in place."""

    def run(*values: Any) -> Any:
        given = iter(values)
        return module(*[held[name] if name in held else next(given) for name in names])

    return run if held else module


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _static_inputs(graph: GraphModule) -> list[int]:
    """The places of parameters and buffers among a graph's inputs, those left out that the graph changes."""
    context = torch._guards.TracingContext.try_get()
    metadata = None if context is None else context.fw_metadata
    if metadata is None:
        return []
    changed = set(metadata.mutated_inp_runtime_indices)
    count = len(graph.graph.find_nodes(op="placeholder"))
    return [index for index in metadata.static_input_indices if index not in changed and index < count]


_warned = False


def _warn_of_gradients() -> None:
    global _warned
    if not _warned:
        _warned = True
        message = (
            "backend 'moka' runs graphs that are to give gradients in PyTorch, since Core ML gives none;"
            " for inference call model.eval() and run under torch.no_grad()"
        )
        warnings.warn(message, UserWarning, stacklevel=3)
