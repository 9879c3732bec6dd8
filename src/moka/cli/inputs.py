"""Inputs of a model from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

import moka

__all__ = ["given_inputs", "input_option", "names"]

F = TypeVar("F", bound=Callable[..., Any])


def input_option(function: F) -> F:
    """``--input``, any number of times."""
    return click.option(
        "--input",
        "-i",
        "inputs",
        multiple=True,
        metavar="NAME=VALUE",
        help="An input: a file (.npy, .npz, .json, an image), a number, text or JSON. Without NAME, an .npz or .json with all inputs.",
    )(function)


def given_inputs(inputs: Sequence[str], model: moka.Model, seed: int | None, resize: bool) -> dict[str, Any]:
    """The inputs of the model from the command line."""
    features = model.function.inputs
    data: dict[str, Any] = {}
    for item in inputs:
        name, _, value = item.partition("=")
        if value and name in features:
            data[name] = moka.read_value(features[name], value, resize=resize)
        elif os.path.exists(item):
            data |= moka.read_inputs(item, features)
        else:
            raise click.BadParameter(f"{item!r} is neither a file nor NAME=VALUE; inputs are {names(features)}", param_hint="--input")
    missing = {name: feature for name, feature in features.items() if name not in data and not feature.optional}
    if seed is not None:
        return data | moka.random_inputs(missing, seed)
    if missing:
        lines = "".join(f"\n  {name}: {feature.summary()}" for name, feature in missing.items())
        raise click.UsageError(f"the model needs more inputs; give them with --input NAME=VALUE, or try --random 0:{lines}")
    return data


def names(features: Mapping[str, Any]) -> str:
    """Names for a message."""
    return ", ".join(features) or "none"
