"""A model's structure, as coremltools' ``MLModelStructure``: from its specification, and of networks from their compiled form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from moka.bridge.coreml import _MLModelStructureNeuralNetworkLayerProxy, _MLModelStructureProgramOperationProxy
from moka.errors import ProgramError
from moka.formats.espresso.files import NET_FILE, read_net
from moka.formats.mlmodelc.folder import CompiledFolder, is_compiled, open_folder
from moka.formats.source import open_source

__all__ = ["model_structure"]

Layer: TypeAlias = tuple[str, str, list[str], list[str]]
"""Name, type, inputs and outputs."""

_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
_PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")


def model_structure(path: Path) -> Any:
    """The structure of a compiled model, or of one in a file or package; only programs, networks and pipelines have one.

    Layers of a compiled network have the types that they are compiled to (``elementwise``), as in Core ML; else those of the specification.
    """
    return _structure(open_source(path).specification, open_folder(path) if is_compiled(path) else None)


def _structure(specification: Any, folder: CompiledFolder | None) -> Any:
    from coremltools.models.compute_plan import MLModelStructure

    kind = specification.WhichOneof("Type")
    network = _network(getattr(specification, kind), folder) if kind in _NETWORKS else None
    program = _program(specification.mlProgram) if kind == "mlProgram" else None
    pipeline = _pipeline(getattr(specification, kind), folder) if kind in _PIPELINES else None
    return MLModelStructure(neuralnetwork=network, program=program, pipeline=pipeline)


def _network(network: Any, folder: CompiledFolder | None) -> Any:
    from coremltools.models.compute_plan import MLModelStructureNeuralNetwork, MLModelStructureNeuralNetworkLayer

    layers = _specified_layers(network) if folder is None else _compiled_layers(folder)
    proxy = _MLModelStructureNeuralNetworkLayerProxy
    return MLModelStructureNeuralNetwork([MLModelStructureNeuralNetworkLayer(*layer, proxy()) for layer in layers])


def _specified_layers(network: Any) -> Iterator[Layer]:
    for layer in network.layers:
        yield layer.name, layer.WhichOneof("layer"), list(layer.input), list(layer.output)


def _compiled_layers(folder: CompiledFolder) -> Iterator[Layer]:
    for layer in read_net(folder.file(NET_FILE))["layers"]:
        inputs, outputs = ([name for name in layer.get(key, "").split(",") if name] for key in ("bottom", "top"))
        yield layer["name"], layer["type"], inputs, outputs


def _pipeline(message: Any, folder: CompiledFolder | None) -> Any:
    from coremltools.models.compute_plan import MLModelStructurePipeline

    pipeline = getattr(message, "pipeline", message)  # a classifier's or regressor's is inside it
    names = [*pipeline.names, *(f"model{index}" for index in range(len(pipeline.names), len(pipeline.models)))]
    folders: Sequence[CompiledFolder | None] = [None] * len(names) if folder is None else folder.stages()
    parts = zip(names, pipeline.models, folders, strict=True)
    return MLModelStructurePipeline([(name, _structure(model, part)) for name, model, part in parts])


def _program(program: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructureProgram

    return MLModelStructureProgram({name: _function(name, function) for name, function in program.functions.items()})


def _function(name: str, function: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructureProgramFunction

    if function.opset not in function.block_specializations:
        raise ProgramError(f"function {name!r}: no block for opset {function.opset!r}; there are {sorted(function.block_specializations)}")
    block = function.block_specializations[function.opset]
    return MLModelStructureProgramFunction(_named_types(function.inputs), _block(block))


def _block(block: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructureProgramBlock

    operations = [_operation(operation) for operation in block.operations]
    return MLModelStructureProgramBlock(_named_types(block.inputs), operations, list(block.outputs))


def _operation(operation: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructureProgramOperation

    return MLModelStructureProgramOperation(
        inputs={name: _argument(argument) for name, argument in operation.inputs.items()},
        operator_name=operation.type,
        outputs=_named_types(operation.outputs),
        blocks=[_block(block) for block in operation.blocks],
        __proxy__=_MLModelStructureProgramOperationProxy(),
    )


def _argument(argument: Any) -> Any:
    from coremltools.models.compute_plan import (
        MLModelStructureProgramArgument,
        MLModelStructureProgramBinding,
        MLModelStructureProgramValue,
    )

    def binding(message: Any) -> Any:
        if message.WhichOneof("binding") == "name":
            return MLModelStructureProgramBinding(message.name, None)
        return MLModelStructureProgramBinding(None, MLModelStructureProgramValue())

    return MLModelStructureProgramArgument([binding(message) for message in argument.arguments])


def _named_types(values: Any) -> list[Any]:
    from coremltools.models.compute_plan import MLModelStructureProgramNamedValueType, MLModelStructureProgramValueType

    return [MLModelStructureProgramNamedValueType(value.name, MLModelStructureProgramValueType()) for value in values]
