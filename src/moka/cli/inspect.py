"""``moka inspect``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.columns import Columns
from rich.console import Console
from rich.text import Text

import moka
from moka.cli.common import as_json, console, model_argument, print_json, progress, size_text, table, verb
from moka.cli.program import print_program

__all__ = ["command"]

_LABELS = 8
"""How many class labels are shown."""

_TEXT = 300
"""How many characters of a text are shown."""


@verb()
@model_argument
@click.option("--operations", is_flag=True, help="Print the ML Program, one operation a line, or the neural network, one layer a line.")
@as_json
def command(model: str, operations: bool, as_json: bool) -> None:
    """Say what a model is: inputs, outputs, operations, weights.

    MODEL is a .mlmodel file, an .mlpackage or a .mlmodelc folder of any kind, or a .pte program of ExecuTorch's; nothing is run.
    """
    if moka.pytorch.executorch.is_program(model):
        _show_program(model, as_json)
        return
    with progress(f"reading {model}"):
        summary = moka.inspect(model)
    if as_json:
        texts = {part.name: text for part in summary.parts if (text := part.program_text())}
        print_json(summary.to_dict() | ({"programs": texts} if operations else {}))
    elif operations:
        _print_programs(summary)
    else:
        _print_summary(console(), summary)


def _show_program(path: str, as_json: bool) -> None:
    program = moka.pytorch.executorch.inspect(path)
    if as_json:
        print_json(program.to_dict())
    else:
        print_program(console(), program)


def _print_programs(summary: moka.ModelSummary) -> None:
    texts = {part.name: text for part in summary.parts if (text := part.program_text())}
    if not texts:
        raise moka.UnsupportedError(f"{summary.path}: {summary.kind} models have neither operations nor layers; leave out --operations")
    for name, text in texts.items():
        if name:
            click.echo(f"# {name}")
        click.echo(text, nl=False)


def _print_summary(screen: Console, summary: moka.ModelSummary) -> None:
    screen.print(Text(summary.path.name, "bold"))
    for line in _headlines(summary):
        screen.print(Text(" · ".join(line)))
    _print_about(screen, summary)
    functions = summary.description.functions
    for name, function in functions.items():
        if len(functions) > 1:
            default = " (default)" if name == summary.description.default_function else ""
            _heading(screen, f"Function {name}{default}")
        _print_features(screen, "Inputs", function.inputs)
        _print_features(screen, "Outputs", function.outputs)
        _print_features(screen, "States", function.states)
    _print_features(screen, "Training inputs", summary.training_inputs)
    if summary.class_labels is not None:
        _print_labels(screen, summary.class_labels)
    for part in summary.parts:
        _print_part(screen, part)


def _headlines(summary: moka.ModelSummary) -> Iterable[list[str]]:
    systems = ", ".join(f"{name} {summary.availability[name]}" for name in ("iOS", "macOS") if name in summary.availability)
    version = f"specification {summary.specification_version}" + (f" ({systems})" if systems else "")
    yield [summary.kind, version] + (["updatable"] if summary.is_updatable else [])
    parameters = sum(part.parameters for part in summary.parts)
    if parameters:
        yield [
            f"{parameters:,} parameters",
            f"{size_text(sum(group.bytes for part in summary.parts for group in part.weights))} of weights",
        ]


def _print_about(screen: Console, summary: moka.ModelSummary) -> None:
    info = summary.description.metadata
    stated = {"description": info.description, "version": info.version, "author": info.author, "license": info.license}
    for entries in (stated, info.user_defined):
        rows = table("", "")
        rows.show_header = False
        for name, value in entries.items():
            if value:
                rows.add_row(Text(name, "dim"), Text(value if len(value) <= _TEXT else value[:_TEXT] + "..."))
        if rows.row_count:
            screen.print()
            screen.print(rows)


def _heading(screen: Console, text: str) -> None:
    screen.print()
    screen.print(Text(text, "bold"))


def _print_features(screen: Console, title: str, features: Mapping[str, Any]) -> None:
    if not features:
        return
    _heading(screen, title)
    described = any(feature.description for feature in features.values())
    rows = table("name", "type", *(["description"] if described else []))
    for name, feature in features.items():
        kind = getattr(feature, "array", feature)  # a state is described by the array that it holds
        cells = [Text(name, "cyan"), Text(kind.summary() + _optional(kind))]
        rows.add_row(*cells, *([Text(feature.description)] if described else []))
    screen.print(rows)


def _optional(feature: Any) -> str:
    if not feature.optional:
        return ""
    return f", optional (default {feature.default:g})" if hasattr(feature, "default") else ", optional"


def _print_labels(screen: Console, labels: Sequence[str] | Sequence[int]) -> None:
    shown = ", ".join(map(str, labels[:_LABELS])) + (", ..." if len(labels) > _LABELS else "")
    _heading(screen, "Class labels")
    screen.print(Text(f"{len(labels):,}: {shown}" if labels else "none yet"))


def _print_part(screen: Console, part: Any) -> None:
    opsets = ", ".join(dict.fromkeys(part.opsets.values()))
    stage = f"Stage {part.name}: {part.kind}" if part.name else ""
    if stage:
        _heading(screen, stage)
    if part.operations:
        total = sum(part.operations.values())
        what = "operations" if part.program is not None else "layers"
        _heading(screen, f"{total:,} {what}" + (f", opset {opsets}" if opsets else ""))
        cells = [Text.assemble((f"{count:>5,} ", "dim"), name) for name, count in part.operations.items()]
        screen.print(Columns(cells, padding=(0, 2), column_first=True))
    if part.weights:
        _print_weights(screen, part)
    if part.update is not None:
        _print_update(screen, part.update)


def _print_weights(screen: Console, part: Any) -> None:
    _heading(screen, "Weights")
    rows = table("stored as", "arrays", "elements", "size", right=("arrays", "elements", "size"))
    for group in part.weights:
        rows.add_row(group.dtype, f"{group.arrays:,}", f"{group.elements:,}", size_text(group.bytes))
    screen.print(rows)
    if part.compressed:
        ways = ", ".join(f"{count} {way.removeprefix('constexpr_').replace('_', ' ')}" for way, count in part.compressed.items())
        screen.print(Text(f"compressed: {ways}"))


def _print_update(screen: Console, update: Any) -> None:
    _heading(screen, "Update parameters")
    stated = {
        "layers that learn": ", ".join(update.layers),
        "loss": ", ".join(f"{loss.kind.replace('_', ' ')} of {loss.input} against {loss.target}" for loss in update.losses),
        "optimizer": {"sgd": "stochastic gradient descent", "adam": "Adam"}.get(update.optimizer, ""),
    }
    for name, value in stated.items():
        if value:
            screen.print(Text.assemble((f"{name}: ", "dim"), value))
    rows = table("parameter", "default", "allowed", right=("default",))
    for parameter in update.parameters:
        default = str(parameter.default).lower() if parameter.kind is bool else f"{parameter.default:g}"
        rows.add_row(Text(parameter.name, "cyan"), default, parameter.limits() or "any")
    screen.print(rows)
