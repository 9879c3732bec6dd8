"""Packages; the oracles are coremltools' model package library and real packages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from moka.errors import FormatError
from moka.formats.mlmodel import read_specification
from moka.formats.mlpackage import AUTHOR, read_package, write_package
from tests.formats.test_mlmodel import scaler


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rewrite(source: Path, target: Path) -> Any:
    """Reads a package, writes it again and returns its specification."""
    package = read_package(source)
    weights = package.item(AUTHOR, "weights")
    files = {str(path.relative_to(weights.path)): path for path in weights.path.rglob("*")} if weights else None
    specification = read_specification(package.root_model)
    write_package(target, specification, files)
    return specification


def test_real_packages_survive_reading_and_writing(corpus: Path, tmp_path: Path) -> None:
    sources = sorted(corpus.glob("**/*.mlpackage"))
    assert sources
    for source in sources:
        target = tmp_path / source.name
        specification = rewrite(source, target)
        copy = read_package(target)
        assert read_specification(copy.root_model) == specification, source
        before, after = tree(source / "Data"), tree(target / "Data")
        assert before.keys() == after.keys()
        assert all(before[name] == after[name] for name in before if name.endswith(".bin"))
        assert sorted(item.name for item in copy.items) == sorted(item.name for item in read_package(source).items)


def test_coremltools_opens_what_we_write(corpus: Path, tmp_path: Path) -> None:
    coremltools = pytest.importorskip("coremltools")
    specification = rewrite(corpus / "models" / "tiny.mlpackage", tmp_path / "tiny.mlpackage")
    model = coremltools.models.MLModel(str(tmp_path / "tiny.mlpackage"), skip_model_load=True)
    assert model.get_spec() == specification
    assert Path(model.weights_dir) == tmp_path / "tiny.mlpackage" / "Data" / AUTHOR / "weights"


def test_model_package_library_finds_the_items_that_we_find(tmp_path: Path) -> None:
    library = pytest.importorskip("coremltools.libmodelpackage")
    path = tmp_path / "scaler.mlpackage"
    write_package(path, scaler(), {"weight.bin": b"w" * 100})
    package, other = read_package(path), library.ModelPackage(str(path))
    assert library.ModelPackage.isValid(str(path))
    assert (other.getRootModel().identifier(), Path(other.getRootModel().path())) == (package.root, package.root_model)
    found, item = other.findItemByNameAuthor("weights", AUTHOR), package.item(AUTHOR, "weights")
    assert item is not None
    assert (found.identifier(), found.description(), Path(found.path())) == (
        item.identifier,
        item.description,
        item.path,
    )


def test_reads_what_the_model_package_library_writes(tmp_path: Path) -> None:
    library = pytest.importorskip("coremltools.libmodelpackage")
    (tmp_path / "model.mlmodel").write_bytes(scaler().SerializeToString())
    other = library.ModelPackage(str(tmp_path / "made.mlpackage"))
    identifier = other.setRootModel(str(tmp_path / "model.mlmodel"), "model.mlmodel", AUTHOR, "a scaler")
    del other  # writes the manifest
    package = read_package(tmp_path / "made.mlpackage")
    item = package.item(AUTHOR, "model.mlmodel")
    assert item is not None
    assert (package.root, item.identifier, item.description) == (identifier, identifier, "a scaler")
    assert read_specification(package.root_model) == scaler()
    assert package.item("somebody else", "model.mlmodel") is None


def test_same_input_gives_same_bytes_and_other_input_other_identifiers(tmp_path: Path) -> None:
    for name, content in (("one", b"w" * 100), ("two", b"w" * 100), ("three", b"v" * 100)):
        write_package(tmp_path / f"{name}.mlpackage", scaler(), {"weight.bin": content})
    assert tree(tmp_path / "one.mlpackage") == tree(tmp_path / "two.mlpackage")
    one, three = read_package(tmp_path / "one.mlpackage"), read_package(tmp_path / "three.mlpackage")
    assert one.item(AUTHOR, "weights").identifier != three.item(AUTHOR, "weights").identifier
    assert one.root == three.root


def test_package_replaces_the_one_that_its_weights_come_from(tmp_path: Path) -> None:
    path = tmp_path / "scaler.mlpackage"
    write_package(path, scaler(), {"weight.bin": b"w" * 100})
    before = tree(path)
    write_package(path, scaler(), {"weight.bin": path / "Data" / AUTHOR / "weights" / "weight.bin"})
    assert tree(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scaler.mlpackage"]


def test_weights_are_copied_not_linked(tmp_path: Path) -> None:
    source = tmp_path / "weight.bin"
    source.write_bytes(b"w" * 100)
    write_package(tmp_path / "scaler.mlpackage", scaler(), {"weight.bin": source})
    copy = tmp_path / "scaler.mlpackage" / "Data" / AUTHOR / "weights" / "weight.bin"
    assert not copy.is_symlink()
    assert not os.path.samefile(copy, source)
    assert copy.read_bytes() == source.read_bytes()


def test_failed_write_leaves_the_old_package(tmp_path: Path) -> None:
    path = tmp_path / "scaler.mlpackage"
    write_package(path, scaler(), {"weight.bin": b"w" * 100})
    before = tree(path)
    with pytest.raises(FileNotFoundError):
        write_package(path, scaler(), {"weight.bin": tmp_path / "missing.bin"})
    assert tree(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scaler.mlpackage"]


@pytest.mark.parametrize("name", ["../weight.bin", "/weight.bin", "", "a/../../b"])
def test_weights_with_a_name_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"scaler\.mlpackage: weights: "):
        write_package(tmp_path / "scaler.mlpackage", scaler(), {name: b"w"})
    assert not list(tmp_path.iterdir())


def test_manifest_without_descriptions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scaler.mlpackage"
    write_package(path, scaler())
    manifest = json.loads((path / "Manifest.json").read_bytes())
    for entry in manifest["itemInfoEntries"].values():
        del entry["description"]
    (path / "Manifest.json").write_text(json.dumps(manifest))
    assert [item.description for item in read_package(path).items] == [""]


def test_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "scaler.mlpackage"
    write_package(path, scaler())
    model = read_package(path).root_model
    model.rename(model.with_name("real.mlmodel"))
    model.symlink_to("real.mlmodel")
    assert read_specification(read_package(path).root_model) == scaler()
