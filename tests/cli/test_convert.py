"""``moka convert``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

import moka

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own


class Brightest(torch.nn.Module):
    """Probabilities of the channels of an image, by their mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x.mean((2, 3)), 1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "brightest.pt2"
    torch.export.save(torch.export.export(Brightest(), (torch.rand(1, 3, 4, 4),)), path)
    return path


def test_names_and_precision(moka_command: Callable[..., Result], program: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    result = moka_command("convert", program, path, "--precision", "float32", "-i", "planes", "-o", "shares", "--target", "ios16")
    assert result.exit_code == 0, result.output
    assert "planes" in result.output
    model = moka.load(path)
    assert model.specification_version == 7  # that of iOS 16
    planes = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    found = model.predict({"planes": planes})["shares"]
    np.testing.assert_allclose(found, Brightest()(torch.as_tensor(planes)), atol=1e-6)


def test_an_image_classifier(moka_command: Callable[..., Result], program: Path, tmp_path: Path) -> None:
    path, labels = tmp_path / "m.mlpackage", tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\n")
    arguments = ("convert", program, path, "-i", "photo", "--image", "photo=rgb", "--scale", "0.01", "--labels", labels, "--json")
    result = moka_command(*arguments)
    assert result.exit_code == 0, result.output
    features = {item["name"]: item["kind"] for item in json.loads(result.output)["features"]}
    assert features == {"photo": "input", "classLabel": "output", "classLabel_probs": "output"}
    photo = np.zeros((4, 4, 3), np.uint8)
    photo[..., 1] = 200
    found = moka.load(path).predict({"photo": photo})
    assert found["classLabel"] == "green"
    expected = torch.softmax(torch.tensor([0.0, 2.0, 0.0]), 0)
    np.testing.assert_allclose([found["classLabel_probs"][name] for name in ("red", "green", "blue")], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--image", "z"), "images: 'z' is no input"),
        (("--image", "x", "--bias", "a"), "--bias 'a': expected numbers"),
        (("--image", "x=CMYK"), "color is 'CMYK'"),
        (("--labels", "none.txt"), "--labels none.txt: can't be read"),
        (("-i", "a", "-i", "b"), "the program has 1: x"),
    ],
)
def test_wrong_options_are_named(
    moka_command: Callable[..., Result], program: Path, tmp_path: Path, options: tuple[Any, ...], message: str
) -> None:
    result = moka_command("convert", program, tmp_path / "m.mlpackage", *options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "m.mlpackage").exists()


def test_a_file_that_is_no_program(moka_command: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_text("nothing")
    result = moka_command("convert", tmp_path / "m.pt2", tmp_path / "m.mlpackage")
    assert result.exit_code == 1
    assert "holds no program of torch.export.save" in result.output
