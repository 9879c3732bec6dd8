"""PyTorch to Core ML: what comes out predicts what the module computes, under the names asked for; refusals say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import moka
from moka.models.features import ImageFeature

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(torch.relu(self.norm(self.conv(x))), 6)
        return self.head(self.drop(x.flatten(1)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    module = Net()
    module(torch.rand(8, 3, 8, 8))  # statistics for the norm
    return module


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_a_module_in_training_is_converted_for_evaluation(net: Net, image: Tensor, precision: str, tolerance: float) -> None:
    net.train()
    steps: list[str] = []
    model = moka.convert(net, (image,), precision=precision, inputs=["image"], outputs=["scores"], progress=steps.append)
    assert net.training
    assert net.drop.training
    with torch.no_grad():
        expected = net.eval()(image).numpy()
    np.testing.assert_allclose(model.predict({"image": image})["scores"], expected, atol=tolerance)
    assert steps == ["exporting", "decomposing", "converting", "saving", "loading"]


def test_from_a_file_to_a_package(net: Net, image: Tensor, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(net.eval(), (image,)), tmp_path / "net.pt2")
    (tmp_path / "out.mlpackage").mkdir()
    (tmp_path / "out.mlpackage" / "old").write_text("replaced")
    model = moka.convert(tmp_path / "net.pt2", path=tmp_path / "out.mlpackage", precision="float32", target="iOS15")
    assert model.path == tmp_path / "out.mlpackage"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["net.pt2", "out.mlpackage"]
    assert not (tmp_path / "out.mlpackage" / "old").exists()
    assert model.specification_version == 6  # that of iOS 15
    (result,) = moka.load(model.path).predict({"x": image}).values()
    np.testing.assert_allclose(result, net(image).detach().numpy(), atol=1e-5)


def test_images_are_scaled_by_the_model(net: Net) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    bias = (-0.4, -0.5, -0.6)
    model = moka.convert(
        net,
        (torch.rand(1, 3, 8, 8),),
        precision="float32",
        inputs=["photo"],
        outputs=["scores"],
        images={"photo": moka.ImageInput("BGR", 1 / 255, bias)},
    )
    assert isinstance(model.function.inputs["photo"], ImageFeature)
    scaled = torch.as_tensor(pixels[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 + torch.tensor(bias).reshape(1, 3, 1, 1)
    found = model.predict({"photo": Image.fromarray(pixels)})["scores"]
    np.testing.assert_allclose(found, net.eval()(scaled).detach().numpy(), atol=1e-5)


def test_a_classifier(net: Net, image: Tensor) -> None:
    module = nn.Sequential(net, nn.Softmax(-1)).eval()
    model = moka.convert(module, (image,), precision="float32", class_labels=["a", "b", "c"])
    expected = module(image)[0].detach().numpy()
    found = model.predict({"input": image})
    assert found["classLabel"] == "abc"[int(expected.argmax())]
    np.testing.assert_allclose(list(found["classLabel_probs"].values()), expected, atol=1e-5)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, step: Tensor) -> Tensor:
        self.total.add_(step)
        return self.total * 2


def test_buffers_that_change_are_states() -> None:
    model = moka.convert(Counter(), (torch.ones(3),), outputs=["doubled"])
    assert list(model.function.states) == ["total"]
    state = model.make_state()
    results = [model.predict({"step": np.ones(3)}, state)["doubled"].tolist() for _ in range(3)]
    assert results == [[2.0] * 3, [4.0] * 3, [6.0] * 3]


def test_flexible_shapes_by_name() -> None:
    module = nn.Linear(3, 2)
    shapes = {"input": {0: torch.export.Dim("rows", min=1, max=8)}}
    model = moka.convert(module, {"input": torch.rand(4, 3)}, dynamic_shapes=shapes, precision="float32", outputs=["y"])
    for rows in (1, 7):
        x = torch.rand(rows, 3)
        np.testing.assert_allclose(model.predict({"input": x})["y"], module(x).detach().numpy(), atol=1e-6)


class Unconvertible(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svd(x * 2)[1]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_refusals_name_the_operator_and_the_line() -> None:
    with pytest.raises(moka.UnsupportedError, match=r"linalg_svd.*test_convert\.py:\d+: return torch\.linalg\.svd\(x \* 2\)\[1\]"):
        moka.convert(Unconvertible(), (torch.rand(3, 3),))
    with pytest.raises(moka.UnsupportedError, match=r"Branching: torch\.export can't capture it"):
        moka.convert(Branching(), (torch.rand(3),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision is 'half'"),
        ({"target": "iOS9"}, "target is 'iOS9'"),
        ({"path": "model.mlmodel"}, "ends in .mlpackage"),
        ({"inputs": ["a", "b"]}, "inputs: a, b are given; the program has 1: x"),
        ({"outputs": ["a", "b"]}, "outputs: a, b are given; the program has 1"),
        ({"images": {"y": moka.ImageInput()}}, "images: 'y' is no input; there are x"),
        ({"class_labels": ["a"], "outputs": ["b"]}, "classLabel"),
    ],
)
def test_wrong_options_are_named(net: Net, image: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(moka.InputError, match=message):
        moka.convert(net, (image,), **options)


def test_wrong_arguments_are_named(net: Net, image: Tensor, tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="example_inputs is missing"):
        moka.convert(net)
    with pytest.raises(moka.InputError, match="an exported program has its own"):
        moka.convert(torch.export.export(net.eval(), (image,)), (image,))
    with pytest.raises(moka.InputError, match="no such file"):
        moka.convert(tmp_path / "none.pt2")
    (tmp_path / "damaged.pt2").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(moka.FormatError, match=r"damaged\.pt2: holds no program"):
        moka.convert(tmp_path / "damaged.pt2")
    with pytest.raises(moka.InputError, match="color is 'CMYK'"):
        moka.ImageInput("CMYK")  # type: ignore[arg-type]
    with pytest.raises(moka.InputError, match="bias has 2 numbers"):
        moka.ImageInput("RGB", bias=(1.0, 2.0))


def test_inputs_without_dimensions_get_the_names_asked_for() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return x * scale

    x, scale = torch.arange(3.0), torch.tensor(2.0)
    model = moka.convert(Scaled(), (x, scale), precision="float32", inputs=["rows", "factor"], outputs=["scaled"])
    np.testing.assert_allclose(model.predict({"rows": x, "factor": scale[None]})["scaled"], (x * scale).numpy())
