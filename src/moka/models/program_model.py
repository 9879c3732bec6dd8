"""ML Programs as models."""

from __future__ import annotations

from typing import Any

from moka.engines.torch_engine import TorchEngine
from moka.errors import InputError, ProgramError, UnknownOperationError
from moka.formats.source import ModelSource
from moka.importers.custom_operations import bind_custom_operations
from moka.importers.ml_program import import_program
from moka.ir.program import Function
from moka.ir.verify import verify
from moka.models.configuration import Configuration
from moka.models.execution import prepare
from moka.models.features import presented
from moka.models.model import Model, ModelState
from moka.models.shapes import assumed_sizes
from moka.ops.check import check_program

__all__ = ["ProgramModel"]


class ProgramModel(Model):
    """A model whose body is an ML Program.

    Attributes:
        executable: what runs its function.
        decision: which engines those are.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self.program = import_program(source)
        body = self._function()
        bind_custom_operations(body)
        _check_operations(source, body, TorchEngine())
        verify(self.program)
        check_program(self.program)
        made = prepare(body, configuration, assumed_sizes(body, self.function.inputs))
        self.executable, self.decision = made.executable, made.decision

    def make_state(self) -> ModelState:
        if not self.function.states:
            return super().make_state()
        return ModelState(self.function.states, self.executable.new_state())

    def _function(self) -> Function:
        """The program's function behind the described one, checked to take and give what the description says."""
        functions, name = self.program.functions, self.function.name
        if name not in functions:
            raise ProgramError(f"{self.path}: function {name!r} is described but the program has only {', '.join(functions) or 'none'}")
        function = functions[name]
        described = {*self.function.inputs, *self.function.states}
        for kind, stated, found in (
            ("input", described, {value.name for value in function.inputs}),
            ("output", set(self.function.outputs), {value.name for value in function.outputs}),
        ):
            if stated - found or (kind == "input" and found - stated):
                difference = ", ".join(sorted(stated ^ found))
                raise ProgramError(f"{self.path}: function {name!r}: description and program differ in {kind} {difference}")
        return function

    def _predict(self, inputs: dict[str, Any], state: ModelState | None) -> dict[str, Any]:
        if self.function.states and state is None:
            raise InputError(f"{self.path.name} is stateful: make a state with make_state() and pass it as predict(data, state=state)")
        if state is not None and not self.function.states:
            raise InputError(f"{self.path.name} has no states; predict takes none")
        results = self.executable.run(inputs, None if state is None else state.buffers)
        return {name: presented(feature, results[name]) for name, feature in self.function.outputs.items()}


def _check_operations(source: ModelSource, function: Function, engine: TorchEngine) -> None:
    problems: dict[str, list[str]] = {}
    for operation in function.body.walk():
        for reason in engine.reasons(operation, function.opset):
            problems.setdefault(reason, []).append(operation.name)
    if problems:
        lines = "\n  ".join(f"{reason}; it is {_some(names)}" for reason, names in problems.items())
        raise UnknownOperationError(f"{source.path}: function {function.name!r} can't run: {lines}")


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
