"""Custom layers of networks and custom operations of ML Programs, computed by what users register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools import proto
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.utils import save_spec
from PIL import Image

import moka
from moka.formats.mlmodel import read_specification
from moka.importers.neural_network import import_network
from moka.models.network_model import NetworkModel
from moka.ops import custom

X = np.random.default_rng(0).uniform(-1, 1, (3, 4, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(custom._registered)
    custom._registered.clear()
    yield
    custom._registered.clear()
    custom._registered.update(before)


def network(folder: Path, class_name: str, inputs: int = 1, outputs: int = 1, weights: Any = (), **parameters: Any) -> Path:
    """relu, a custom layer, and twice its first output."""
    names = [f"x{i}" for i in range(inputs)]
    builder = NeuralNetworkBuilder([(name, datatypes.Array(*X.shape)) for name in names], [("y", datatypes.Array(*X.shape))])
    params = proto.NeuralNetwork_pb2.CustomLayerParams()
    params.className = class_name
    for array in weights:
        params.weights.add().floatValue.extend(np.ravel(array))
    for name, value in parameters.items():
        kind = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}[type(value)]
        setattr(params.parameters[name], kind, value)
    builder.add_activation("relu", "RELU", "x0", "r")
    builder.add_custom("mine", ["r", *names[1:]], [f"m{i}" for i in range(outputs)], params)
    builder.add_activation("twice", "LINEAR", "m0", "y", [2.0, 0.0])
    for feature in [*builder.spec.description.input, *builder.spec.description.output]:
        feature.type.multiArrayType.dataType = feature.type.multiArrayType.FLOAT32
    del builder.spec.description.output[0].type.multiArrayType.shape[:]
    save_spec(builder.spec, str(folder / "custom.mlmodel"))
    return folder / "custom.mlmodel"


def predict(path: Path, **data: Any) -> Any:
    return np.squeeze(moka.load(path).predict({"x0": X, **data})["y"])


def test_a_function_gets_inputs_parameters_and_weights(tmp_path: Path) -> None:
    path = network(tmp_path, "Affine", weights=[np.arange(60), [7.0]], power=2, slope=0.5, name="a", flag=True)
    seen: dict[str, Any] = {}

    @moka.custom_layer("Affine")
    def affine(x: torch.Tensor, *, parameters: dict[str, Any], weights: list[np.ndarray[Any, Any]]) -> Any:
        seen.update(parameters)
        return x ** parameters["power"] * parameters["slope"] + torch.from_numpy(weights[0]).reshape(3, 4, 5) + weights[1][0]

    expected = 2 * (np.maximum(X, 0) ** 2 * 0.5 + np.arange(60).reshape(3, 4, 5) + 7)
    np.testing.assert_allclose(predict(path), expected, rtol=1e-6)
    assert seen == {"power": 2, "slope": 0.5, "name": "a", "flag": True}


def test_a_call_registers_as_a_decorator_does(tmp_path: Path) -> None:
    moka.custom_layer("Negative", torch.neg)
    np.testing.assert_array_equal(predict(network(tmp_path, "Negative")), -2 * np.maximum(X, 0))


def test_a_class_is_made_once_for_each_layer_of_a_loaded_model(tmp_path: Path) -> None:
    made = []

    @moka.custom_layer("Scale")
    class Scale(torch.nn.Module):
        def __init__(self, parameters: dict[str, Any], weights: list[Any]) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.from_numpy(weights[0]).reshape(3, 1, 1) * parameters["gain"])
            made.append(self)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    model = moka.load(network(tmp_path, "Scale", weights=[[1, 2, 3]], gain=10.0))
    results = [np.squeeze(model.predict({"x0": X})["y"]) for _ in range(2)]
    np.testing.assert_allclose(results[0], 20 * np.maximum(X, 0) * np.array([1, 2, 3])[:, None, None], rtol=1e-6)
    np.testing.assert_array_equal(*results)
    assert len(made) == 1


@pytest.mark.parametrize("factory", [False, True])
def test_a_module_and_a_factory_of_modules(tmp_path: Path, factory: bool) -> None:
    if factory:
        moka.custom_layer("Pool", lambda: torch.nn.AvgPool3d((1, 2, 2)), factory=True)
    else:
        moka.custom_layer("Pool", torch.nn.AvgPool3d((1, 2, 2)))
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(X).relu(), 2)
    np.testing.assert_allclose(predict(network(tmp_path, "Pool")), 2 * expected, rtol=1e-6)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    moka.custom_layer("Both", lambda x, y: [x - y, y])
    result = predict(network(tmp_path, "Both", inputs=2, outputs=2), x1=2 * X)
    np.testing.assert_allclose(result, 2 * (np.maximum(X, 0) - 2 * X), rtol=1e-6)


def test_numpy_functions_will_do(tmp_path: Path) -> None:
    moka.custom_layer("Sorted", lambda x: np.sort(x.numpy(), axis=-1))
    np.testing.assert_array_equal(predict(network(tmp_path, "Sorted")), 2 * np.sort(np.maximum(X, 0), axis=-1))


def test_the_layer_is_one_operation_of_the_program(tmp_path: Path) -> None:
    moka.custom_layer("Negative", torch.neg)
    model = moka.load(network(tmp_path, "Negative"))
    assert isinstance(model, NetworkModel)
    operations = import_network(model.network, {"x0": X.shape}).functions["main"].body.operations
    kinds = [operation.type for operation in operations]
    assert kinds.count("nn_custom") == 1
    assert {"relu", "linear_activation"} < set(kinds)


def test_stated_shapes_spare_the_run_on_zeros(tmp_path: Path) -> None:
    calls = []

    def log(x: torch.Tensor) -> torch.Tensor:
        calls.append(float(x.max()))
        return x[..., :2].log1p()

    moka.custom_layer("Log", log, output_shapes=lambda shapes: (*shapes[0][:-1], 2))
    model = moka.load(network(tmp_path, "Log"))
    assert calls == []
    np.testing.assert_allclose(np.squeeze(model.predict({"x0": X})["y"]), 2 * np.log1p(np.maximum(X[..., :2], 0)), rtol=1e-6)
    assert len(calls) == 1


def test_an_unregistered_class_is_refused_with_the_way_to_register_it(tmp_path: Path) -> None:
    path = network(tmp_path, "Strange", inputs=2, outputs=2, weights=[[1.0, 2.0]], rate=0.5)
    with pytest.raises(moka.UnsupportedError) as caught:
        moka.load(path)
    message = str(caught.value)
    for part in ("layer 'mine' (custom)", "'Strange'", "{'rate': 0.5}", "[[2]]", "@moka.custom_layer('Strange')", "x1, x2"):
        assert part in message
    example = "\n".join(
        line.strip(" ").replace("...", "y1, y2 = x1 + x2, x2") for line in message.split("\n    import moka")[1].splitlines()
    )
    assert "def compute(x1, x2, *, parameters, weights):" in example


def test_the_example_of_the_message_works(tmp_path: Path) -> None:
    path = network(tmp_path, "Strange")
    with pytest.raises(moka.UnsupportedError) as caught:
        moka.load(path)
    lines = str(caught.value).splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    exec(example.replace("...", "y = x + 1;"), {})
    np.testing.assert_allclose(predict(path), 2 * (np.maximum(X, 0) + 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (x, x), "'Broken' gave 2 results; the model expects 1"),
        (lambda x: "text", "'Broken' gave a str; expected a tensor or an array"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_a_layer_does_wrong_is_named(tmp_path: Path, function: Callable[..., Any], message: str) -> None:
    moka.custom_layer("Broken", function, output_shapes=lambda shapes: shapes[0])
    model = moka.load(network(tmp_path, "Broken"))
    with pytest.raises(moka.ExecutionError, match=message):
        model.predict({"x0": X})


@pytest.mark.parametrize(("name", "item"), [("", torch.neg), (3, torch.neg), ("X", 5)])
def test_what_can_not_be_registered_is_refused(name: Any, item: Any) -> None:
    with pytest.raises(moka.InputError):
        moka.custom_layer(name, item)


def test_a_constructor_that_fails_is_named(tmp_path: Path) -> None:
    class Needy:
        def __init__(self, other: int) -> None: ...

    moka.custom_layer("Needy", Needy)
    with pytest.raises(moka.UnsupportedError, match=r"layer 'mine' .*'Needy' failed: TypeError.*other"):
        moka.load(network(tmp_path, "Needy"))


def test_custom_operations_of_ml_programs(tmp_path: Path) -> None:
    path = sparse_product(tmp_path)
    with pytest.raises(moka.UnsupportedError, match=r"'SparseMatMul'.*(.|\n)*@moka.custom_layer\('SparseMatMul'\)"):
        moka.load(path)

    @moka.custom_layer("SparseMatMul")
    def product(x: torch.Tensor, y: torch.Tensor, *, parameters: dict[str, Any], weights: list[Any]) -> torch.Tensor:
        assert parameters["transpose_y"] is True
        return x @ (y.T if parameters["transpose_y"] else y) + torch.from_numpy(np.asarray(weights[0], np.float32))

    x, y = X[0], X[1]
    result = moka.load(path).predict({"x": x, "y": y})
    np.testing.assert_allclose(next(iter(result.values())), np.maximum(x @ y.T + np.arange(4), 0), atol=1e-5)


def sparse_product(folder: Path) -> Path:
    """An ML Program with a custom operation that coremltools writes: relu(x @ y.T + bias)."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813  coremltools' own short name
    from coremltools.converters.mil.mil import Operation, types
    from coremltools.converters.mil.mil.input_type import InputSpec, TensorInputType
    from coremltools.converters.mil.mil.ops.defs._op_reqs import register_op
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    class moka_sparse_matmul(Operation):  # type: ignore[misc]  # coremltools has no types
        input_spec = InputSpec(
            x=TensorInputType(type_domain=types.fp32),
            y=TensorInputType(type_domain=types.fp32),
            bias=TensorInputType(const=True, type_domain=types.fp32),
            transpose_y=TensorInputType(const=True, type_domain=types.bool),
        )
        bindings = {  # noqa: RUF012
            "class_name": "SparseMatMul",
            "input_order": ["x", "y"],
            "parameters": ["transpose_y"],
            "weights": ["bias"],
            "description": "x times y",
        }

        def type_inference(self) -> Any:
            return types.tensor(types.fp32, [self.x.shape[0], self.y.shape[0]])

    if "moka_sparse_matmul" not in SSAOpRegistry.custom_ops:
        register_op(is_custom_op=True)(moka_sparse_matmul)

    @mb.program(input_specs=[mb.TensorSpec((4, 5)), mb.TensorSpec((4, 5))], opset_version=ct.target.iOS15)  # type: ignore[untyped-decorator]
    def program(x: Any, y: Any) -> Any:
        return mb.relu(x=mb.moka_sparse_matmul(x=x, y=y, bias=np.arange(4, dtype=np.float32), transpose_y=True))

    options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS15, "skip_model_load": True}
    model = ct.convert(program, convert_to="mlprogram", **options)
    model.save(str(folder / "sparse.mlpackage"))
    return folder / "sparse.mlpackage"


def styled(layers: dict[str, Any], image: torch.Tensor) -> torch.Tensor:
    """The style transfer network in PyTorch, with the weights of the file's layers by their names; image [1, 3, h, w] of 0 to 255."""

    def convolved(index: int, x: torch.Tensor, **options: Any) -> torch.Tensor:
        params = layers[f"conv2d_{index}"].convolution
        shape = (params.outputChannels, params.kernelChannels, *params.kernelSize)
        weight = torch.tensor(np.array(params.weights.floatValue, np.float32).reshape(shape))
        return torch.nn.functional.conv2d(x, weight, torch.tensor(list(params.bias.floatValue)), **options)

    def normal(index: int, x: torch.Tensor) -> torch.Tensor:
        params = layers[f"batch_normalization_{index}"].batchnorm
        mean, variance, gamma, beta = [
            torch.tensor(list(getattr(params, name).floatValue)) for name in ("mean", "variance", "gamma", "beta")
        ]
        return torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=params.epsilon)

    def block(index: int, x: torch.Tensor, **options: Any) -> torch.Tensor:
        return normal(index, convolved(index, x, **options))

    pad, up = torch.nn.functional.pad, torch.nn.Upsample(scale_factor=2, mode="nearest")
    x = block(1, pad(image, (40, 40, 40, 40)), padding="same").relu()
    x = block(2, pad(x, (0, 1, 0, 1)), stride=2).relu()
    x = block(3, pad(x, (0, 1, 0, 1)), stride=2).relu()
    for index in range(4, 14, 2):
        x = x[:, :, 2:-2, 2:-2] + block(index + 1, block(index, x).relu())
    x = block(14, up(x), padding="same").relu()
    x = block(15, up(x), padding="same").relu()
    return (torch.tanh(convolved(16, x, padding="same")) + 1) * 127.5


def test_style_transfer_with_its_custom_layers_agrees_with_pytorch(corpus: Path) -> None:
    path = corpus / "models" / "FastStyleTransferVanGoghStarryNight.mlmodel"
    if not path.exists():
        pytest.skip("the style transfer network is not there")
    with pytest.raises(moka.UnsupportedError, match="ResCropBlockLambda"):
        moka.load(path)
    moka.custom_layer("ResCropBlockLambda", lambda x: x[..., 2:-2, 2:-2])
    moka.custom_layer("RescaleOutputLambda", lambda x: (x + 1) * 127.5)
    rows, columns = np.mgrid[:320, :320]
    picture = np.stack([rows * 4 // 5, columns * 4 // 5, (rows // 16 + columns // 16) % 2 * 255], -1).astype(np.uint8)
    result = np.asarray(moka.load(path).predict({"image": Image.fromarray(picture)})["output"].convert("RGB"), np.float32)
    layers = {layer.name: layer for layer in read_specification(path).neuralNetwork.layers}
    with torch.no_grad():
        expected = styled(layers, torch.from_numpy(picture).permute(2, 0, 1)[None].float())[0].permute(1, 2, 0).numpy()
    assert expected.std() > 20
    assert np.abs(result - expected).max() <= 1
