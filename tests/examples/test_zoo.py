"""The zoo's check on small networks: it passes where Moka agrees with PyTorch, and fails where it must."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from examples.networks import ZOO, Network, decoder, text, vision
from examples.networks.check import TOLERANCES, Result, compare, relative_error, require_telling

from examples import zoo

# coremltools leaves temporary folders to the garbage collector, which complains at any time after a conversion.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SMALL = {
    network.name: network
    for network in [
        ZOO["mobilenet_v2"],
        Network(
            "resnet",
            "a ResNet of four bottlenecks",
            partial(vision.resnet_50, size=64, embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2]),
        ),
        Network(
            "distilbert",
            "DistilBERT with two narrow layers",
            partial(text.distilbert, length=16, vocab_size=100, n_layers=2, n_heads=4, dim=32, hidden_dim=64),
        ),
        decoder.decoder_network("llama", decoder.Sizes(vocabulary=64, width=32, hidden=48, layers=2, heads=4, context=16)),
    ]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small networks' packages are kept between tests."""
    return tmp_path_factory.mktemp("zoo")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SMALL)
def test_moka_agrees_with_pytorch(name: str, precision: str, folder: Path) -> None:
    path, _ = SMALL[name].package(folder, precision)
    measured = compare(SMALL[name], precision, path, repeat=1)
    result = Result(name, precision, **measured)
    assert result.passed, f"error {result.error:.1e}, allowed {TOLERANCES[precision]:.0e}"
    assert measured["operations"] > 10


def test_other_weights_are_out_of_tolerance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = SMALL["distilbert"].package(folder, "fp32")
    monkeypatch.setattr("examples.networks.network.SEED", 1)
    measured = compare(SMALL["distilbert"], "fp32", path, repeat=1)
    assert not Result("distilbert", "fp32", **measured).passed


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1.1e-4])
def test_no_such_error_passes(error: float) -> None:
    assert not Result("network", "fp32", error=error).passed


def test_a_wrong_shape_is_no_agreement() -> None:
    assert relative_error((np.ones((2, 1)),), (np.ones(2),)) == float("inf")


@pytest.mark.parametrize("output", [np.full(4, 3.0), np.array([1.0, np.nan])])
def test_outputs_that_prove_nothing_are_refused(output: np.ndarray) -> None:
    with pytest.raises(ValueError, match="prove nothing"):
        require_telling("network", [(output,)])


def test_the_same_network_is_built_every_time() -> None:
    first, second = (SMALL["resnet"].build()() for _ in range(2))
    assert torch.equal(first[0][0], second[0][0])


def test_decoder_matches_itself_without_cache() -> None:
    """Steps through the cache give what one call over all tokens gives."""
    sizes = decoder.Sizes(vocabulary=64, width=32, hidden=48, layers=2, heads=4, context=16)
    built = Network("llama", "", partial(decoder.decoder, sizes)).build()
    stepped = torch.cat([outputs[0] for outputs in built()], dim=1)
    ids = torch.cat([step["input_ids"] for step in built.steps], dim=1)
    with torch.inference_mode():
        whole = built.module(**decoder.step(ids, ids.shape[1]))
    torch.testing.assert_close(stepped, whole, rtol=1e-5, atol=1e-5)


def test_command_line_converts_once_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(ZOO, "small", SMALL["resnet"])
    command = ["--out", str(tmp_path), "--only", "small", "--precision", "fp32", "--check", "--json"]
    assert zoo.main(command) == 0
    assert zoo.main(command) == 0
    first, second = (json.loads(part + "]")[0] for part in capsys.readouterr().out.split("]\n")[:2])
    assert first["passed"]
    assert first["convert_seconds"] > 0
    assert second["convert_seconds"] == 0


def test_command_line_reports_what_coremltools_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Digamma(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.digamma(x)

    refused = Network("digamma", "an operation that coremltools lacks", lambda: (Digamma(), [{"x": torch.rand(3)}]))
    monkeypatch.setitem(ZOO, "digamma", refused)
    assert zoo.main(["--out", str(tmp_path), "--only", "digamma", "--precision", "fp32", "--json"]) == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert result["failure"].startswith("coremltools: NotImplementedError")
    assert "digamma" in result["failure"]


def test_list_names_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["--list", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(ZOO)
