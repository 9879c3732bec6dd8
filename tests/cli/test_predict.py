"""``moka predict``: inputs from files and text, outputs to files and the terminal, times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

Call = Callable[..., Result]

X = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
Y = np.where(X < 0, X / 2, X)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, str]:
    """The same input in every form that there is."""
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X, other=X + 1)
    np.savez(tmp_path / "one.npz", whatever=X)
    (tmp_path / "x.json").write_text(json.dumps(X.tolist()))
    (tmp_path / "all.json").write_text(json.dumps({"x": X.tolist()}))
    np.savez(tmp_path / "all.npz", x=X)
    return {
        "npy": f"x={tmp_path / 'x.npy'}",
        "npz by name": f"x={tmp_path / 'x.npz'}",
        "npz of one": f"x={tmp_path / 'one.npz'}",
        "json": f"x={tmp_path / 'x.json'}",
        "text": f"x={json.dumps(X.tolist())}",
        "json of all": str(tmp_path / "all.json"),
        "npz of all": str(tmp_path / "all.npz"),
    }


@pytest.mark.parametrize("form", ["npy", "npz by name", "npz of one", "json", "text", "json of all", "npz of all"])
def test_inputs_in_every_form(form: str, written: dict[str, str], moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    result = moka_command("predict", scaled, "--input", written[form], "--output", f"y={tmp_path / 'y.npy'}")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), Y)


def test_a_number_fills_the_array(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    moka_command("predict", scaled, "-i", "x=-3", "-o", tmp_path / "all.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "all.npz")["y"], np.full((2, 3), -1.5))


def test_table_and_json_say_the_same(written: dict[str, str], moka_command: Call, scaled: Path) -> None:
    shown = moka_command("predict", scaled, "-i", written["npy"]).stdout
    for text in ("float32 [2, 3]", "min -3, max 5, mean 0.5", "1, -1, 3, -2, 5, -3", "load ", "first "):
        assert text in shown
    found = json.loads(moka_command("predict", scaled, "-i", written["npy"], "--json").stdout)
    output = found["outputs"]["y"]
    assert (output["min"], output["max"], output["mean"], output["shape"]) == (Y.min(), Y.max(), Y.mean(), [2, 3])
    assert output["first"] == Y.reshape(-1).tolist()


def test_repeat_reports_times(moka_command: Call, scaled: Path) -> None:
    seconds = json.loads(moka_command("predict", scaled, "--random", 0, "--repeat", 5, "--json").stdout)["seconds"]
    assert set(seconds) == {"load", "first", "median", "p90", "min"}
    assert 0 < seconds["min"] <= seconds["median"] <= seconds["p90"]
    assert "of 5 more" in moka_command("predict", scaled, "--random", 0, "--repeat", 5).stdout


def test_random_inputs_follow_the_seed(moka_command: Call, scaled: Path) -> None:
    first, again, other = (
        json.loads(moka_command("predict", scaled, "--random", seed, "--json").stdout)["outputs"]["y"]["first"] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(("color", "label"), [((200, 10, 10), "red"), ((10, 10, 200), "blue")])
def test_images_are_converted_and_resized(
    color: tuple[int, int, int], label: str, moka_command: Call, classifier: Path, tmp_path: Path
) -> None:
    Image.new("RGBA", (9, 5), (*color, 255)).save(tmp_path / "picture.png")
    arguments = ["predict", classifier, "-i", f"image={tmp_path / 'picture.png'}"]
    wrong = moka_command(*arguments)
    assert wrong.exit_code == 1
    assert "9 x 5 pixels" in wrong.stderr
    result = json.loads(moka_command(*arguments, "--resize", "--top", 1, "--json").stdout)["outputs"]
    assert result["classLabel"] == {"type": "string", "value": label}
    (probabilities,) = (output for name, output in result.items() if name != "classLabel")
    assert probabilities["entries"] == 3
    assert [item["key"] for item in probabilities["top"]] == [label]


def test_images_are_written(moka_command: Call, inverted: Path, tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    Image.fromarray(pixels).save(tmp_path / "in.png")
    result = moka_command("predict", inverted, "-i", f"image={tmp_path / 'in.png'}", "-o", f"negative={tmp_path / 'out.png'}")
    assert "L, 6 x 4 pixels" in result.stdout
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), 255 - pixels)


def test_outputs_as_json(moka_command: Call, classifier: Path, tmp_path: Path) -> None:
    moka_command("predict", classifier, "--random", 0, "-o", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["classLabel_probs"]) == {"red", "green", "blue"}
    assert sum(found["classLabel_probs"].values()) == pytest.approx(1, abs=1e-3)


def test_every_run_of_a_stateful_model_starts_fresh(moka_command: Call, counter: Path) -> None:
    for repeat in (0, 3):
        result = moka_command("predict", counter, "-i", "step=2", "--repeat", repeat, "--json")
        assert json.loads(result.stdout)["outputs"]["sum"]["first"] == [2.0]


def test_missing_inputs_are_listed(moka_command: Call, scaled: Path) -> None:
    result = moka_command("predict", scaled)
    assert result.exit_code == 2
    assert "x: multi-array float32 [2, 3]" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-i", "z=1"], 2, "'z=1' is neither a file nor NAME=VALUE; inputs are x"),
        (["-i", "x=1", "-o", "z=z.npy"], 2, "no output 'z'; it has y"),
        (["-i", "x=none.npy"], 1, "none.npy: no such file"),
        (["-i", "x=nonsense"], 1, "'nonsense' is neither a file"),
        (["-i", "x=[1, 2]"], 1, "input 'x' has shape [2]; expected [2, 3]"),
        (["-i", "x=1", "-o", "y=y.png"], 1, "y.png: a ndarray can't be written"),
        (["-i", "x=1", "-o", "y=/no/such/folder/y.npy"], 1, "/no/such/folder/y.npy: can't be written"),
        (["-i", "x=1", "--function", "other"], 1, "function 'other'"),
        (["-i", "x=1", "--compute-units", "ABACUS"], 2, "ABACUS"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, message: str, moka_command: Call, scaled: Path) -> None:
    result = moka_command("predict", scaled, *arguments)
    assert result.exit_code == status
    assert message in " ".join(result.stderr.split())
