"""Specifications: round trips of real models, and writes that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from moka.errors import FormatError
from moka.formats import mlmodel, schema
from moka.formats.mlmodel import read_specification, write_specification


def scaler() -> object:
    """A small valid model whose message has a map, so that the order of entries matters."""
    model = schema.model().Model(specificationVersion=1)
    model.scaler.shiftValue.append(1.5)
    for key in ("z", "a", "m"):
        model.description.metadata.userDefined[key] = key
    return model


def test_real_models_survive_reading_and_writing(corpus: Path, tmp_path: Path) -> None:
    paths = sorted(corpus.glob("**/*.mlmodel"))
    assert paths
    for path in paths:
        model = read_specification(path)
        write_specification(model, tmp_path / "copy.mlmodel")
        assert read_specification(tmp_path / "copy.mlmodel") == model, path


def test_coremltools_reads_what_we_write(tmp_path: Path) -> None:
    utils = pytest.importorskip("coremltools").utils
    write_specification(scaler(), tmp_path / "scaler.mlmodel")
    assert utils.load_spec(str(tmp_path / "scaler.mlmodel")) == scaler()


def test_same_message_gives_same_bytes(tmp_path: Path) -> None:
    other = scaler()
    entries = sorted(other.description.metadata.userDefined.items())
    other.description.metadata.userDefined.clear()
    for key, value in entries:
        other.description.metadata.userDefined[key] = value
    write_specification(scaler(), tmp_path / "one.mlmodel")
    write_specification(other, tmp_path / "two.mlmodel")
    assert (tmp_path / "one.mlmodel").read_bytes() == (tmp_path / "two.mlmodel").read_bytes()


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scaler.mlmodel"
    path.write_bytes(b"old")

    def write_half(self: Path, data: bytes) -> None:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="no space left"):
        write_specification(scaler(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scaler.mlmodel"]


def test_more_than_protobuf_allows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlmodel, "LARGEST_MESSAGE", 10)
    with pytest.raises(FormatError, match=r"big.mlmodel: message Model needs \d+ bytes: .* 2 GiB"):
        write_specification(scaler(), tmp_path / "big.mlmodel")


def test_file_above_two_gibibytes_is_said(tmp_path: Path) -> None:
    path = tmp_path / "big.mlmodel"
    with path.open("wb") as file:
        file.truncate(2**31)  # a hole: it takes no space on the disk
    with pytest.raises(FormatError, match=r"big.mlmodel: has 2147483648 bytes, .* 2 GiB"):
        read_specification(path)
