"""The text generation example on a small decoder: PyTorch's tokens, with the cache left where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from examples.networks.decoder import Sizes, decoder_network

import moka
from examples import generate
from moka.engines.onnx.states import RuntimeState

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SIZES = {"vocabulary": 64, "width": 32, "hidden": 48, "layers": 2, "heads": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generate")


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime", "torch"])
def test_every_engine_gives_pytorch_tokens(engine: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--tokens", "20", "--prompt", "4", "--context", "32", "--repeat", "1", "--engine", engine, "--out", str(folder), "--json"]
    assert generate.main(command, SIZES) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert len(result["tokens"]) == 20
    assert len(set(result["tokens"])) > 3  # else a model that ignores its input would do
    assert result["moka_tokens_per_second"] > 0


def test_another_cache_gives_other_tokens(folder: Path) -> None:
    """The tokens depend on the states: without them the comparison would prove nothing about the cache."""
    network = decoder_network("llama_32", Sizes(context=32, **SIZES))
    model = moka.load(network.package(folder, "fp32")[0])
    prompt = torch.arange(4)[None]
    module = network.build().module
    expected = generate.generate(generate.through_pytorch(module), prompt, 12).tokens
    assert generate.generate(generate.through_moka(model), prompt, 12).tokens == expected

    def forgetful(ids: torch.Tensor, end: int) -> torch.Tensor:
        return generate.through_moka(model)(ids, end)

    assert generate.generate(forgetful, prompt, 12).tokens != expected


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_cache_stays_inside_the_engine(engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moka.load(decoder_network("llama_32", Sizes(context=32, **SIZES)).package(folder, "fp32")[0], engine=engine)
    call = generate.through_moka(model)

    def copied(*_: object) -> None:
        raise AssertionError("a state was copied")

    for kind in RuntimeState.__subclasses__():
        monkeypatch.setattr(kind, "tensor", property(copied, copied))
    assert len(generate.generate(call, torch.arange(4)[None], 8).tokens) == 8


def test_a_context_that_is_too_short_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generate.main(["--tokens", "100", "--prompt", "30"])
    assert "need --context 130" in capsys.readouterr().err
