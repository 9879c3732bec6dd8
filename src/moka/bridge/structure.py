"""A model's structure, as coremltools' ``MLModelStructure``, from its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moka.bridge.coreml import _MLModelStructureNeuralNetworkLayerProxy, _MLModelStructureProgramOperationProxy
from moka.errors import ProgramError
from moka.formats.source import open_source

__all__ = ["model_structure"]

_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
_PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")


def model_structure(path: Path) -> Any:
    """The structure of the model in a file or package; kinds other than programs, networks and pipelines have none."""
    return _structure(open_source(path).specification)


def _structure(specification: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructure

    kind = specification.WhichOneof("Type")
    network = _network(getattr(specification, kind)) if kind in _NETWORKS else None
    program = _program(specification.mlProgram) if kind == "mlProgram" else None
    pipeline = _pipeline(getattr(specification, kind)) if kind in _PIPELINES else None
    return MLModelStructure(neuralnetwork=network, program=program, pipeline=pipeline)


def _network(network: Any) -> Any:
    """The layers; ``type`` is the specification's name of the layer, for the names inside Core ML are not known for all of them."""
    from coremltools.models.compute_plan import MLModelStructureNeuralNetwork, MLModelStructureNeuralNetworkLayer

    def layer(message: Any) -> Any:
        proxy = _MLModelStructureNeuralNetworkLayerProxy()
        names = [message.name, message.WhichOneof("layer"), list(message.input), list(message.output)]
        return MLModelStructureNeuralNetworkLayer(*names, proxy)

    return MLModelStructureNeuralNetwork([layer(message) for message in network.layers])


def _pipeline(message: Any) -> Any:
    from coremltools.models.compute_plan import MLModelStructurePipeline

    pipeline = getattr(message, "pipeline", message)  # a classifier's or regressor's is inside it
    names = [*pipeline.names, *(f"model{index}" for index in range(len(pipeline.names), len(pipeline.models)))]
    return MLModelStructurePipeline([(name, _structure(model)) for name, model in zip(names, pipeline.models, strict=True)])


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
