"""``moka compile`` and ``moka decompile``: the arguments of Apple's compiler, and what is printed."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result

import moka
from moka.formats import schema
from moka.formats.mlmodel import write_specification

Call = Callable[..., Result]


def test_compiles_and_prints_the_path(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    result = moka_command("compile", scaled, tmp_path / "new")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'new' / 'scaled-1.0.mlmodelc'}\n")
    assert moka.load(result.stdout.strip()).predict({"x": np.full((2, 3), -2.0)})["y"].tolist() == [[-1.0] * 3] * 2


def test_takes_what_apples_compiler_takes(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    """As Xcode calls it."""
    plist = tmp_path / "Partial.plist"
    options = ["--deployment-target", "17.0", "--sdkroot", "/SDKs/iPhoneOS.sdk", "--platform", "ios", "--container", "bundle-resources"]
    result = moka_command("compile", scaled, tmp_path, *options, "--output-partial-info-plist", plist, "--json")
    assert json.loads(result.stdout) == {"path": str(tmp_path / "scaled-1.0.mlmodelc"), "unverified": []}
    assert plistlib.loads(plist.read_bytes()) == {}


def test_refuses_what_does_not_load_there(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    result = moka_command("compile", scaled, tmp_path / "new", "--platform", "ios", "--deployment-target", "12.0")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {scaled}: specification version 7 needs iOS 16.0, and the deployment target is 12.0")
    assert not (tmp_path / "new").exists()


def test_files_that_can_not_be_written_are_an_error_in_one_line(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = moka_command("compile", scaled, tmp_path / "file")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert str(tmp_path / "file") in result.stderr
    assert moka_command("compile", scaled, tmp_path / "file", "--debug").exception is not None
    compiled = moka_command("compile", scaled, tmp_path / "new", "--output-partial-info-plist", tmp_path / "missing" / "a.plist")
    assert (compiled.exit_code, compiled.stderr.count("\n")) == (1, 1)


def test_unverified_is_asked_for(moka_command: Call, tmp_path: Path) -> None:
    model = schema.model().Model(specificationVersion=1)
    model.normalizer.normType = 2
    write_specification(model, tmp_path / "a.mlmodel")
    plain = moka_command("compile", tmp_path / "a.mlmodel", tmp_path)
    asked = moka_command("compile", tmp_path / "a.mlmodel", tmp_path, "--unverified")
    assert (plain.exit_code, asked.exit_code) == (1, 0)
    assert "a model of kind normalizer: has been seen in no model that Apple compiled" in plain.stderr
    assert moka.metadata(tmp_path / "a.mlmodelc")[0]["mokaUnverified"] == ["a model of kind normalizer"]
    assert asked.stderr == "not verified: a model of kind normalizer\n"


def test_layers_with_the_same_guess_share_a_line(moka_command: Call, tmp_path: Path) -> None:
    model = schema.model().Model(specificationVersion=1)
    for features, name in ((model.description.input, "x0"), (model.description.output, "x4")):
        array = features.add(name=name).type.multiArrayType
        array.shape.extend([2, 3, 4])
        array.dataType = 65568
    for index in range(4):
        layer = model.neuralNetwork.layers.add(name=f"n{index}", input=[f"x{index}"], output=[f"x{index + 1}"])
        layer.mvn.epsilon = 1e-5
    write_specification(model, tmp_path / "a.mlmodel")
    result = moka_command("compile", tmp_path / "a.mlmodel", tmp_path, "--unverified")
    assert result.stderr.startswith("not verified: layers 'n0', 'n1' and 2 more (mvn): this kind of layer")
    assert result.stderr.count("\n") == 1
    assert len(moka.metadata(tmp_path / "a.mlmodelc")[0]["mokaUnverified"]) == 4


def test_ranks_are_written_on_request(moka_command: Call, tmp_path: Path) -> None:
    model = schema.model().Model(specificationVersion=1)
    for features, name in ((model.description.input, "x"), (model.description.output, "y")):
        array = features.add(name=name).type.multiArrayType
        array.shape.append(3)
        array.dataType = 65568
    layer = model.neuralNetwork.layers.add(name="softmax", input=["x"], output=["y"])
    layer.softmax.SetInParent()
    write_specification(model, tmp_path / "a.mlmodel")
    assert moka_command("compile", tmp_path / "a.mlmodel", tmp_path / "plain").exit_code == 0
    assert moka_command("compile", tmp_path / "a.mlmodel", tmp_path / "ranks", "--rank-info").exit_code == 0
    assert not (tmp_path / "plain" / "a.mlmodelc" / "model.rank.info.json").exists()
    assert set(json.loads((tmp_path / "ranks" / "a.mlmodelc" / "model.rank.info.json").read_text())) == {"x", "y"}


def test_decompiles_programs_to_packages_and_others_to_files(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    compiled = moka.compile(scaled, tmp_path)
    result = moka_command("decompile", compiled, tmp_path / "back")
    assert result.stdout == f"{tmp_path / 'back' / 'scaled-1.0.mlpackage'}\n"
    assert moka.validate(result.stdout.strip()) == []
    model = schema.model().Model(specificationVersion=1)
    model.normalizer.normType = 2
    write_specification(model, tmp_path / "b.mlmodel")
    compiled = moka.compile(tmp_path / "b.mlmodel", tmp_path, unverified=True)
    result = moka_command("decompile", compiled, tmp_path / "back", "--json")
    assert json.loads(result.stdout) == {"path": str(tmp_path / "back" / "b.mlmodel")}
    assert (tmp_path / "back" / "b.mlmodel").read_bytes() == (tmp_path / "b.mlmodel").read_bytes()


def test_source_is_not_decompiled(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    result = moka_command("decompile", scaled, tmp_path)
    assert result.exit_code == 1
    assert "is not compiled" in result.stderr
