"""Small models for the verbs, made once with coremltools, and a way to call ``moka``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
import torch
from click.testing import CliRunner, Result

from moka.cli import main
from tests import builders
from tests.builders import convert, traced


@pytest.fixture
def moka_command() -> Callable[..., Result]:
    """Calls ``moka`` with arguments and gives what it printed and its exit status."""

    def call(*arguments: Any) -> Result:
        wide = {"COLUMNS": "120"}  # whatever the terminal that the tests run in
        return CliRunner(env=wide).invoke(main, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli_models")


@pytest.fixture(scope="session")
def scaled(folder: Path) -> Path:
    """y = leaky_relu(x, 0.5) for x float32 [2, 3]; with metadata."""
    module = traced(lambda x: torch.nn.functional.leaky_relu(x, 0.5), torch.zeros(2, 3))
    draft = convert(module, folder / "draft.mlpackage", inputs=[ct.TensorType("x", (2, 3))], outputs=[ct.TensorType("y")])
    model = ct.models.MLModel(str(draft), skip_model_load=True)
    model.short_description, model.author, model.version = "Halves what is negative", "A. Tester", "1.0"
    model.input_description["x"] = "any numbers"
    model.save(str(folder / "scaled-1.0.mlpackage"))
    return folder / "scaled-1.0.mlpackage"


@pytest.fixture(scope="session")
def classifier(folder: Path) -> Path:
    """Labels an RGB image 4 x 4 by the channel that is brightest."""
    module = traced(lambda image: torch.softmax(image.mean(dim=(2, 3)), dim=1), torch.zeros(1, 3, 4, 4))
    labels = ct.ClassifierConfig(["red", "green", "blue"])
    image = ct.ImageType("image", (1, 3, 4, 4), color_layout=ct.colorlayout.RGB)
    return convert(module, folder / "classifier.mlpackage", inputs=[image], classifier_config=labels)


@pytest.fixture(scope="session")
def inverted(folder: Path) -> Path:
    """A grey image of which black is white and white is black."""
    module = traced(lambda image: 255.0 - image, torch.zeros(1, 1, 4, 6))
    gray = ct.colorlayout.GRAYSCALE
    inputs = [ct.ImageType("image", (1, 1, 4, 6), color_layout=gray)]
    return convert(module, folder / "inverted.mlpackage", inputs=inputs, outputs=[ct.ImageType("negative", color_layout=gray)])


@pytest.fixture(scope="session")
def counter(folder: Path) -> Path:
    return builders.counter(folder / "counter.mlpackage", 1)
