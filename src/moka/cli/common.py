"""What all verbs share: errors in one line, JSON, the terminal, and progress on what takes long."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from moka.errors import MokaError

__all__ = ["Verb", "as_json", "console", "loading_options", "model_argument", "print_json", "progress", "size_text", "table", "verb"]

F = TypeVar("F", bound=Callable[..., Any])

_COMPUTE_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
_ENGINES = ("auto", "torch", "onnxruntime", "openvino", "coreml")

_WIDTH = 120
"""Columns where the output is no terminal and COLUMNS does not say."""


class Verb(click.Command):
    """A command that reports Moka's errors, and the system's about files, in one line, or with ``--debug`` with their traceback."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."))

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.pop("debug")
        try:
            return super().invoke(ctx)
        except (MokaError, OSError) as error:
            if debug:
                raise
            raise click.ClickException(str(error)) from error


def verb() -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a function the command of a verb, named like its module."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(function.__module__.rpartition(".")[2], cls=Verb)(function)

    return make


def model_argument(function: F) -> F:
    """The model that a verb is about."""
    return click.argument("model", type=click.Path())(function)


def loading_options(function: F) -> F:
    """``--compute-units``, ``--engine``, ``--threads``, ``--allow-low-precision``, ``--function``: how `moka.load` is to load the model."""
    options = (
        click.option(
            "--compute-units",
            type=click.Choice(_COMPUTE_UNITS, case_sensitive=False),
            default="ALL",
            metavar="UNITS",
            help=f"What the model may run on: {', '.join(_COMPUTE_UNITS)}.",
        ),
        click.option(
            "--engine",
            type=click.Choice(_ENGINES),
            default="auto",
            help="What runs the operations that it can run; coreml, on macOS only, runs the whole model with Apple's own Core ML.",
        ),
        click.option("--threads", type=click.IntRange(min=0), default=0, metavar="N", help="Threads for one prediction; 0 for all cores."),
        click.option("--allow-low-precision", is_flag=True, help="Compute in bf16 what the model declares fp16, where that is faster."),
        click.option("--function", metavar="NAME", help="Which function, of a model with several."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def as_json(function: F) -> F:
    """``--json``: the output as JSON."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(data: Any) -> None:
    """Data as JSON on the standard output, spaced as Apple's tools do."""
    click.echo(json.dumps(data, indent=2, separators=(",", " : "), ensure_ascii=False))


def console() -> Console:
    """The standard output: as wide as the terminal, or wide enough for a file, and without colours there."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or _WIDTH)
    return Console(width=width, highlight=False, soft_wrap=False)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A plain table with a dim head; columns named in ``right`` hold numbers."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def size_text(count: int) -> str:
    """Bytes for people: 812 B, 3.4 kB, 12.1 MB."""
    if count < 1000:
        return f"{count} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < factor * 1000 or unit == "GB":
            return f"{count / factor:.1f} {unit}"
    return ""


@contextmanager
def progress(text: str, after: float = 1.0) -> Iterator[Callable[[str], None]]:
    """Shows ``text`` on a terminal's standard error once the block has taken ``after`` seconds; gives a function that changes it."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    status = Console(file=sys.stderr).status(text)  # this stream, also while a library's messages are held back
    timer = threading.Timer(after, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(text)
    finally:
        timer.cancel()
        timer.join()
        status.stop()
