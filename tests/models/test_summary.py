"""What ``moka.inspect`` counts, against PyTorch, coremltools and the files."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from coremltools.models.neural_network import AdamParams, NeuralNetworkBuilder

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


def updatable(folder: Path) -> Path:
    """A network of two layers, the second of which learns, as coremltools' own calls describe it."""
    builder = NeuralNetworkBuilder([("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(2))])
    builder.add_inner_product("first", np.ones((4, 3)), None, 3, 4, False, "x", "h")
    builder.add_inner_product("second", np.ones((2, 4)), np.zeros(2), 4, 2, True, "h", "y")
    builder.make_updatable(["second"])
    builder.set_mean_squared_error_loss("distance", ("y", ct.models.datatypes.Array(2)))
    optimizer = AdamParams(lr=0.25, batch=8, beta1=0.5, beta2=0.75, eps=0.125)
    optimizer.set_batch(8, [4, 8, 16])
    optimizer.set_lr(0.25, 0.0, 0.5)
    builder.set_adam_optimizer(optimizer)
    builder.set_epochs(12, [6, 12])
    builder.set_shuffle(seed=5)
    path = folder / "updatable.mlmodel"
    ct.utils.save_spec(builder.spec, str(path))
    return path


def test_says_how_an_updatable_network_learns(tmp_path: Path) -> None:
    summary = moka.inspect(updatable(tmp_path))
    assert list(summary.training_inputs) == ["x", "y_true"]
    update = summary.to_dict()["parts"][0]["update"]
    assert update["layers"] == ["second"]
    assert update["losses"] == [{"name": "distance", "kind": "mean_squared_error", "input": "y", "target": "y_true"}]
    assert update["optimizer"] == "adam"
    found = {item.pop("name"): tuple(item.values()) for item in update["parameters"]}
    assert found == {  # type, default, allowed, minimum, maximum
        "epochs": ("int", 12, [6, 12], None, None),
        "mini_batch_size": ("int", 8, [4, 8, 16], None, None),
        "learning_rate": ("float", 0.25, None, 0.0, 0.5),
        "beta1": ("float", 0.5, None, 0.0, 1.0),
        "beta2": ("float", 0.75, None, 0.0, 1.0),
        "eps": ("float", 0.125, None, 0.0, 1.0),
        "shuffle": ("bool", True, None, None, None),
        "seed": ("int", 5, None, None, None),
    }


def test_what_is_not_updatable_has_no_update_parameters(tmp_path: Path) -> None:
    specification = ct.utils.load_spec(str(updatable(tmp_path)))
    specification.isUpdatable = False
    ct.utils.save_spec(specification, str(tmp_path / "fixed.mlmodel"))
    assert moka.inspect(tmp_path / "fixed.mlmodel").parts[0].update is None


def test_an_updatable_network_without_an_optimizer_is_refused(tmp_path: Path) -> None:
    specification = ct.utils.load_spec(str(updatable(tmp_path)))
    specification.neuralNetwork.updateParams.ClearField("optimizer")
    ct.utils.save_spec(specification, str(tmp_path / "broken.mlmodel"))
    with pytest.raises(moka.ProgramError, match="optimizer is not set; expected sgdOptimizer or adamOptimizer"):
        moka.inspect(tmp_path / "broken.mlmodel")
