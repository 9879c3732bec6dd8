"""PyTorch programs that run with Core ML what Core ML can do, and the rest with PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule

from moka.errors import InputError
from moka.pytorch.building import build
from moka.pytorch.calling import Calling
from moka.pytorch.config import DelegateConfig
from moka.pytorch.program import Program, outputs_of
from moka.pytorch.report import DelegationReport
from moka.pytorch.segments import Segment

__all__ = ["DelegatedModule", "delegate"]


def delegate(exported_program: ExportedProgram, config: DelegateConfig | None = None) -> DelegatedModule:
    """Gives a module that computes what an exported program does, with Core ML models for all parts that Core ML can run.

        exported = torch.export.export(model.eval(), (image,))
        fast = moka.pytorch.delegate(exported)
        fast(image)
        print(fast.report())

    Args:
        exported_program: what ``torch.export.export`` gave, in eval mode.
        config: which nodes may go to Core ML, and how the models are made and run.

    Raises:
        UnsupportedError: ``whole_graph`` is set and the program does not become one Core ML model.
    """
    config = config or DelegateConfig()
    exported = exported_program.run_decompositions({})
    program = Program.of(exported)
    calling = Calling.of(exported)
    built = build(program, config, _examples(exported, program, calling))
    return DelegatedModule(program, calling, config, built.report)


def _only_segment(module: GraphModule) -> Callable[..., Sequence[Any]] | None:
    """The segment that is all that a graph does: it takes what the graph takes, and gives what the graph gives, in the same order."""
    segments = [part for part in module.children() if isinstance(part, Segment)]
    if len(segments) != 1:
        return None
    *nodes, _ = module.graph.nodes
    outputs = nodes[-len(segments[0].ports.outputs) :]
    taken = [node for node in nodes if node.op == "placeholder"]
    picked = [(operator.getitem, index) for index in range(len(outputs))]
    calls = [list(node.args) for node in nodes if node.op == "call_module"]
    whole = calls == [taken] and len(nodes) == len(taken) + 1 + len(outputs) and outputs_of(module.graph) == outputs
    return segments[0].forward if whole and picked == [(node.target, *node.args[1:]) for node in outputs] else None


def _examples(exported: ExportedProgram, program: Program, calling: Calling) -> dict[str, Any] | None:
    """The inputs that the program was exported with, by placeholder; None where they are not known."""
    if exported.example_inputs is None:
        return None
    args, kwargs = exported.example_inputs
    with torch.no_grad():
        flat = calling.flatten(tuple(args), dict(kwargs))
    return dict(zip(program.inputs, flat, strict=True))


class DelegatedModule(torch.nn.Module):
    """A program with Core ML models in it; made by `delegate` and by `load`.

    Its ``state_dict`` holds what PyTorch still needs, under the names of the original module: the buffers that the program changes, and the
    weights of what stayed in PyTorch. Buffers that became Core ML states are in it, too.
    """

    def __init__(self, program: Program, calling: Calling, config: DelegateConfig, report: DelegationReport) -> None:
        super().__init__()
        module = self.graph_module = program.module
        self.config = config
        self.calling = calling
        self._report = report
        self.results = program.results
        self._values: list[tuple[torch.nn.Module | None, str] | int] = []
        inputs = {name: index for index, name in enumerate(program.inputs)}
        self._input_index = dict(inputs)
        self.targets: list[str | None] = []
        stateful = {target for segment in self.segments.values() for target in segment.ports.buffers}
        for node in module.graph.find_nodes(op="placeholder"):
            if node.name in inputs:
                self._values.append(inputs[node.name])
                self.targets.append(None)
            elif node.users or program.targets.get(node.name) in stateful:
                target = program.targets.get(node.name, node.name)
                tensor = program.constants[node.name] if node.name in program.constants else program.buffers[node.name][1].detach().clone()
                self._values.append(self._hold(target, tensor))
                self.targets.append(target)
            else:
                module.graph.erase_node(node)
        module.recompile()
        self._takes_inputs_only = self._values == list(range(len(inputs)))
        self._run = _only_segment(module) or module.forward
        self._writes = any(kind is not OutputKind.USER_OUTPUT for kind, _ in self.results)
        self._write_states()
        self.register_state_dict_pre_hook(lambda owner, *_: owner.read_states())  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(lambda owner, *_: owner._write_states())  # type: ignore[no-untyped-call]
        module.graph.owning_module = None  # the graph would hold the models until somebody collects garbage
        super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        flat = self.calling.flatten(args, kwargs)
        values = flat if self._takes_inputs_only else [self._value(item, flat) for item in self._values]
        outputs = self._run(*values)  # nothing in it requires gradients
        return self.calling.unflatten(self._written(outputs, flat) if self._writes else outputs)

    def _value(self, item: tuple[torch.nn.Module | None, str] | int, flat: Sequence[Any]) -> Any:
        """An argument of the graph: one of the call's, or a tensor that the module holds."""
        return flat[item] if isinstance(item, int) else getattr(item[0] or self, item[1])

    @property
    def segments(self) -> dict[str, Segment]:
        """The Core ML models, by the name that the graph calls them by."""
        return {name: part for name, part in self.graph_module.named_children() if isinstance(part, Segment)}

    def report(self) -> DelegationReport:
        """Which nodes run in which Core ML model, and why the others do not."""
        return self._report

    def train(self, mode: bool = True) -> DelegatedModule:
        """Only ``train(False)``: what an exported program does in training is not in it."""
        if mode:
            raise InputError("a delegated program runs in eval mode only: train the original module, export it and delegate it again")
        return super().train(False)

    def _written(self, outputs: Sequence[Any], flat: Sequence[Any]) -> list[Any]:
        """The user's results, after buffers and inputs that the program changes have been written to."""
        results, writes = [], []
        for value, (kind, target) in zip(outputs, self.results, strict=True):
            if kind is OutputKind.USER_OUTPUT:
                results.append(value)
            elif kind is OutputKind.BUFFER_MUTATION:
                writes.append((self.get_buffer(str(target)), value))
            elif kind is OutputKind.USER_INPUT_MUTATION:
                writes.append((flat[self._input_index[str(target)]], value))
        for place, value in writes:
            place.copy_(value)
        return results

    def _write_states(self) -> None:
        """Gives the Core ML states the content of the buffers that they are."""
        for segment in self.segments.values():
            segment.write_states([self.get_buffer(target) for target in segment.ports.buffers])

    def read_states(self) -> None:
        """Gives the buffers the content of the Core ML states that they are."""
        for segment in self.segments.values():
            for target, value in zip(segment.ports.buffers, segment.read_states(), strict=True):
                self.get_buffer(target).copy_(value)

    def _hold(self, target: str, tensor: torch.Tensor) -> tuple[torch.nn.Module | None, str]:
        """Keeps a tensor as a buffer under the name that it had in the original module; gives who has it, None for this module itself."""
        owner: torch.nn.Module = self
        *path, name = target.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        owner.register_buffer(name, tensor)
        return None if owner is self else owner, name
