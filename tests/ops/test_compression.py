"""Compressed models as coremltools' optimization tools write them, and compressed constants that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import moka
from moka.errors import ProgramError
from moka.ops import lookup

WEIGHT = np.random.default_rng(5).normal(size=(32, 64)).astype(np.float32)
X = np.random.default_rng(6).normal(size=(2, 64)).astype(np.float32)


def linear_model(opset: str) -> Any:
    """A model of one linear layer, in fp32."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813

    target = getattr(ct.target, opset)

    @mb.program(input_specs=[mb.TensorSpec((2, 64))], opset_version=target)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return mb.linear(x=x, weight=WEIGHT, name="y")

    return ct.convert(program, minimum_deployment_target=target, compute_precision=ct.precision.FLOAT32)


def quantized(model: Any, **options: Any) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0, **options)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(config), joint_compression="joint" in model.short_description)


def palettized(model: Any, **options: Any) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpPalettizerConfig(mode="kmeans", weight_threshold=0, **options)
    return cto.palettize_weights(model, cto.OptimizationConfig(config), joint_compression="joint" in model.short_description)


def pruned(model: Any) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0)
    sparse = cto.prune_weights(model, cto.OptimizationConfig(config))
    sparse.short_description = "joint"
    return sparse


COMPRESSIONS: dict[str, tuple[str, Any, str]] = {
    "int8": ("iOS16", lambda m: quantized(m, dtype=np.int8), "constexpr_affine_dequantize"),
    "lut4": ("iOS16", lambda m: palettized(m, nbits=4), "constexpr_lut_to_dense"),
    "lut6": ("iOS16", lambda m: palettized(m, nbits=6), "constexpr_lut_to_dense"),
    "sparse": ("iOS16", pruned, "constexpr_sparse_to_dense"),
    "int4-blocks": (
        "iOS18",
        lambda m: quantized(m, dtype="int4", granularity="per_block", block_size=16),
        "constexpr_blockwise_shift_scale",
    ),
    "uint8": ("iOS18", lambda m: quantized(m, dtype="uint8"), "constexpr_blockwise_shift_scale"),
    "lut3": ("iOS18", lambda m: palettized(m, nbits=3), "constexpr_lut_to_dense"),
    "lut4-groups": ("iOS18", lambda m: palettized(m, nbits=4, granularity="per_grouped_channel", group_size=8), "constexpr_lut_to_dense"),
    "lut2-vectors": ("iOS18", lambda m: palettized(m, nbits=2, cluster_dim=4), "constexpr_lut_to_dense"),
    "sparse-ios18": ("iOS18", pruned, "constexpr_sparse_to_dense"),
    "sparse-int4": ("iOS18", lambda m: quantized(pruned(m), dtype="int4"), "constexpr_sparse_blockwise_shift_scale"),
    "sparse-lut4": ("iOS18", lambda m: palettized(pruned(m), nbits=4), "constexpr_lut_to_sparse"),
}


def weight_of(model: Any) -> np.ndarray[Any, Any]:
    """The weight that coremltools itself restores."""
    import coremltools.optimize.coreml as cto

    (linear,) = cto.decompress_weights(model)._mil_program.functions["main"].find_ops(op_type="linear")
    return np.asarray(linear.weight.val)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compressed_model_computes_with_the_restored_weights(name: str, tmp_path: Path) -> None:
    opset, compress, operation = COMPRESSIONS[name]
    model = compress(linear_model(opset))
    assert operation in {item.op_type for item in model._mil_program.functions["main"].operations}
    path = tmp_path / "model.mlpackage"
    model.save(str(path))
    weight = weight_of(model)
    assert not np.array_equal(weight, WEIGHT)
    found = moka.load(path).predict({"x": X})["y"]
    np.testing.assert_allclose(found, X @ weight.T, atol=1e-4)


def refused(operation: str, opset: str, problem: str, **inputs: Any) -> None:
    with pytest.raises(ProgramError, match=problem):
        lookup(operation, opset).kernel(**inputs)


def test_a_mask_must_have_as_many_ones_as_there_are_values() -> None:
    mask = torch.tensor([0b101], dtype=torch.uint8)
    problem = "mask has 2 ones, but there are 1 values"
    refused("constexpr_sparse_to_dense", "ios16", problem, nonzero_data=torch.ones(1), mask=mask, shape=(3,))
    bits = torch.tensor([1, 0, 1], dtype=torch.uint8)
    refused("constexpr_sparse_to_dense", "ios18", problem, nonzero_data=torch.ones(1), mask=bits)


@pytest.mark.parametrize("values", [0, 1, 3, 32, 512])
def test_a_table_must_have_a_size_that_indices_can_have(values: int) -> None:
    indices = torch.zeros(4, dtype=torch.uint8)
    refused("constexpr_lut_to_dense", "ios16", f"lut has {values} values", indices=indices, lut=torch.ones(values), shape=(4,))


def test_an_index_must_lie_in_its_own_table() -> None:
    indices = torch.tensor([0, 4], dtype=torch.uint8)
    refused("constexpr_lut_to_dense", "ios18", "index 4 is beyond lut", indices=indices, lut=torch.ones(2, 4, 1))


def test_blocks_must_divide_the_data() -> None:
    data = torch.zeros((4, 6), dtype=torch.int8)
    refused("constexpr_blockwise_shift_scale", "ios18", r"\[3, 6\] blocks do not divide", data=data, scale=torch.ones(3, 6))
    refused("constexpr_blockwise_shift_scale", "ios18", r"\[2\] blocks do not divide", data=data, scale=torch.ones(2))


def test_vectors_need_an_axis() -> None:
    indices = torch.zeros((2, 2), dtype=torch.uint8)
    refused("constexpr_lut_to_dense", "ios18", "vector_axis is missing", indices=indices, lut=torch.ones(1, 1, 2, 3))


def test_packed_bits_must_be_as_many_as_the_shape_asks_for() -> None:
    packed = torch.zeros(1, dtype=torch.uint8)
    problem = "found 1 bytes, 4 elements of type uint4 take 2"
    refused("constexpr_lut_to_dense", "ios16", problem, indices=packed, lut=torch.ones(16), shape=(4,))
    problem = "found 1 bytes, 1099511627776 elements of type uint1 take 137438953472"
    refused("constexpr_sparse_to_dense", "ios16", problem, nonzero_data=torch.ones(1), mask=packed, shape=(2**20, 2**20))
