"""The zoo as PyTorch programs that hand their work to Core ML: through `moka.pytorch.delegate` and through `torch.compile`.

Each network has its published size and is compared with PyTorch, all steps of it; nothing is downloaded.

    python examples/zoo_pytorch.py --only mobilenet_v2 whisper_tiny_decoder
    python examples/zoo_pytorch.py --way compile --json
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python examples/zoo_pytorch.py` finds its package

from examples.networks import ZOO, Built, Network
from examples.networks.check import TOLERANCES, median_milliseconds, outputs_of, relative_error, require_telling
from examples.networks.network import Inputs
from examples.zoo import attempt, finish, list_networks, number, progress, quiet

import moka
from moka.pytorch import backend
from moka.pytorch.report import DelegationReport

TOLERANCE = TOLERANCES["fp32"]


@dataclass(frozen=True)
class Result:
    """One network, one way.

    `error` is the largest difference from PyTorch divided by PyTorch's largest output, over all outputs and steps. `graphs` is how
    many graphs torch.compile made of it, and `partitions` how many Core ML models there are in all of them; the shares are those of
    the graph that has the least in Core ML, and `kept` says why how many nodes stay in PyTorch. `seconds` is the time until all
    steps have run once, with nothing in the cache; `milliseconds` are medians of calls in turns with PyTorch, all steps together.
    """

    network: str
    way: str
    error: float | None = None
    graphs: int | None = None
    partitions: int | None = None
    share_of_flops: float | None = None
    share_of_nodes: float | None = None
    kept: dict[str, int] | None = None
    seconds: float | None = None
    milliseconds: float | None = None
    pytorch_milliseconds: float | None = None
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the outputs are PyTorch's (NaN is not)."""
        return self.failure is None and self.error is not None and self.error <= TOLERANCE


Reports = Callable[[], Sequence[DelegationReport]]


def delegated(built: Built) -> tuple[Built, Reports]:
    """The network exported, with the sizes flexible that vary over its steps, and delegated."""
    exported = torch.export.export(built.module, (), kwargs=built.steps[0], dynamic_shapes=varying(built.steps))
    module = moka.pytorch.delegate(exported)
    return replace(built, module=module), lambda: [module.report()]


def compiled(built: Built) -> tuple[Built, Reports]:
    """The network as torch.compile runs it, which captures graphs when it is called."""
    before = len(backend.reports())
    module = torch.compile(built.module, backend="moka")
    return replace(built, module=module), lambda: backend.reports()[before:]


WAYS = {"delegate": delegated, "compile": compiled}


def varying(steps: Sequence[Inputs]) -> dict[str, dict[int, Any]]:
    """By input the dimensions whose sizes vary over the steps; those of the same sizes in every step are one."""
    found: dict[str, dict[int, Any]] = {name: {} for name in steps[0]}
    for name, first in steps[0].items():
        for axis in range(first.dim()):
            sizes = [step[name].shape[axis] for step in steps]
            if len(set(sizes)) > 1:
                found[name][axis] = torch.export.Dim("_".join(["size", *map(str, sizes)]), min=min(sizes), max=max(sizes))
    return found


def measure(network: Network, way: str, repeat: int = 5) -> dict[str, Any]:
    """The measured fields of a `Result`; raises what PyTorch and Moka raise."""
    built = network.build()
    expected = outputs_of(built)
    require_telling(network.name, expected)
    with empty_cache():
        start = time.perf_counter()
        fast, reports = WAYS[way](network.build())  # a fresh one: a decoder's cache has been written to
        found = outputs_of(fast)
        seconds = time.perf_counter() - start
        turns = [[median_milliseconds(call, 1) for call in (fast, built)] for _ in range(repeat)]
        milliseconds, pytorch = map(median, zip(*turns, strict=True))
        return {
            "error": max(relative_error(*pair) for pair in zip(found, expected, strict=True)),
            **totals(reports()),
            "seconds": seconds,
            "milliseconds": milliseconds,
            "pytorch_milliseconds": pytorch,
        }


def totals(reports: Sequence[DelegationReport]) -> dict[str, Any]:
    """What the reports on a network's graphs say together."""
    return {
        "graphs": len(reports),
        "partitions": sum(report.partitions for report in reports),
        "share_of_flops": min((report.share_of_flops for report in reports), default=0.0),
        "share_of_nodes": min((report.share_of_nodes for report in reports), default=0.0),
        "kept": dict(Counter(node.reason for report in reports for node in report if node.reason)),
    }


@contextmanager
def empty_cache() -> Iterator[None]:
    """Lets Moka start with nothing converted, and leaves the user's own cache as it is."""
    before = os.environ.get("MOKA_CACHE")
    with tempfile.TemporaryDirectory(prefix="moka_zoo_") as folder:
        os.environ["MOKA_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("MOKA_CACHE")
            os.environ.update({} if before is None else {"MOKA_CACHE": before})


def visit(network: Network, way: str) -> Result:
    """Sends one network one way; never raises, and leaves nothing in memory."""
    with progress.status(f"{network.name}: {way}"):
        measured = attempt(way, lambda: measure(network, way))
    torch._dynamo.reset()
    gc.collect()
    result = Result(network.name, way, **(measured if isinstance(measured, dict) else {"failure": measured}))
    progress.print(f"{mark(result)} {network.name} {way}")
    return result


def mark(result: Result) -> str:
    return "[green]✓[/]" if result.passed else "[red]✗[/]"


def show(results: list[Result]) -> None:
    """All results as a table, and below it what stays in PyTorch and every failure in full."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("", "network", "way"):
        table.add_column(column, no_wrap=True)
    for column in ("error", "parts", "FLOPs", "nodes", "s", "Moka", "PyTorch"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        table.add_row(mark(result), result.network, result.way, *cells(result))
    console = Console()
    console.print(table)
    console.print(f"error: largest difference / PyTorch's largest output, at most {TOLERANCE:.0e}")
    console.print("parts: Core ML models; FLOPs, nodes: the share of them in Core ML")
    console.print("s: until all steps have run once, nothing cached; Moka, PyTorch: ms, all steps")
    for result in results:
        for reason, count in (result.kept or {}).items():
            console.print(f"{result.network} {result.way}: {count} nodes stay in PyTorch: {escape(reason)}")
        if result.failure:
            console.print(f"{result.network} {escape(result.failure)}", style="red")


def cells(result: Result) -> list[str]:
    forms = {"error": ".1e", "partitions": "d", "share_of_flops": ".1%", "share_of_nodes": ".1%"}
    times = {"seconds": ".1f", "milliseconds": ".1f", "pytorch_milliseconds": ".1f"}
    return [number(getattr(result, field), form) for field, form in (forms | times).items()]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Let well-known PyTorch networks run with Core ML, and check them against PyTorch.")
    parser.add_argument("--list", action="store_true", help="print the networks and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ZOO, default=list(ZOO), help="these networks")
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS), help="moka.pytorch.delegate, torch.compile, or both")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(arguments)


def main(argv: list[str] | None = None) -> int:
    """0 when every network gives PyTorch's outputs; 1 otherwise."""
    arguments = parse(argv)
    if arguments.list:
        list_networks(arguments.json)
        return 0
    quiet()
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # of PyTorch's own code
    results = [visit(ZOO[name], way) for name in arguments.only for way in arguments.way]
    return finish(results, arguments.json, show)


if __name__ == "__main__":
    raise SystemExit(main())
