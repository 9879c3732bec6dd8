"""Where the ML Programs of a model refer to weight files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["blob_values", "programs"]


def programs(specification: Any, where: str = "") -> Iterator[tuple[Any, str]]:
    """Every ML Program of a ``Model`` message, of the models of pipelines too, with where it is."""
    kind = specification.WhichOneof("Type")
    if kind == "mlProgram":
        yield specification.mlProgram, f"{where}mlProgram"
    elif kind in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        pipeline = getattr(specification, kind)
        models = pipeline.models if kind == "pipeline" else pipeline.pipeline.models
        for index, model in enumerate(models):
            yield from programs(model, f"{where}{kind}.models[{index}].")


def blob_values(program: Any, where: str = "mlProgram") -> Iterator[tuple[str, Any]]:
    """Every ``Value`` message of a program that refers to a weight file, with where it is."""
    yield from _in_attributes(program, where)
    for name, function in program.functions.items():
        yield from _in_attributes(function, f"{where}: function {name!r}")
        for opset, block in function.block_specializations.items():
            yield from _in_block(block, f"{where}: function {name!r}: {opset}")


def _in_block(block: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield from _in_attributes(block, where)
    for index, operation in enumerate(block.operations):
        name = operation.outputs[0].name if operation.outputs else index
        here = f"{where}: {operation.type} {name!r}"
        yield from _in_attributes(operation, here)
        for parameter, argument in operation.inputs.items():
            for binding in argument.arguments:
                yield from _in_value(binding.value, f"{here}: input {parameter!r}")
        for inner in operation.blocks:
            yield from _in_block(inner, here)


def _in_attributes(message: Any, where: str) -> Iterator[tuple[str, Any]]:
    for name, value in message.attributes.items():
        yield from _in_value(value, f"{where}: attribute {name!r}")


def _in_value(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if value.WhichOneof("value") == "blobFileValue":
        yield where, value
        return
    immediate = value.immediateValue
    for element in (*immediate.list.values, *immediate.tuple.values):
        yield from _in_value(element, where)
    for pair in immediate.dictionary.values:
        yield from _in_value(pair.key, where)
        yield from _in_value(pair.value, where)
