"""Weights in every form, decoded beside coremltools' own decompression, and those that no network may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coremltools.models.neural_network import quantization_utils as quantization
from coremltools.proto import NeuralNetwork_pb2

from moka.errors import ProgramError
from moka.importers.neural_network.weights import WeightStore

RANDOM = np.random.default_rng(3)
WEIGHTS = RANDOM.normal(0, 1, (5, 3, 2, 4)).astype(np.float32)


def read(message: Any, shape: tuple[int, ...] = WEIGHTS.shape, axis: int = 0) -> Any:
    return WeightStore().read(message, shape, "layer 'a' (convolution): weights", axis=axis)


def message(values: Any = WEIGHTS) -> Any:
    made = NeuralNetwork_pb2.WeightParams()
    made.floatValue.extend(np.asarray(values, np.float32).reshape(-1))
    return made


def test_float32() -> None:
    np.testing.assert_array_equal(read(message()), WEIGHTS)


def test_float16() -> None:
    made = NeuralNetwork_pb2.WeightParams(float16Value=WEIGHTS.astype(np.float16).tobytes())
    np.testing.assert_array_equal(read(made), WEIGHTS.astype(np.float16).astype(np.float32))


def quantiles(bits: int, weights: Any) -> tuple[Any, Any]:
    """A lookup table of uneven steps, and the nearest entry of it for each weight."""
    table = np.quantile(weights, np.linspace(0, 1, 1 << bits))
    return table, np.abs(weights[..., None] - table).argmin(-1)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("mode", ["linear_quantization", "lookup_table_quantization_linear", "lookup_table_quantization_custom"])
@pytest.mark.parametrize("axis", [0, 1])
def test_quantized_weights(bits: int, mode: str, axis: int) -> None:
    made = message()
    quantization._quantize_wp_field(made, bits, f"_{mode}", WEIGHTS.shape, axis, lut_function=quantiles)
    assert not made.floatValue
    decoded = read(made, axis=axis)
    quantization._quantize_wp_field(made, bits, "_dequantize_network", WEIGHTS.shape, axis)
    np.testing.assert_allclose(decoded.reshape(-1), made.floatValue, rtol=1e-5, atol=1e-6)


def test_codes_that_fill_no_whole_byte() -> None:
    """Five codes of three bits, the most significant bit first: 1, 2, 7, 0, 5."""
    made = NeuralNetwork_pb2.WeightParams(rawValue=bytes([0b00101011, 0b10001010]))
    made.quantization.numberOfBits = 3
    made.quantization.lookupTableQuantization.floatValue.extend(range(10, 18))
    np.testing.assert_array_equal(read(made, (5,)), [11, 12, 17, 10, 15])


def test_int8_with_one_scale_and_no_bias() -> None:
    made = NeuralNetwork_pb2.WeightParams(int8RawValue=np.array([-127, 0, 3], np.int8).tobytes())
    made.quantization.numberOfBits = 8
    made.quantization.linearQuantization.scale.append(0.5)
    np.testing.assert_array_equal(read(made, (3,)), [-63.5, 0, 1.5])


def test_a_weight_is_decoded_once() -> None:
    store, made = WeightStore(), message()
    assert store.read(made, (120,), "weights").base is store.read(made, (5, 24), "weights").base


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"floatValue": [2.0]}, [2, 2, 2]), ({"float16Value": np.array([1, 2, 3], np.float16).tobytes()}, [1, 2, 3])],
    ids=["one", "each"],
)
def test_one_number_or_one_for_each_channel(values: dict[str, Any], expected: list[float]) -> None:
    made = NeuralNetwork_pb2.WeightParams(**values)
    np.testing.assert_array_equal(WeightStore().read_channels(made, 3, "alpha"), expected)


def quantized(field: str = "rawValue", data: bytes = bytes(3), bits: int = 8, table: int = 0, scales: int = 1, biases: int = 1) -> Any:
    made = NeuralNetwork_pb2.WeightParams(**{field: data})
    made.quantization.numberOfBits = bits
    if table:
        made.quantization.lookupTableQuantization.floatValue.extend([0.0] * table)
    else:
        made.quantization.linearQuantization.scale.extend([1.0] * scales)
        made.quantization.linearQuantization.bias.extend([0.0] * biases)
    return made


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (NeuralNetwork_pb2.WeightParams(), "has no weights; expected one form of weights"),
        (NeuralNetwork_pb2.WeightParams(floatValue=[1, 2]), r"has 2 weights; expected 3, which is \[3\]"),
        (NeuralNetwork_pb2.WeightParams(floatValue=[1, 2, 3], rawValue=b"abc"), "has floatValue and rawValue; expected one form"),
        (NeuralNetwork_pb2.WeightParams(float16Value=b"abc"), "has 3 bytes, which is no whole number of float16"),
        (NeuralNetwork_pb2.WeightParams(rawValue=b"abc"), "has rawValue without quantization"),
        (quantized(bits=0), "quantized to 0 bits; expected 1 to 8"),
        (quantized(bits=9), "quantized to 9 bits; expected 1 to 8"),
        (quantized("int8RawValue", bits=4), "int8RawValue quantized to 4 bits; expected 8"),
        (quantized(bits=4), "has 3 bytes; expected 2 for 3 weights of 4 bits"),
        (quantized(table=255), "has a lookup table of 255 entries; expected rawValue and 256 for 8 bits"),
        (quantized("int8RawValue", table=256), "int8RawValue has a lookup table"),
        (quantized(scales=2), "with 2 scale values; expected 1 or 3"),
        (quantized(biases=2), "with 2 bias values; expected 1 or 3"),
        (quantized(scales=0), "with 0 scale values; expected 1 or 3"),
    ],
)
def test_broken_weights_are_refused(broken: Any, problem: str) -> None:
    with pytest.raises(ProgramError, match=rf"layer 'a' \(convolution\): weights.*{problem}"):
        read(broken, (3,))
