"""``moka cache``."""

from __future__ import annotations

import re
import time
from typing import Any

import click
from rich.text import Text

import moka
from moka.cli.common import Verb, as_json, console, print_json, progress, size_text, table

__all__ = ["command"]

_PERIODS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds from a number with or without a unit: 30m, 12h, 7d, 2w."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no period; expected seconds, or a number with a unit: 30m, 12h, 7d, 2w")
    return float(match[1]) * _PERIODS[match[2]]


product = click.option("--product", help="Only entries of one product, such as mlmodelc.")


@click.group("cache", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, verify or clear what was compiled before.

    The cache is in MOKA_CACHE, or the system's folder for caches, and keeps at most MOKA_CACHE_SIZE (10GB). Each verb has --json for
    scripts, and --debug for the traceback of an error.
    """


@command.command("list", cls=Verb)
@product
@as_json
def list_entries(product: str | None, as_json: bool) -> None:
    """List the entries, the last used first."""
    cache = moka.cache.Cache()
    found = cache.entries(product)
    if as_json:
        print_json([_document(entry, entry.problem()) for entry in found])
        return
    rows = table("made from", "product", "size", "made", "last used", "", right=("size",))
    for entry in found:
        rows.add_row(
            Text(entry.name or entry.folder.name, "cyan"),
            entry.product,
            size_text(entry.size),
            _ago(entry.created),
            _ago(entry.last_used),
            Text("damaged" if entry.problem() else "", "red"),
        )
    screen = console()
    if found:
        screen.print(rows)
    total = sum(entry.size for entry in found)
    screen.print(
        Text(f"{_count(len(found))}, {size_text(total)} of at most {size_text(cache.size)}, in {cache.folder}", "dim"), soft_wrap=True
    )


@command.command("verify", cls=Verb)
@product
@as_json
@click.pass_context
def verify(ctx: click.Context, product: str | None, as_json: bool) -> None:
    """Read every entry in full, and remove those that are damaged.

    They are made again when they are asked for. The exit status is 1 if there were any.
    """
    cache = moka.cache.Cache()
    with progress(f"reading {cache.folder}"):
        damaged = cache.verify(product)
    if as_json:
        print_json([_document(entry, problem) for entry, problem in damaged])
    else:
        for entry, problem in damaged:
            click.echo(f"{entry.name or entry.folder.name}: {problem}; removed")
        click.echo(f"{cache.folder}: " + (f"{_count(len(damaged))} damaged" if damaged else "no damage"), err=bool(damaged))
    ctx.exit(1 if damaged else 0)


@command.command("clear", cls=Verb)
@product
@click.option("--older-than", callback=_seconds, metavar="PERIOD", help="Only entries not used for so long: 30m, 12h, 7d, 2w.")
@as_json
def clear(product: str | None, older_than: float | None, as_json: bool) -> None:
    """Remove the entries and say what that freed."""
    cache = moka.cache.Cache()
    freed = cache.clear(product, older_than)
    if as_json:
        print_json({"entries": freed.entries, "size": freed.size})
    else:
        click.echo(f"{cache.folder}: removed {_count(freed.entries)}, {size_text(freed.size)}")


def _document(entry: moka.cache.Entry, problem: str | None) -> dict[str, Any]:
    return {
        "product": entry.product,
        "name": entry.name,
        "size": entry.size,
        "created": entry.created,
        "lastUsed": entry.last_used,
        "folder": str(entry.content),
        "parts": dict(entry.parts),
        "problem": problem,
    }


def _count(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"
