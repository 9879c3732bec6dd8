"""The zoo through `delegate` and `torch.compile`, on small networks: PyTorch's outputs, and a failure where they are not."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from examples.networks import ZOO, Network, decoder, text
from examples.zoo_pytorch import Result, totals, varying

from examples import zoo_pytorch
from moka.pytorch.report import DelegationReport, NodeReport

# What coremltools leaves to the garbage collector, and what PyTorch warns of while it exports, is theirs to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]

SMALL = {
    network.name: network
    for network in [
        Network(
            "distilbert",
            "DistilBERT with two narrow layers",
            partial(text.distilbert, length=16, vocab_size=100, n_layers=2, n_heads=4, dim=32, hidden_dim=64),
        ),
        decoder.decoder_network("llama", decoder.Sizes(vocabulary=64, width=32, hidden=48, layers=2, heads=4, context=16)),
    ]
}


def run(network: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The command's exit code and what it prints as JSON."""
    monkeypatch.setitem(ZOO, network.name, network)
    code = zoo_pytorch.main(["--only", network.name, *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_both_ways_agree_with_pytorch(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, results = run(SMALL[name], monkeypatch, capsys)
    assert code == 0
    assert [result["way"] for result in results] == ["delegate", "compile"]
    for result in results:
        assert result["passed"]
        assert 0 < result["error"] <= 1e-4
        assert result["partitions"] == result["graphs"]
        assert result["share_of_flops"] == result["share_of_nodes"] == 1
        assert result["milliseconds"] > 0
        assert result["pytorch_milliseconds"] > 0


class Torn(torch.nn.Module):
    """Two layers with an operator between them that Core ML lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.special.digamma(self.first(x).abs() + 1))


@pytest.mark.parametrize("way", zoo_pytorch.WAYS)
def test_what_stays_in_pytorch_is_told(way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network("torn", "", lambda: (Torn(), [{"x": torch.rand(2, 4)}]))
    code, (result,) = run(network, monkeypatch, capsys, "--way", way)
    assert code == 0
    assert result["partitions"] == 2
    assert 0.5 < result["share_of_nodes"] < 1
    assert sum(result["kept"].values()) == 1
    assert "digamma" in str(result["kept"])


def test_other_outputs_are_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Other weights the second time the network is built, which is the one that Core ML gets."""
    scales = iter([1.0, 1.01])

    def make() -> Any:
        layer = torch.nn.Linear(4, 4)
        torch.nn.init.constant_(layer.weight, next(scales)).view(-1)[0].data.zero_()
        return layer, [{"input": torch.rand(2, 4)}]

    code, (result,) = run(Network("other", "", make), monkeypatch, capsys, "--way", "delegate")
    assert code == 1
    assert not result["passed"]
    assert 1e-3 < result["error"] < 1


def test_an_error_of_pytorch_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Branch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    code, (result,) = run(Network("branch", "", lambda: (Branch(), [{"x": torch.rand(3)}])), monkeypatch, capsys, "--way", "delegate")
    assert code == 1
    assert result["failure"].startswith("delegate: ")
    assert not result["passed"]


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1.1e-4, None])
def test_no_such_error_passes(error: float | None) -> None:
    assert not Result("network", "delegate", error=error).passed


def test_sizes_that_vary_together_are_one() -> None:
    built = SMALL["llama"].build()
    found = varying(built.steps)
    assert found["input_ids"].keys() == {1}
    assert found["causal_mask"].keys() == {2, 3}
    assert found["input_ids"][1].__name__ == found["causal_mask"][2].__name__ != found["causal_mask"][3].__name__
    assert (found["causal_mask"][3].min, found["causal_mask"][3].max) == (4, 8)


def test_totals_are_those_of_the_worst_graph() -> None:
    whole = DelegationReport((NodeReport("a", "mm", 0, flops=10),))
    half = DelegationReport((NodeReport("a", "mm", 0, flops=10), NodeReport("b", "mm", None, "because", 30)))
    found = totals([whole, half])
    assert found == {"graphs": 2, "partitions": 2, "share_of_flops": 0.25, "share_of_nodes": 0.5, "kept": {"because": 1}}
