"""What ``moka.inspect`` counts, against PyTorch, coremltools and the files."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import pytest
import torch

import moka
from tests.builders import convert


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 6 * 6, 10)).eval()


@pytest.fixture(scope="module")
def model(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("summary")
    module = torch.jit.trace(network, torch.zeros(1, 3, 8, 8))
    return convert(module, folder / "network.mlpackage", inputs=[ct.TensorType("x", (1, 3, 8, 8))])


def test_counts_parameters_operations_and_bytes(model: Path, network: torch.nn.Module) -> None:
    (part,) = moka.inspect(model).parts
    count = sum(parameter.numel() for parameter in network.parameters())
    assert part.parameters == count
    assert [(group.dtype, group.elements, group.bytes) for group in part.weights] == [("fp32", count, 4 * count)]
    assert part.operations == {"conv": 1, "linear": 1, "relu": 1, "reshape": 1}
    assert part.opsets == {"main": "CoreML6"}


@pytest.mark.parametrize("way", ["palettized", "quantized", "pruned"])
def test_compressed_weights_stand_for_as_many_parameters(way: str, model: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    source = ct.models.MLModel(str(model), skip_model_load=True)
    config = {
        "palettized": lambda: (cto.palettize_weights, cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=100)),
        "quantized": lambda: (cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=100)),
        "pruned": lambda: (cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=0.75, weight_threshold=100)),
    }[way]
    compress, options = config()
    compress(source, cto.OptimizationConfig(global_config=options)).save(str(tmp_path / "small.mlpackage"))
    (part,) = moka.inspect(tmp_path / "small.mlpackage").parts
    name = {"palettized": "constexpr_lut_to_dense", "quantized": "constexpr_affine_dequantize", "pruned": "constexpr_sparse_to_dense"}[way]
    assert part.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert part.compressed == {name: 2}
    stored = sum(group.bytes for group in part.weights)
    assert stored < (tmp_path / "small.mlpackage/Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    assert stored < part.parameters * 4 / 2.5
    storage = {"palettized": "Palettized (4 bits)", "quantized": "Int8", "pruned": "Sparse"}[way]
    assert storage in moka.metadata(tmp_path / "small.mlpackage")[0]["storagePrecision"]


def test_a_model_that_is_two_functions_counts_shared_weights_once(model: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    functions = ct.utils.MultiFunctionDescriptor()
    functions.add_function(str(model), src_function_name="main", target_function_name="a")
    functions.add_function(str(model), src_function_name="main", target_function_name="b")
    functions.default_function_name = "a"
    ct.utils.save_multifunction(functions, str(tmp_path / "two.mlpackage"))
    summary = moka.inspect(tmp_path / "two.mlpackage")
    assert list(summary.description.functions) == ["a", "b"]
    assert summary.parts[0].parameters == sum(parameter.numel() for parameter in network.parameters())
    (entry,) = moka.metadata(tmp_path / "two.mlpackage")
    assert [function["name"] for function in entry["functions"]] == ["a", "b"]
    assert entry["defaultFunctionName"] == "a"


def test_network_weights_are_counted_by_type(tmp_path: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=4)
    layers = specification.neuralNetwork.layers
    layers.add(name="full").innerProduct.weights.floatValue.extend([1.0] * 12)
    layers.add(name="half").innerProduct.weights.float16Value = b"\0" * 20
    packed = layers.add(name="packed").innerProduct.weights
    packed.quantization.numberOfBits, packed.rawValue = 4, b"\0" * 8
    (tmp_path / "network.mlmodel").write_bytes(specification.SerializeToString())
    (part,) = moka.inspect(tmp_path / "network.mlmodel").parts
    assert {group.dtype: (group.elements, group.bytes) for group in part.weights} == {"fp32": (12, 48), "fp16": (10, 20), "uint4": (16, 8)}
    assert (part.parameters, part.operations) == (38, {"InnerProduct": 3})
    assert part.compressed == {"quantized to 4 bits": 1}
