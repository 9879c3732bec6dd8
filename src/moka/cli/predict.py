"""``moka predict``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

import moka
from moka.cli.common import as_json, console, loading_options, model_argument, print_json, progress, table, verb
from moka.cli.inputs import given_inputs, input_option, names
from moka.cli.values import summary, summary_text

__all__ = ["command"]


@verb()
@model_argument
@input_option
@click.option(
    "--output",
    "-o",
    "outputs",
    multiple=True,
    metavar="NAME=FILE",
    help="Write an output to a file (.npy, .npz, .png, .json). Without NAME, all outputs to an .npz or .json.",
)
@click.option("--random", "seed", type=int, metavar="SEED", help="Make up the inputs that are not given, the same for the same seed.")
@click.option("--resize", is_flag=True, help="Resize images to the size that the model takes.")
@loading_options
@click.option(
    "--numerics",
    type=click.Choice(["fast", "device"]),
    default="fast",
    help="device: round every result to its declared type, as Apple's fp16 units do.",
)
@click.option("--repeat", type=click.IntRange(min=0), default=0, metavar="N", help="Predict N more times and report the times.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, metavar="K", help="Show the K largest entries of a dictionary."
)
@as_json
def command(
    model: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    seed: int | None,
    resize: bool,
    numerics: Any,
    repeat: int,
    top: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a model on files, values or random inputs.

    \b
    moka predict classifier.mlpackage -i image=cat.jpg --resize
    moka predict model.mlpackage -i x=x.npy -i scale=0.5 -o y=y.npy
    moka predict model.mlpackage --random 0 --repeat 100
    """
    with progress(f"loading {model}") as say:
        start = time.perf_counter()
        loaded = moka.load(model, numerics=numerics, **options)
        seconds = {"load": time.perf_counter() - start}
        files = _files(outputs, loaded)
        data = given_inputs(inputs, loaded, seed, resize)
        say(f"predicting with {model}")
        results, times = _run(loaded, data, repeat, say)
    for name, file in files:
        moka.write_value(results if name is None else results[name], file)
    seconds |= _timings(times)
    if as_json:
        described = {name: summary(value, top) for name, value in results.items()}
        print_json({"model": model, "function": loaded.function.name, "outputs": described, "seconds": seconds, "repeat": repeat})
    else:
        _print(results, seconds, repeat, top)


def _files(outputs: Sequence[str], model: moka.Model) -> list[tuple[str | None, str]]:
    """(output or None for all, file) of each ``--output``."""
    features = model.function.outputs
    pairs: list[tuple[str | None, str]] = []
    for item in outputs:
        name, equals, file = item.partition("=")
        if equals and name not in features:
            raise click.BadParameter(f"the model has no output {name!r}; it has {names(features)}", param_hint="--output")
        pairs.append((name, file) if equals else (None, item))
    return pairs


def _run(model: moka.Model, data: dict[str, Any], repeat: int, say: Any) -> tuple[dict[str, Any], list[float]]:
    """The first results, and the seconds of every run; a stateful model starts each with a fresh state."""
    results: dict[str, Any] = {}
    times = []
    for index in range(repeat + 1):
        state = model.make_state() if model.function.states else None
        start = time.perf_counter()
        found = model.predict(data, state)
        times.append(time.perf_counter() - start)
        results = results or found
        if repeat:
            say(f"predicted {index + 1} of {repeat + 1} times")
    return results, times


def _timings(times: Sequence[float]) -> dict[str, float]:
    """Of the first run, and over the runs after it."""
    first, *later = times
    if not later:
        return {"first": first}
    ordered = sorted(later)
    half, count = len(ordered) // 2, len(ordered)
    median = ordered[half] if count % 2 else (ordered[half - 1] + ordered[half]) / 2
    return {"first": first, "median": median, "p90": ordered[-(-9 * count // 10) - 1], "min": ordered[0]}


def _print(results: Mapping[str, Any], seconds: Mapping[str, float], repeat: int, top: int) -> None:
    screen = console()
    rows = table("output", "type", "value")
    for name, value in results.items():
        kind, text = summary_text(summary(value, top))
        rows.add_row(Text(name, "cyan"), Text(kind), Text(text))
    screen.print(rows)
    line = Text("\n")
    for name, value in seconds.items():
        line.append(f"{name} ", "dim")
        line.append(f"{_duration(value)}  ")
    if repeat:
        line.append(f"of {repeat} more", "dim")
    screen.print(line)


def _duration(seconds: float) -> str:
    """Seconds for people: 12.3 µs, 4.56 ms, 1.23 s."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1e6:.3g} µs"
