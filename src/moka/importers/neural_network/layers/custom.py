"""Custom layers: what users registered for the class that the layer names."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.registry import layer
from moka.importers.neural_network.weights import decode_weights
from moka.ir.program import Constant, Value
from moka.ir.types import OpaqueType
from moka.ops.custom import make_custom_layer

Array: TypeAlias = np.ndarray[Any, Any]


@layer("custom")
def custom(net: NetworkBuilder, params: Any, *blobs: Value) -> list[Value]:
    """One operation, of the layer's inputs."""
    parameters = {name: getattr(value, value.WhichOneof("value") or "stringValue") for name, value in sorted(params.parameters.items())}
    weights = [_weights(message, f"{net.origin}: weights[{index}]") for index, message in enumerate(params.weights)]
    count = len(net.layer.output)
    found = make_custom_layer(params.className, parameters, weights, len(blobs), count, net.origin)
    return net.emit_all("nn_custom", count, inputs=blobs or None, layer=Constant(OpaqueType(params.className), found))


def _weights(message: Any, where: str) -> Array:
    """Weights without a shape: a vector of float32, or of the bytes themselves where the file does not say what they mean."""
    raw = message.rawValue or message.int8RawValue
    if raw and not message.HasField("quantization"):
        return np.frombuffer(raw, np.int8 if message.int8RawValue else np.uint8)
    bits = message.quantization.numberOfBits or 8
    count = len(message.floatValue) + len(message.float16Value) // 2 + len(raw) * 8 // bits
    return decode_weights(message, (count,), 0, where)
