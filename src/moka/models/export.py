"""Core ML to ONNX: a file that every runtime of that format takes, with the model's own names and metadata."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import moka
from moka.engines.base import Segment
from moka.engines.onnx.file import with_own_names, write
from moka.engines.onnx.graph import Target, Unlowerable, Weights
from moka.engines.onnx.lower import lower, reasons
from moka.engines.torch_engine import TorchEngine
from moka.errors import InputError, UnsupportedError
from moka.importers.neural_network import import_network
from moka.ir.program import Block, Function, Value
from moka.ir.types import TensorType
from moka.models.features import Feature, MultiArrayFeature
from moka.models.model import Model, load
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.models.shapes import declared_shape, known_shapes
from moka.models.values import random_inputs

__all__ = ["Export", "export"]

_TARGET = Target("onnx")


@dataclasses.dataclass(frozen=True)
class Export:
    """What `export` made.

    Attributes:
        data: the file with the weights, where they are not in the model's.
        inputs, outputs: names, states among them; a state ``s`` goes in as ``s`` and comes out as ``s_out``.
        differences: for each output the largest difference from PyTorch's result, as a share of the largest value; empty if not checked.
    """

    path: Path
    data: Path | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    differences: Mapping[str, float]


def export(
    model: Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    external: bool | None = None,
    check: bool = False,
    progress: Callable[[str], object] = lambda text: None,
) -> Export:
    """Writes an ML Program or a neural network as ONNX.

    Inputs and outputs keep their names; images are tensors [1, channels, height, width] of pixels from 0 to 255; a classifier gives the
    probabilities as a tensor, with its labels in the metadata ``classes``; states become inputs and outputs. Values declared fp16 are
    computed in float32, their weights stay fp16.

    Args:
        model: the model, or its path.
        path: the file: ``model.onnx``.
        shapes: for a neural network with flexible inputs, the shapes to write it for.
        external: whether weights go into a file beside it, ``model.onnx.data``; None for only where they must.
        check: whether ONNX Runtime runs the file on random inputs, to be compared with Moka's PyTorch kernels.
        progress: called with a text at each step.

    Raises:
        UnsupportedError: the model is of another kind, or operations of it have no form in ONNX; the message names them all.
        InputError: the file can't be written.
    """
    if Path(path).suffix != ".onnx":
        raise InputError(f"path is {os.fspath(path)!r}; expected a name that ends in .onnx")
    progress("loading")
    loaded = model.opened() if isinstance(model, Model) else load(model)
    progress("lowering")
    function, classes = _without_labels(_function(loaded, shapes or {}))
    message, weights = _lowered(loaded, function)
    _describe(message, loaded, classes)
    progress("writing")
    data = write(message, weights, Path(path), external)
    names = tuple(item.name for item in message.graph.input), tuple(item.name for item in message.graph.output)
    if check:
        progress("comparing")
    return Export(Path(path), data, *names, _differences(loaded, function, Path(path), shapes or {}) if check else {})


def _function(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Function:
    if isinstance(model, ProgramModel):
        if shapes:
            raise InputError("shapes: an ML Program is written for all shapes that it takes; shapes are for neural networks")
        return _with_shapes(model.program.functions[model.function.name])
    if not isinstance(model, NetworkModel):
        raise UnsupportedError(f"{model.path}: models of kind {model.kind} are not exported; expected an ML Program or a neural network")
    if unknown := [name for name in shapes if name not in model.function.inputs]:
        raise InputError(f"shapes: the model has no input {unknown[0]!r}; it takes {', '.join(model.function.inputs)}")
    sizes = {name: shapes.get(name) or declared_shape(feature) for name, feature in model.function.inputs.items()}
    if open_ := [name for name, shape in sizes.items() if shape is None]:
        raise InputError(f"input {open_[0]!r} has no declared shape; give one: shapes={{{open_[0]!r}: (1, 3, 224, 224)}}")
    return import_network(model.network, {name: shape for name, shape in sizes.items() if shape is not None}).functions["main"]


def _with_shapes(function: Function) -> Function:
    """The function, with the sizes that its types leave open although they follow from those of its inputs."""
    if all(value.type.is_static for value in function.inputs if isinstance(value.type, TensorType)):
        for value, shape in known_shapes(function, {}).items():
            if isinstance(value.type, TensorType):
                value.type = TensorType(value.type.dtype, shape)
    return function


def _without_labels(function: Function) -> tuple[Function, list[Any] | None]:
    """The function with a classifier's probabilities as a tensor in place of labels and a dictionary, and the labels."""
    last = next((operation for operation in function.body.operations if operation.type == "classify"), None)
    if last is None:
        return function, None
    (classes,), (probabilities,) = last.inputs["classes"], last.inputs["probabilities"]
    constant = classes.producer.attributes["val"] if isinstance(classes, Value) and classes.producer is not None else classes
    assert isinstance(probabilities, Value)
    operations = [operation for operation in function.body.operations if operation is not last]
    named = Value(last.outputs[1].name, probabilities.type, probabilities.producer)
    operations = [_renamed(operation, probabilities, named) for operation in operations]
    outputs = [named if value is last.outputs[1] else value for value in function.outputs if value is not last.outputs[0]]
    body = Block(function.body.inputs, operations, outputs, function.body.attributes)
    labels = [item.item() if hasattr(item, "item") else item for item in getattr(constant, "value", [])]
    return dataclasses.replace(function, body=body), labels


def _renamed(operation: Any, old: Value, new: Value) -> Any:
    """An operation with another value in the place of one; the same if it has nothing to do with it."""
    if old not in operation.outputs and old not in list(operation.arguments()):
        return operation
    inputs = {name: tuple(new if item is old else item for item in items) for name, items in operation.inputs.items()}
    return dataclasses.replace(operation, inputs=inputs, outputs=[new if item is old else item for item in operation.outputs])


def _lowered(model: Model, function: Function) -> tuple[onnx.ModelProto, Weights]:
    try:
        lowered = lower(Segment.of(function), _TARGET)
    except Unlowerable as reason:
        found = [(operation, reasons(operation, function.opset, _TARGET)) for operation in function.body.operations]
        lines = [f"{operation}: {'; '.join(why)}" for operation, why in found if why] or [str(reason)]
        raise UnsupportedError(f"{model.path}: what has no form in ONNX: " + "; ".join(dict.fromkeys(lines))) from reason
    return with_own_names(lowered)


def _describe(message: onnx.ModelProto, model: Model, classes: list[Any] | None) -> None:
    """Writes the model's metadata, and beside each input and output what its description says."""
    metadata = model.description.metadata
    message.producer_version, message.doc_string = moka.__version__, metadata.description
    message.graph.name = model.path.stem or "model"
    stated = {"author": metadata.author, "license": metadata.license, "version": metadata.version, **metadata.user_defined}
    if classes is not None:
        stated["classes"] = json.dumps(classes, ensure_ascii=False)
    onnx.helper.set_model_props(message, {name: text for name, text in stated.items() if text})
    features = {**model.function.inputs, **model.function.outputs}
    for item in (*message.graph.input, *message.graph.output):
        if item.name in features:
            feature = features[item.name]
            item.doc_string = ". ".join(filter(None, (feature.description, feature.summary())))


def _differences(model: Model, function: Function, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """How far ONNX Runtime's results on the file are from PyTorch's on the program, with the same random inputs and empty states."""
    import onnxruntime

    features = {name: _shaped(feature, shapes.get(name)) for name, feature in model.function.inputs.items()}
    data = random_inputs(features)
    inputs = {name: feature.coerce(data[name]) if name in data else feature.absent() for name, feature in features.items()}
    executable = TorchEngine().compile(Segment.of(function))
    expected = executable.run(inputs, executable.new_state())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {
        item.name: onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        for item in onnx.load(path, load_external_data=False).graph.input
    }
    feed = {
        item.name: np.asarray(inputs[item.name] if item.name in inputs else np.zeros(item.shape), kinds[item.name])
        for item in session.get_inputs()
    }
    found = session.run(list(expected), feed)
    return {name: _difference(result, value.numpy()) for result, (name, value) in zip(found, expected.items(), strict=True)}


def _shaped(feature: Feature, shape: tuple[int, ...] | None) -> Feature:
    """A flexible input as one of the shape that the file is for."""
    if shape is None or not isinstance(feature, MultiArrayFeature):
        return feature
    return dataclasses.replace(feature, shape=shape, shapes=(), ranges=())


def _difference(found: Any, expected: Any) -> float:
    """max |found - expected| / max |expected|; infinite where the shapes differ or a value is not a number on one side only."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if found.shape != expected.shape or not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return float("inf")
    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max(initial=0))
    return float(np.abs(found[finite] - expected[finite]).max(initial=0)) / (largest or 1.0)
