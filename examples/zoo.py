"""Well-known networks, converted with coremltools and checked against PyTorch with Moka.

Nothing is downloaded: the architectures have their published sizes and seeded random weights.

    python examples/zoo.py --list
    python examples/zoo.py --out build/zoo --only mobilenet_v2 vit_b16 --precision fp32 --check
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python examples/zoo.py` finds its package
os.environ.setdefault("TQDM_DISABLE", "1")  # coremltools' own progress bars

from examples.networks import PRECISIONS, ZOO, Network
from examples.networks.check import TOLERANCES, Result, compare

progress = Console(stderr=True)


def visit(network: Network, precision: str, arguments: argparse.Namespace) -> Result:
    """Converts one network, or finds it converted, and checks it if asked to; never raises."""
    result: dict[str, Any] = {"network": network.name, "precision": precision}
    with progress.status(f"{network.name} {precision}: converting"):
        converted = attempt("coremltools", lambda: network.package(arguments.out, precision, arguments.force))
    if isinstance(converted, str):
        return Result(**result, failure=converted)
    path, result["convert_seconds"] = converted
    if not arguments.check:
        return Result(**result)
    with progress.status(f"{network.name} {precision}: comparing"):
        measured = attempt("Moka", lambda: compare(network, precision, path))
    return Result(**result, **(measured if isinstance(measured, dict) else {"failure": measured}))


def attempt(who: str, call: Callable[[], Any]) -> Any:
    """What the call returns, or who failed with which error; the traceback goes to the log."""
    try:
        return call()
    except Exception as error:
        logging.getLogger("zoo").debug("%s", traceback.format_exc())
        return f"{who}: {type(error).__name__}: {str(error).strip()}"


def say(result: Result) -> None:
    """One line about a network that is done, while the others are still to come."""
    if result.failure:
        progress.print(f"[red]✗[/] {result.network} {result.precision}: {escape(result.failure.splitlines()[0])}")
        return
    mark = "[green]✓[/]" if result.passed else "[red]✗[/]"
    converted = f"converted in {result.convert_seconds:.1f} s" if result.convert_seconds else "converted before"
    error = "" if result.error is None else f", error {result.error:.1e}"
    progress.print(f"{mark} {result.network} {result.precision}: {converted}{error}")


def show(results: list[Result]) -> None:
    """All results as a table, and below it every failure in full."""
    allowed = ", ".join(f"{precision} {tolerance:.0e}" for precision, tolerance in TOLERANCES.items())
    table = Table(caption=f"error: largest difference / PyTorch's largest output; allowed: {allowed}; times in ms")
    table.add_column("network", no_wrap=True)
    for column in ("type", "ops", "error", "Moka", "PyTorch"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for result in results:
        table.add_row(
            result.network,
            result.precision,
            number(result.operations, "d"),
            number(result.error, ".1e"),
            number(result.predict_milliseconds, ".1f"),
            number(result.pytorch_milliseconds, ".1f"),
            verdict(result),
        )
    Console().print(table)
    for result in results:
        if result.failure:
            Console().print(f"{result.network} {result.precision}: {escape(result.failure)}", style="red")


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def verdict(result: Result) -> str:
    if result.failure:
        return "[red]failed[/]"
    if not result.passed:
        return "[red]differs[/]"
    return "converted" if result.error is None else "[green]agrees[/]"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert well-known networks and check Moka against PyTorch.")
    parser.add_argument("--list", action="store_true", help="print the networks and stop")
    parser.add_argument("--out", type=Path, default=Path("build/zoo"), help="folder of the packages, kept between runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ZOO, default=list(ZOO), help="these networks")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--check", action="store_true", help="run each with Moka and compare with PyTorch")
    parser.add_argument("--force", action="store_true", help="convert again what is there already")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(arguments)


def list_networks(as_json: bool) -> None:
    if as_json:
        print(json.dumps({network.name: network.description for network in ZOO.values()}, indent=2))
        return
    table = Table("network", "what it is")
    for network in ZOO.values():
        table.add_row(network.name, network.description)
    Console().print(table)


def quiet() -> None:
    """Silences what libraries say beside errors."""
    for name in ("coremltools", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def finish(results: list[Any], as_json: bool, show: Callable[[list[Any]], None]) -> int:
    """Prints the results, as JSON or as ``show`` does; gives the exit status."""
    if as_json:
        print(json.dumps([asdict(result) | {"passed": result.passed} for result in results], indent=2))
    else:
        show(results)
    return 0 if all(result.passed for result in results) else 1


def main(argv: list[str] | None = None) -> int:
    """0 when every network converted and, if checked, agrees; 1 otherwise."""
    arguments = parse(argv)
    if arguments.list:
        list_networks(arguments.json)
        return 0
    quiet()
    results = []
    for network in [ZOO[name] for name in arguments.only]:
        for precision in arguments.precision:
            results.append(visit(network, precision, arguments))
            say(results[-1])
            gc.collect()
    return finish(results, arguments.json, show)


if __name__ == "__main__":
    raise SystemExit(main())
