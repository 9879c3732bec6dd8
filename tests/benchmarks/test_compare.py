"""The comparison with other engines on a tiny network: its figures are complete and in order; how large they are is not tested."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from benchmarks.peers import PEERS, Case
from examples.networks import Network, vision

from benchmarks import compare

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # coremltools leaves temporary folders behind
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TINY = Network("tiny", "a small ResNet", partial(vision.resnet_50, size=32, embedding_size=8, hidden_sizes=[16, 16], depths=[1, 1]))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(TINY, tmp_path_factory.mktemp("compare"), threads=1)


def test_moka_beside_eager(case: Case) -> None:
    found = compare.compare(case, ["moka", "eager"], rounds=2)
    assert found.skipped == {}
    assert set(found.engines) == {"moka", "eager"}
    assert all(len(times.turns) == 2 and min(times.turns) > 0 for times in found.engines.values())
    assert found.engines["eager"].error == 0
    assert 0 < found.engines["moka"].error < 1e-4
    assert found.flops > 2 * 32 * 32 / 4 * 3 * 8 * 49  # of the first convolution alone
    assert len(found.ratios("moka", ["eager"])) == 2
    text = compare.table([found], limit=1e11)
    assert "| tiny | moka |" in text
    assert "| tiny | eager |" in text


def test_a_failing_engine_is_skipped_with_its_reason(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = compare.Peer("absent", PEERS["eager"].load, packages=("no_such_package",))
    monkeypatch.setitem(PEERS, "absent", absent)
    found = compare.compare(case, ["eager", "absent"], rounds=1)
    assert set(found.engines) == {"eager"}
    assert "no_such_package" in found.skipped["absent"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_runtimes_run_the_export(case: Case, engine: str) -> None:
    if not PEERS[engine].is_installed:
        pytest.skip(f"not installed: one of {', '.join(PEERS[engine].packages)}")
    found = compare.compare(case, [engine], rounds=1)
    assert found.skipped == {}
    assert found.engines[engine].error < 1e-4


def test_the_command_writes_json_and_a_plot(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compare.ZOO, "tiny", TINY)
    arguments = ["--models", "tiny", "--engines", "moka", "eager", "--rounds", "1", "--threads", "1", "--folder", str(case.folder)]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{compare.MARKS[0]}\nold\n{compare.MARKS[1]}\nafter\n")
    files = ["--json", str(tmp_path / "times.json"), "--plot", str(tmp_path / "times.svg"), "--page", str(page)]
    assert compare.main([*arguments, *files]) == 0
    written = json.loads((tmp_path / "times.json").read_text())
    assert written["circumstances"]["threads"] == 1
    assert written["networks"][0]["engines"]["moka"]["turns"]
    assert page.read_text().startswith(f"before\n{compare.MARKS[0]}\n1 threads of")
    assert page.read_text().endswith(f"{compare.MARKS[1]}\nafter\n")
    assert "| tiny | eager |" in page.read_text()
    assert "old" not in page.read_text()
    assert "<svg" in (tmp_path / "times.svg").read_text()


def test_ratios_are_of_the_better_one() -> None:
    times = {name: compare.Times(name, "fp32", 0.0, turns) for name, turns in {"moka": [2, 2, 2], "a": [1, 4, 4], "b": [3, 3, 3]}.items()}
    found = compare.Comparison("network", 1.0, times)
    assert found.ratios("moka", ["a", "b"]) == [2 / 3] * 3
    assert found.ratios("moka", ["none"]) == []


def test_figures_by_numpy() -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    assert compare.quartiles(values) == tuple(np.quantile(values, [0.25, 0.5, 0.75]))
    assert math.isclose(compare.geometric_mean([1.0, 4.0]), 2.0)
    assert compare.relative_error([np.array([1.0, 2.5])], [np.array([1.0, 2.0])]) == 0.25
