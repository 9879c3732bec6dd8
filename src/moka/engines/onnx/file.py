"""ONNX files: a lowered program under its own names, written with its weights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from moka.engines.onnx.graph import Packed, Weights, onnx_dtype
from moka.engines.onnx.lower import Lowered
from moka.errors import InputError, UnsupportedError

__all__ = ["with_own_names", "write"]

_INSIDE = 2**31 - 2**24
"""Bytes of weights that fit into the file itself: a protobuf message ends at 2 GiB."""

_PAGE = 4096
"""Weights in a file of their own start at multiples of it, so that runtimes can map them."""


def with_own_names(lowered: Lowered) -> tuple[onnx.ModelProto, Weights]:
    """The model with its inputs, outputs and states under their own names; what had one of these inside gets another."""
    pairs = [(port.operand.name, port.value.name) for port in (*lowered.inputs, *lowered.outputs)]
    for name, ((before, after),) in lowered.states.items():
        pairs += [(before.operand.name, name), (after.operand.name, f"{name}_out")]
    own, wanted = dict(pairs), {new for _, new in pairs}
    used = set(lowered.weights) | set(_names(lowered.model.graph))
    for name in sorted((used - own.keys()) & wanted):
        count = 1
        while f"{name}_{count}" in used | wanted:
            count += 1
        own[name] = f"{name}_{count}"
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    _rename(model.graph, own)
    return model, {own.get(name, name): array for name, array in lowered.weights.items()}


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    for items in (graph.input, graph.output, graph.initializer):
        yield from (item.name for item in items)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in _subgraphs(node):
            yield from _names(inner)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    items: Any = [*graph.input, *graph.output, *graph.initializer, *graph.value_info]
    for item in items:
        item.name = names.get(item.name, item.name)
    for node in graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
        for inner in _subgraphs(node):
            _rename(inner, names)


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def write(message: onnx.ModelProto, weights: Weights, path: Path, external: bool | None) -> Path | None:
    """Writes a model, with the weights in it or in a file beside it, which is returned; the files appear when they are whole and checked.

    Args:
        external: whether the weights have a file of their own; None for only where they must.

    Raises:
        UnsupportedError: ONNX's own checker finds something wrong with it.
        InputError: a file can't be written.
    """
    size = sum(item.data.nbytes if isinstance(item, Packed) else item.nbytes for item in weights.values())
    data = path.with_name(f"{path.name}.data") if (size > _INSIDE if external is None else external) else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".moka_") as folder:
            made = Path(folder) / path.name
            if data is None:
                message.graph.initializer.extend(_inside(name, item) for name, item in weights.items())
            else:
                message.graph.initializer.extend(_outside(weights, Path(folder) / data.name))
            made.write_bytes(message.SerializeToString())
            _check(made)
            for file in (data, path):
                if file is not None:
                    os.replace(Path(folder) / file.name, file)
    except OSError as error:
        raise InputError(f"{path}: can't be written: {error.strerror}") from error
    return data


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UnsupportedError(f"{path.name}: what was made of the model is not valid ONNX: {error}") from error


def _tensor(name: str, item: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name=name, dims=item.shape, data_type=onnx_dtype(item.dtype))


def _bytes(item: Any) -> bytes:
    return bytes(np.ascontiguousarray(item.data if isinstance(item, Packed) else item).tobytes())


def _inside(name: str, item: Any) -> onnx.TensorProto:
    tensor = _tensor(name, item)
    tensor.raw_data = _bytes(item)
    return tensor


def _outside(weights: Weights, path: Path) -> list[onnx.TensorProto]:
    """Writes the weights one after the other into a file; gives the tensors that refer to it."""
    tensors = []
    with path.open("wb") as file:
        for name, item in weights.items():
            file.seek(-(-file.tell() // _PAGE) * _PAGE)
            tensor, start = _tensor(name, item), file.tell()
            file.write(_bytes(item))
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", start), ("length", file.tell() - start)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
    return tensors
