"""The three files of compiled networks: written and read, and refused where they are damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moka.errors import FormatError, InputError
from moka.formats.espresso.files import EspressoWeights, read_net, read_shapes, write_net, write_shapes, write_weights

FILES = ("model.espresso.net", "model.espresso.shape", "model.espresso.weights")


def test_every_real_file_is_written_as_it_was_read(corpus: Path, tmp_path: Path) -> None:
    folders = [path.parent for path in corpus.rglob(FILES[0])]
    assert len(folders) >= 10
    for folder in folders:
        net, shapes, weights = (tmp_path / name for name in FILES)
        write_net(net, read_net(folder / FILES[0]))
        write_shapes(shapes, read_shapes(folder / FILES[1]))
        stored = EspressoWeights(folder / FILES[2])
        write_weights(weights, [size for blob, (_, size) in stored.spans.items() if blob % 2], map(stored.blob, list(stored.spans)[1::2]))
        assert json.loads(net.read_text()) == json.loads((folder / FILES[0]).read_text())
        assert json.loads(shapes.read_text()) == json.loads((folder / FILES[1]).read_text())
        assert weights.read_bytes() == (folder / FILES[2]).read_bytes()


def test_blobs_start_at_multiples_of_64(tmp_path: Path) -> None:
    blobs = [np.arange(count, dtype=np.uint8) for count in (1, 0, 64, 65)]
    write_weights(tmp_path / "w", [blob.size for blob in blobs], blobs)
    weights = EspressoWeights(tmp_path / "w")
    assert list(weights.spans) == list(range(8))
    assert [weights.spans[blob][0] % 64 for blob in (1, 3, 5, 7)] == [0, 0, 0, 0]
    assert (tmp_path / "w").stat().st_size % 64 == 0
    for index, blob in enumerate(blobs):
        np.testing.assert_array_equal(weights.blob(2 * index + 1), blob)


def test_arrays_of_a_blob(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", [16], [np.array([1, 2, 0, 0], "<f4")])
    weights = EspressoWeights(tmp_path / "w")
    np.testing.assert_array_equal(weights.array(1, "<f4", 2), [1, 2])
    with pytest.raises(FormatError, match="blob 1: has 16 bytes, expected 5 of float32"):
        weights.array(1, "<f4", 5)
    with pytest.raises(FormatError, match="blob 3: is not there, the file has 2 blobs"):
        weights.array(3, "<f4", 1)


def table(*entries: tuple[int, int], count: int | None = None) -> bytes:
    return struct.pack("<Q", len(entries) if count is None else count) + b"".join(struct.pack("<QQ", *entry) for entry in entries)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "has 0 bytes"),
        (b"1234567", "has 7 bytes"),
        (table(count=2**60), "don't fit into a file of 8 bytes"),
        (table((0, 1)), "blob 0: bytes 24 to 25, the file has 24"),
        (table((0, 2**64 - 1), (1, 8)), "blob 0: bytes"),
        (table((5, 0), (5, 0)), "blob 5: comes twice"),
    ],
)
def test_damaged_weights(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(FormatError, match=problem):
        EspressoWeights(tmp_path / "w")


NET = {"format_version": 200, "storage": "w", "layers": [{"name": "a", "type": "b", "bottom": "x", "top": "y"}]}
SHAPES = {"layer_shapes": {"x": {"n": 1, "k": 1, "h": 1, "w": 1}}}


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (read_net, "", "is empty"),
        (read_net, "{", "is not JSON that can be read"),
        (read_net, "[" * 100_000, "is not JSON that can be read"),
        (read_net, "1" * 10_000, "is not JSON that can be read"),
        (read_net, '{"a": NaN}', "NaN is no JSON number"),
        (read_net, "\udcff".encode("utf-8", "surrogateescape"), "is not JSON that can be read"),
        (read_net, "[]", "is a JSON list, expected an object"),
        (read_net, json.dumps({**NET, "format_version": 201}), "format_version: found 201, known is 200"),
        (read_net, json.dumps({**NET, "storage": 1}), "storage: expected the name"),
        (read_net, json.dumps({**NET, "layers": {}}), "layers: expected a list"),
        (read_net, json.dumps({**NET, "layers": [1]}), "layer 0: expected an object"),
        (read_net, json.dumps({**NET, "layers": [{"name": "a"}]}), "layer 0: type: found None, expected a text"),
        (read_net, json.dumps({**NET, "layers": [{"name": "a", "type": "b", "top": 1}]}), "layer 0 'a': top: expected names"),
        (read_shapes, json.dumps({"layer_shapes": []}), "layer_shapes: expected an object"),
        (read_shapes, json.dumps({"layer_shapes": {"x": {"n": 1}}}), "blob 'x': expected an object with n, k, h and w"),
        (read_shapes, json.dumps({"layer_shapes": {"x": {"n": 1, "k": -1, "h": 1, "w": 1}}}), "blob 'x': k: found -1"),
        (read_shapes, json.dumps({"layer_shapes": {"x": {"n": True, "k": 1, "h": 1, "w": 1}}}), "blob 'x': n: found True"),
    ],
)
def test_damaged_text(tmp_path: Path, read: Callable[[Path], Any], text: str | bytes, problem: str) -> None:
    (tmp_path / "f").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError, match=problem):
        read(tmp_path / "f")


def test_written_text_is_read(tmp_path: Path) -> None:
    write_net(tmp_path / "net", NET)
    write_shapes(tmp_path / "shape", SHAPES["layer_shapes"])
    assert (read_net(tmp_path / "net"), read_shapes(tmp_path / "shape")) == (NET, SHAPES["layer_shapes"])


def test_numbers_that_json_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a number that JSON can't hold"):
        write_net(tmp_path / "net", {**NET, "x": float("inf")})
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("blobs", [[], [np.zeros(4, np.uint8)] * 2, [np.zeros(5, np.uint8)]])
def test_other_blobs_than_announced(tmp_path: Path, blobs: list[np.ndarray[Any, Any]]) -> None:
    with pytest.raises(InputError, match="expected"):
        write_weights(tmp_path / "w", [4], blobs)
    assert list(tmp_path.iterdir()) == []
