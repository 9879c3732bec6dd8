"""Values of features from and to files and text: what the command line reads, makes up and writes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.models.features import DictionaryFeature, Feature, MultiArrayFeature, ScalarFeature, SequenceFeature
from moka.models.images import ImageFeature

__all__ = ["random_inputs", "read_inputs", "read_value", "write_value"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def read_value(feature: Feature, text: str | os.PathLike[str], *, resize: bool = False) -> Any:
    """A value for a feature, from a file or from text.

    Args:
        feature: what the value is for: ``model.function.inputs[name]``.
        text: a file (``.npy``, ``.npz`` with one array or one of the feature's name, ``.json``, an image), or the value itself: a number or
            other JSON, or for a string the text as it is.
        resize: whether an image of another size is resized to the one that the model takes.

    Raises:
        InputError: no such file, or not a value of that kind.
        FormatError: the file is not what its suffix says.
    """
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix in _IMAGES:
        return _image(feature, path, resize)
    if suffix == ".npy":
        return _load(path, lambda: np.load(path, allow_pickle=False))
    if suffix == ".npz":
        arrays = _arrays(path)
        if feature.name not in arrays and len(arrays) != 1:
            raise InputError(f"input {feature.name!r}: {path} has the arrays {', '.join(arrays)}; expected one, or one of that name")
        return arrays.get(feature.name, next(iter(arrays.values())))
    if suffix == ".json":
        return _from_json(feature, _load(path, lambda: json.loads(path.read_text("utf-8"))))
    return _literal(feature, os.fspath(text))


def read_inputs(path: str | os.PathLike[str], features: Mapping[str, Feature]) -> dict[str, Any]:
    """All inputs of a model from one file: an ``.npz``, or a ``.json`` with an object, by the names of the inputs.

    Raises:
        InputError: no such file, another suffix, or JSON that is no object.
        FormatError: the file is not what its suffix says.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _arrays(path)
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: a file for all inputs is an .npz or a .json; for one input, name it: NAME={path}")
    content = _load(path, lambda: json.loads(path.read_text("utf-8")))
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; expected an object with one entry for each input")
    return {name: _from_json(features[name], value) if name in features else value for name, value in content.items()}


def random_inputs(features: Mapping[str, Feature], seed: int = 0) -> dict[str, Any]:
    """Made-up values for a quick try: the same for the same seed, of the declared shapes and sizes.

    Multi-arrays of floats are standard normal, those of integers 0 or 1, images are noise; optional inputs are left out.

    Raises:
        InputError: a required input has no declared shape, or is of a kind that has no sensible random value.
    """
    generator = np.random.default_rng(seed)
    return {name: _random(feature, generator) for name, feature in features.items() if not feature.optional}


def write_value(value: Any, path: str | os.PathLike[str]) -> None:
    """Writes an output, or a dict of outputs, to a file of the kind that its suffix says.

    ``.npy`` takes an array or number, ``.npz`` a dict of such, images take PIL images, ``.json`` takes everything but images.

    Raises:
        InputError: the value can't be written so, or the file can't be written at all.
    """
    path = Path(path)
    try:
        _write(value, path)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: can't be written: {error}") from error


def _write(value: Any, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in _IMAGES and hasattr(value, "getbands"):
        (value.convert("L") if value.mode == "F" else value).save(path)
    elif suffix == ".npy" and not isinstance(value, (dict, str)):
        np.save(path, np.asarray(value))
    elif suffix == ".npz" and isinstance(value, dict):
        kept = {name: np.asarray(item) for name, item in value.items() if not isinstance(item, (dict, str))}
        if missing := ", ".join(name for name in value if name not in kept):
            raise InputError(f"{path}: {missing}: only arrays, numbers and images go into an .npz; write it to a .json")
        np.savez(path, allow_pickle=False, **kept)
    elif suffix == ".json":
        path.write_text(json.dumps(_to_json(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        raise InputError(
            f"{path}: a {type(value).__name__} can't be written to a {suffix or 'file without a suffix'}; see .npy, .npz, .json, .png"
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if hasattr(value, "getbands"):
        raise InputError(f"an image of {value.size[0]} x {value.size[1]} pixels does not go into JSON; write it to a .png")
    if isinstance(value, (np.ndarray, np.generic)):
        return _to_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _load(path: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` reads; files that are missing or broken are errors that name them."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return read()
    except (OSError, ValueError, EOFError, RecursionError) as error:
        raise FormatError(path, f"can't be read as {path.suffix}: {error}") from error


def _arrays(path: Path) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)

    arrays = _load(path, read)
    if not arrays:
        raise InputError(f"{path}: holds no arrays")
    return dict(arrays)


def _image(feature: Feature, path: Path, resize: bool) -> Any:
    """A picture in the mode that the model takes; for a multi-array, its pixels [height, width, channels]."""
    from PIL import Image

    picture = _load(path, lambda: Image.open(path).convert(feature.mode if isinstance(feature, ImageFeature) else "RGB"))
    if isinstance(feature, MultiArrayFeature):
        return np.asarray(picture)
    if not isinstance(feature, ImageFeature):
        raise InputError(f"input {feature.name!r} is given the image {path}; expected a {feature.summary()}")
    if resize and not feature.accepts(picture.width, picture.height):
        return picture.resize((feature.width, feature.height))
    return picture


def _literal(feature: Feature, text: str) -> Any:
    """A value as it stands in a command."""
    if isinstance(feature, ScalarFeature) and feature.kind == "string":
        return text
    try:
        return _from_json(feature, json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        kinds = ".npy, .npz, .json or an image"
        raise InputError(
            f"input {feature.name!r} ({feature.summary()}): {text!r} is neither a file ({kinds}) nor a number or JSON"
        ) from error


def _from_json(feature: Feature, value: Any) -> Any:
    """JSON has string keys only and no arrays of numbers: both are made here."""
    if isinstance(feature, DictionaryFeature) and feature.key == "int64" and isinstance(value, dict):
        try:
            return {int(key): number for key, number in value.items()}
        except ValueError as error:
            raise InputError(f"input {feature.name!r}: keys of the object must be integers: {error}") from error
    if isinstance(feature, MultiArrayFeature) and isinstance(value, (int, float)):
        return np.full(feature.shape or (1,), value)
    return np.asarray(value, np.uint8) if isinstance(feature, ImageFeature) and isinstance(value, list) else value


def _random(feature: Feature, generator: np.random.Generator) -> Any:
    if isinstance(feature, MultiArrayFeature):
        shape = feature.shape or next(iter(feature.shapes), tuple(low for low, _ in feature.ranges))
        if not shape:
            raise InputError(f"input {feature.name!r} declares no shape, so it has no random value: give it one")
        return generator.standard_normal(shape) if np.dtype(feature.dtype).kind == "f" else generator.integers(0, 2, shape)
    if isinstance(feature, ImageFeature):
        size = (feature.height, feature.width, len(feature.mode))[: 2 if feature.mode in ("L", "F") else 3]
        return generator.integers(0, 256, size, np.uint8) if feature.mode != "F" else generator.random(size, np.float32)
    if isinstance(feature, ScalarFeature) and feature.kind != "string":
        return float(generator.standard_normal()) if feature.kind == "double" else int(generator.integers(0, 2))
    if isinstance(feature, SequenceFeature) and feature.kind == "int64":
        return generator.integers(0, 2, max(feature.sizes[0], 1)).tolist()
    raise InputError(f"input {feature.name!r} is a {feature.summary()}, which has no sensible random value: give it one")
