"""Values from files and text, made up, and written; what the command's tests do not reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import moka
from moka.models.features import DictionaryFeature, MultiArrayFeature, ScalarFeature, SequenceFeature
from moka.models.images import ImageFeature

X = MultiArrayFeature("x", shape=(2, 3))


@pytest.mark.parametrize(
    ("feature", "text", "value"),
    [
        (ScalarFeature("s", "string"), "17", "17"),
        (ScalarFeature("s", "int64"), "17", 17),
        (ScalarFeature("s", "double"), "-1.5e3", -1500.0),
        (SequenceFeature("s", "string"), '["a", "b"]', ["a", "b"]),
        (DictionaryFeature("d", "int64"), '{"3": 0.5}', {3: 0.5}),
        (DictionaryFeature("d", "string"), '{"3": 0.5}', {"3": 0.5}),
    ],
)
def test_values_in_text(feature: Any, text: str, value: Any) -> None:
    found = moka.read_value(feature, text)
    assert found == value
    assert feature.coerce(found) == value


def test_images_take_the_mode_of_the_feature(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "red.png")
    for space, mode in (("RGB", "RGB"), ("BGR", "RGB"), ("GRAYSCALE", "L"), ("GRAYSCALE_FLOAT16", "F")):
        feature = ImageFeature("image", space, 4, 4)
        found = moka.read_value(feature, tmp_path / "red.png")
        assert found.mode == mode
        assert feature.coerce(found).shape == (1, len(mode) if mode == "RGB" else 1, 4, 4)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(moka.FormatError, match=r"evil\.npy"):
        moka.read_value(X, tmp_path / "evil.npy")


@pytest.mark.parametrize(
    ("name", "content"), [("x.npy", b"not an array"), ("x.npz", b"PK"), ("x.png", b"no image"), ("x.json", b"{"), ("x.json", b"[" * 10**5)]
)
def test_broken_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(moka.FormatError, match=name):
        moka.read_value(X, tmp_path / name)


def test_an_archive_without_the_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=[1], b=[2])
    with pytest.raises(moka.InputError, match=r"two\.npz has the arrays a, b; expected one, or one of that name"):
        moka.read_value(X, tmp_path / "two.npz")


def test_a_file_for_all_inputs(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(moka.InputError, match="holds a list; expected an object"):
        moka.read_inputs(tmp_path / "list.json", {"x": X})
    with pytest.raises(moka.InputError, match="for one input, name it: NAME="):
        moka.read_inputs(tmp_path / "x.npy", {"x": X})


def test_random_values_are_accepted() -> None:
    features = {
        "x": X,
        "ids": MultiArrayFeature("ids", "int32", (1, 8)),
        "listed": MultiArrayFeature("listed", shapes=((4,), (8,))),
        "ranged": MultiArrayFeature("ranged", ranges=((2, None), (3, 3))),
        "image": ImageFeature("image", "BGR", 5, 4),
        "gray": ImageFeature("gray", "GRAYSCALE", 5, 4),
        "depth": ImageFeature("depth", "GRAYSCALE_FLOAT16", 5, 4),
        "number": ScalarFeature("number", "double"),
        "count": ScalarFeature("count", "int64"),
        "words": SequenceFeature("words", "int64", (3, 5)),
        "left out": MultiArrayFeature("left out", shape=(1,), optional=True),
    }
    made = moka.random_inputs(features, seed=3)
    assert set(features) - set(made) == {"left out"}
    for name, value in made.items():
        features[name].coerce(value)
    again = moka.random_inputs(features, seed=3)
    assert all(np.array_equal(made[name], again[name]) for name in made)


@pytest.mark.parametrize("feature", [ScalarFeature("s", "string"), MultiArrayFeature("x"), DictionaryFeature("d", "string")])
def test_what_has_no_random_value_is_said(feature: Any) -> None:
    with pytest.raises(moka.InputError, match=f"input '{feature.name}'"):
        moka.random_inputs({feature.name: feature})


def test_json_has_no_infinities(tmp_path: Path) -> None:
    moka.write_value({"x": np.array([1.0, np.nan, np.inf]), 3: "text"}, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail) == {"x": [1.0, None, None], "3": "text"}


@pytest.mark.parametrize(
    ("value", "name"),
    [({"a": 1.0}, "x.npy"), ("text", "x.npy"), ({"label": "cat"}, "x.npz"), (Image.new("L", (2, 2)), "x.json"), (1.0, "x.txt")],
)
def test_what_does_not_fit_a_file_is_said(value: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(moka.InputError):
        moka.write_value(value, tmp_path / name)
    assert not (tmp_path / name).exists()
