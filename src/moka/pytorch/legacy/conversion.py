"""`preprocess`: a TorchScript module as a Core ML model in bytes, as ``torch.backends._coreml.preprocess`` makes it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from moka.errors import InputError, UnsupportedError
from moka.formats.mil_text.elements import store
from moka.formats.references import blob_values
from moka.formats.source import ModelSource, open_source
from moka.importers.ml_program import import_type
from moka.ir.types import TensorType
from moka.pytorch.frontend import coremltools, quiet

__all__ = [
    "CT_METADATA_SOURCE",
    "CT_METADATA_VERSION",
    "CompileSpec",
    "CoreMLComputeUnit",
    "CoreMLQuantizationMode",
    "ScalarType",
    "TensorSpec",
    "preprocess",
]

CT_METADATA_VERSION = "com.github.apple.coremltools.version"
CT_METADATA_SOURCE = "com.github.apple.coremltools.source"

METHOD = "forward"

Tensor: TypeAlias = tuple[Sequence[Any], int]
"""What `TensorSpec` gives: a shape, or several allowed ones, and a type."""


class ScalarType:
    """Types of tensors, as a specification names them."""

    Float = 0
    Double = 1
    Int = 2
    Long = 3
    Undefined = 4


class CoreMLComputeUnit:
    """What a model may run on."""

    CPU = "cpuOnly"
    CPUAndGPU = "cpuAndGPU"
    ALL = "all"


class CoreMLQuantizationMode:
    """How the weights of a neural network become 8 bits wide."""

    LINEAR = "linear"
    LINEAR_SYMMETRIC = "linear_symmetric"
    NONE = "none"


_MIL_TYPES = {ScalarType.Float: "fp32", ScalarType.Double: "fp32", ScalarType.Int: "int32", ScalarType.Long: "int32"}
"""coremltools' names of the types that inputs get: Core ML has neither double nor int64."""


def TensorSpec(shape: Sequence[Any], dtype: int = ScalarType.Float) -> Tensor:  # noqa: N802 (PyTorch's name)
    """An input or output: its shape, or a list of the shapes that it may have, and its type."""
    return (shape, dtype)


def CompileSpec(  # noqa: N802 (PyTorch's name)
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    backend: str = CoreMLComputeUnit.CPU,
    allow_low_precision: bool = True,
    quantization_mode: str = CoreMLQuantizationMode.NONE,
    mlmodel_export_path: str | None = None,
    convert_to: str | None = None,
) -> tuple[Any, ...]:
    """How a method becomes a Core ML model.

    Args:
        inputs: what it takes, in order.
        outputs: what it gives, in order.
        backend: what the model may run on, one of `CoreMLComputeUnit`.
        allow_low_precision: whether it may be computed in less precision than stated.
        quantization_mode: one of `CoreMLQuantizationMode`, for neural networks.
        mlmodel_export_path: a file that the model is written to as well.
        convert_to: ``neuralnetwork`` or ``mlprogram``; None for a neural network where it can be one, else an ML Program.
    """
    return (inputs, outputs, backend, allow_low_precision, quantization_mode, mlmodel_export_path, convert_to)


def preprocess(script_module: Any, compile_spec: Mapping[str, tuple[Any, ...]]) -> dict[str, str | bytes]:
    """A TorchScript module as a Core ML model.

    The bytes hold all of the model: coremltools would leave an ML Program's weights outside of them, in a folder that is gone by then.

    Args:
        script_module: what ``torch.jit.script`` or ``torch.jit.trace`` gave, or the C++ module in it (``._c``).
        compile_spec: what `CompileSpec` gave, for the key ``forward``.

    Returns:
        ``model``, the serialized Core ML model; ``hash``, its SHA-256; ``extra``, JSON with ``inputs`` and ``outputs`` (name, type and
        shape of each), ``config`` and ``metadata``.

    Raises:
        InputError: the specification is not complete, or names another number of outputs than the module gives.
        UnsupportedError: the module can't be converted.
    """
    inputs, outputs, backend, low_precision, quantization, export_path, convert_to = _specification(compile_spec)
    model = _converted(script_module, inputs, convert_to)
    if quantization != CoreMLQuantizationMode.NONE:
        model = _quantized(model, quantization)
    specification = _specification_of(model)
    names = [feature.name for feature in specification.description.output]
    if len(names) != len(outputs):
        raise InputError(f"outputs: {len(outputs)} are specified, the module gives {len(names)}")
    data = specification.SerializeToString()
    if export_path is not None:
        _export(model, data, Path(export_path))
    stated = specification.description.metadata.userDefined
    extra = {
        "inputs": [[f"input_{index}", str(dtype), str(shape)] for index, (shape, dtype) in enumerate(inputs)],
        "outputs": [[name, str(dtype), str(shape)] for name, (shape, dtype) in zip(names, outputs, strict=True)],
        "config": {
            "spec_ver": str(specification.specificationVersion),
            "backend": backend,
            "allow_low_precision": str(low_precision),
        },
        "metadata": {"coremltool_ver": stated[CT_METADATA_VERSION], "torch_ver": stated[CT_METADATA_SOURCE]},
    }
    return {"model": data, "hash": hashlib.sha256(data).hexdigest(), "extra": json.dumps(extra)}


def _specification(compile_spec: Mapping[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """The fields of the method's specification, checked."""
    if METHOD not in compile_spec:
        raise InputError(f"compile_spec: has {', '.join(map(str, compile_spec)) or 'nothing'}; expected a CompileSpec for {METHOD!r}")
    fields = tuple(compile_spec[METHOD])
    if len(fields) != len(CompileSpec((), ())):
        raise InputError(f"compile_spec[{METHOD!r}]: has {len(fields)} fields, expected what CompileSpec(inputs, outputs, ...) gives")
    for _, dtype in fields[0]:
        if dtype not in _MIL_TYPES:
            raise InputError(f"inputs: type {dtype!r}; expected one of ScalarType.Float, Double, Int and Long")
    if fields[6] not in (None, "neuralnetwork", "mlprogram"):
        raise InputError(f"convert_to is {fields[6]!r}; expected 'neuralnetwork', 'mlprogram' or None")
    return fields


def _converted(script_module: Any, inputs: Sequence[Tensor], convert_to: str | None) -> Any:
    """coremltools' model, of the first of the wanted kinds that the module can be."""
    failures = []
    for kind in [convert_to] if convert_to else ["neuralnetwork", "mlprogram"]:
        try:
            return _convert(_python_module(script_module), inputs, kind)
        except Exception as error:  # coremltools raises what it likes
            failures.append(f"as {kind}: {type(error).__name__}: {' '.join(str(error).split())}")
            cause = error
    raise UnsupportedError(f"the module can't be converted: {'; '.join(failures)}") from cause


def _convert(module: Any, inputs: Sequence[Tensor], kind: str) -> Any:
    ct = coremltools()
    from coremltools.converters.mil.mil import types

    described = []
    for index, (shape, dtype) in enumerate(inputs):
        allowed = ct.EnumeratedShapes(shape) if _is_enumerated(shape) else shape
        described.append(ct.TensorType(name=f"input_{index}", shape=allowed, dtype=getattr(types, _MIL_TYPES[dtype])))
    with quiet(), torch.no_grad():
        return ct.convert(module, inputs=described, convert_to=kind, skip_model_load=True)


def _python_module(script_module: Any) -> Any:
    """The Python module around a C++ one, which PyTorch hands to backends."""
    if isinstance(script_module, torch.nn.Module):
        return script_module
    from torch.jit._recursive import wrap_cpp_module

    return wrap_cpp_module(script_module)  # type: ignore[no-untyped-call]


def _is_enumerated(shape: Sequence[Any]) -> bool:
    return bool(shape) and all(isinstance(size, (list, tuple)) for size in shape)


def _quantized(model: Any, mode: str) -> Any:
    if model.get_spec().WhichOneof("Type") == "mlProgram":
        raise UnsupportedError(f"quantization_mode {mode!r}: is for neural networks; pass convert_to='neuralnetwork'")
    from coremltools.models import MLModel
    from coremltools.models.neural_network.quantization_utils import quantize_weights

    with quiet():
        found = quantize_weights(model, nbits=8, quantization_mode=mode)
        return found if hasattr(found, "get_spec") else MLModel(found, skip_model_load=True)


def _specification_of(model: Any) -> Any:
    """The ``Model`` message with everything in it; an ML Program's weights are moved in from their file."""
    if model.get_spec().WhichOneof("Type") != "mlProgram":
        return model.get_spec()
    with tempfile.TemporaryDirectory(prefix="moka-legacy-") as folder:
        model.save(str(Path(folder) / "model.mlpackage"))
        source = open_source(Path(folder) / "model.mlpackage")
        for where, value in blob_values(source.specification.mlProgram):
            _move_in(source, where, value)
        return source.specification


def _move_in(source: ModelSource, where: str, value: Any) -> None:
    """Replaces a reference to a weight file by the numbers that are there."""
    value_type, reference = import_type(value.type), value.blobFileValue
    if not isinstance(value_type, TensorType) or value_type.static_shape is None:
        raise UnsupportedError(f"{where}: values of type {value_type} can't be stored inside of a model")
    array = source.weights(reference.fileName).read(reference.offset, value_type.dtype, value_type.static_shape)
    store(value.immediateValue.tensor, array.ravel().tolist(), value_type.dtype)


def _export(model: Any, data: bytes, path: Path) -> None:
    """Writes the model: a package by that suffix, else the bytes that `preprocess` gives."""
    if path.suffix == ".mlpackage":
        model.save(str(path))
    else:
        path.write_bytes(data)
