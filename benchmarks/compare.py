"""Moka beside PyTorch, torch.compile, ONNX Runtime, OpenVINO, LiteRT and ncnn on the networks of the zoo.

    python benchmarks/compare.py --models mobilenet_v2 vit_b16 --rounds 20 --json build/times.json --plot docs/performance.svg

In every round each engine has one turn, in an order that moves on from round to round: one call that is not timed, so that the one
before it has gone quiet, then a few that are. Ratios are those of turns of one round, so that what else the machine does enters both.
Every engine's outputs are compared with PyTorch's. With ``--fresh`` each engine also loads every network in a process of its own, which
gives the time that loading takes and the memory. Engines that are not installed are skipped, with a mark.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python benchmarks/compare.py` finds the zoo

import torch
from benchmarks.peers import PEERS, Case, Peer, Run
from examples.networks import ZOO

import moka

BEST_OF = ("onnxruntime", "openvino")
"""The engines whose better one Moka is measured by."""

FIVE = ("mobilenet_v2", "resnet_50", "vit_b16", "distilbert", "whisper_tiny_encoder")
MARKS = ("<!-- compare.py -->", "<!-- end -->")
TURN = 0.15
"""Seconds that a turn's timed calls take about; one call at least, 20 at most."""


@dataclass
class Times:
    """What one engine took for one network: seconds of each turn (the median of its calls), and what `fresh` measured."""

    engine: str
    precision: str
    error: float
    turns: list[float] = field(default_factory=list)
    fresh: dict[str, float] = field(default_factory=dict)


@dataclass
class Comparison:
    """One network with all engines that ran it."""

    network: str
    flops: float
    engines: dict[str, Times] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def ratios(self, engine: str, others: Sequence[str]) -> list[float]:
        """Of every round: the engine's time by that of the one of the others that is the fastest by its median."""
        known = [self.engines[name] for name in others if name in self.engines]
        if engine not in self.engines or not known:
            return []
        best = min(known, key=lambda item: statistics.median(item.turns))
        return [ours / theirs for ours, theirs in zip(self.engines[engine].turns, best.turns, strict=True)]


# Measuring


def compare(case: Case, engines: Sequence[str], rounds: int) -> Comparison:
    """Runs engines in turns; one that fails is skipped, with its reason."""
    found = Comparison(case.network.name, flops(case))
    running: dict[str, tuple[Run, int]] = {}
    for name in engines:
        try:
            run = start(case, PEERS[name])
            found.engines[name] = Times(name, PEERS[name].precision, relative_error(run(), case.expected))
            running[name] = run, max(1, min(20, int(TURN / seconds(run, 2))))
        except Exception as error:
            found.skipped[name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    names = list(running)
    for index in range(rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            run, calls = running[name]
            run()
            found.engines[name].turns.append(seconds(run, calls))
    return found


def start(case: Case, peer: Peer) -> Run:
    if not peer.is_installed:
        raise ModuleNotFoundError(f"not installed: {', '.join(peer.packages)}")
    peer.prepare(case)
    return peer.load(case, case.inputs)


def seconds(run: Run, calls: int) -> float:
    """The median of some calls."""
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def relative_error(found: Sequence[Any], expected: Sequence[np.ndarray[Any, Any]]) -> float:
    """The largest difference divided by the largest output, the worst over the outputs."""
    return max(
        float(np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(found, expected, strict=True)
    )


def flops(case: Case) -> float:
    """Arithmetic operations of one prediction, as Moka's plan counts them."""
    plan = moka.plan(case.package("fp32"))
    return sum(placement.work.flops for placement in plan.placements if not placement.within)


def peak(threads: int, size: int = 2048, runs: int = 5) -> float:
    """Arithmetic operations a second of PyTorch's product of two square matrices: the fastest of some runs."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / min(times)


# A process of its own


def fresh(case: Case, engine: str) -> dict[str, float]:
    """Seconds to load and for the first call, and the memory that both took, in a process that has nothing else."""
    PEERS[engine].prepare(case)
    call = [sys.executable, __file__, "--alone", engine, "--models", case.network.name, "--folder", str(case.folder)]
    call += ["--samples", str(case.samples), "--threads", str(case.threads)]
    output = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def alone(case: Case, engine: str, samples: Path) -> dict[str, float]:
    """What `fresh` asks of the new process. Imports are not counted: every engine's are done before."""
    for package in PEERS[engine].packages:
        __import__(package)
    PEERS[engine].imports()
    inputs = dict(np.load(samples))
    gc.collect()
    before = resident("VmRSS")
    begin, busy = time.perf_counter(), time.process_time()
    run = PEERS[engine].load(case, inputs)
    loaded, used = time.perf_counter(), time.process_time()
    run()
    first = time.perf_counter()
    return {
        "load": loaded - begin,
        "load_cpu": used - busy,
        "first": first - loaded,
        "memory": resident("VmRSS") - before,
        "peak_memory": resident("VmHWM") - before,
    }


def resident(name: str) -> float:
    """A figure of this process's memory in MB, as the system states it; 0 where it doesn't."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{name}:")), 0.0)


# Saying


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75]) if values else [float("nan")] * 3
    return float(low), float(middle), float(high)


def geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


def table(found: Sequence[Comparison], limit: float) -> str:
    """Markdown: one line for each network and engine; ratios are Moka's time by the engine's, below 1 where Moka is faster."""
    lines = [
        "| network | engine | ms (quartiles) | Moka's time by it (quartiles) | of the peak | error | load s | first call s | memory MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(item, times, limit) for item in found for times in item.engines.values()]
    return "\n".join(lines)


def _line(item: Comparison, times: Times, limit: float) -> str:
    low, middle, high = (1e3 * value for value in quartiles(times.turns))
    moka_name = "moka" if times.precision == "fp32" else "moka-bf16"
    ratios = [] if times.engine == moka_name else item.ratios(moka_name, [times.engine])
    ratio = "{1:.2f} ({0:.2f} to {2:.2f})".format(*quartiles(ratios)) if ratios else ""
    share = f"{item.flops / middle * 1e3 / limit:.0%}" if times.precision == "fp32" else ""
    alone = [f"{times.fresh[key]:.{digits}f}" if times.fresh else "" for key, digits in (("load", 2), ("first", 2), ("peak_memory", 0))]
    cells = [item.network, times.engine, f"{middle:.1f} ({low:.1f} to {high:.1f})", ratio, share, f"{times.error:.0e}", *alone]
    return "| " + " | ".join(cells) + " |"


def summary(found: Sequence[Comparison]) -> list[str]:
    """What is aimed at: Moka's time by that of the better of the two runtimes, for each network and in all."""
    lines = []
    for ours, others in (("moka", BEST_OF), ("moka-bf16", ("openvino-bf16",))):
        medians = {}
        for item in found:
            if ratios := item.ratios(ours, others):
                medians[item.network] = quartiles(ratios)
        if medians:
            each = ", ".join(f"{name} {middle:.3f} ({low:.3f} to {high:.3f})" for name, (low, middle, high) in medians.items())
            mean = geometric_mean(middle for _, middle, _ in medians.values())
            lines.append(f"{ours} by the better of {', '.join(others)}: geometric mean {mean:.3f}; {each}")
    return lines


def circumstances(threads: int, limit: float) -> dict[str, Any]:
    """What the figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"moka": moka.__version__}
    for name in ("torch", "onnxruntime", "openvino", "ai-edge-litert", "ncnn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    instructions = torch.backends.cpu.get_cpu_capability()
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()} {instructions}",
        "threads": threads,
        "peak": limit,
        "load": load,
        "versions": versions,
    }


def write_page(path: Path, found: Sequence[Comparison], around: dict[str, Any]) -> None:
    """Puts the table and what it was measured under between the page's two marks.

    Raises:
        ValueError: the page has not both marks.
    """
    before, start, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise ValueError(f"{path}: expected the marks {MARKS[0]} and {MARKS[1]}")
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    figures = f"{around['threads']} threads of {around['machine']}; {around['peak'] / 1e9:.0f} GFLOP/s measured in the run"
    head = f"{figures}; load average {around['load']:.1f}; {around['rounds']} rounds; {versions}."
    lines = [head, "", table(found, around["peak"]), "", *(f"- {line}" for line in summary(found))]
    path.write_text("\n".join([before + start, *lines, end + after]), encoding="utf-8")


def plot(found: Sequence[Comparison], path: Path) -> None:
    """Bars of every engine's time by Moka's; the error bars are quartiles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    engines = [name for name in PEERS if name != "moka" and PEERS[name].precision == "fp32" and any(name in c.engines for c in found)]
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    width = 0.8 / max(1, len(engines))
    for index, engine in enumerate(engines):
        spread = [quartiles([1 / ratio for ratio in item.ratios("moka", [engine])]) for item in found]
        places = [number + (index - (len(engines) - 1) / 2) * width for number in range(len(found))]
        middles = [middle for _, middle, _ in spread]
        errors = [[middle - low for low, middle, _ in spread], [high - middle for _, middle, high in spread]]
        axes.bar(places, middles, width, yerr=errors, label=engine, error_kw={"linewidth": 0.8})
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(found)), [item.network for item in found])
    axes.set_yscale("log")
    axes.set_yticks([0.8, 1, 1.5, 2, 3, 5], ["0.8", "1", "1.5", "2", "3", "5"])
    axes.minorticks_off()
    axes.set_ylabel("time by Moka's (Moka = 1)")
    axes.legend(ncols=len(engines), fontsize="small", frameon=False, loc="upper right")
    figure.savefig(path)
    pyplot.close(figure)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=ZOO, default=list(FIVE), metavar="NAME", help="networks of the zoo")
    parser.add_argument("--engines", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/zoo"), help="of packages and exports, kept between runs")
    parser.add_argument("--fresh", action="store_true", help="measure loading and memory, too, in a process for each engine")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--plot", type=Path, help="file for a plot, such as an .svg")
    parser.add_argument("--page", type=Path, help="Markdown page whose table is to be replaced: docs/performance.md")
    parser.add_argument("--alone", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    torch.set_num_threads(options.threads)
    cases = [Case(ZOO[name], options.folder, options.threads) for name in options.models]
    if options.alone:
        print(json.dumps(alone(cases[0], options.alone, options.samples)))
        return 0
    limit = peak(options.threads)
    found = []
    for case in cases:
        found.append(compare(case, options.engines, options.rounds))
        if options.fresh:
            for times in found[-1].engines.values():
                times.fresh = fresh(case, times.engine)
        print(table(found[-1:], limit), *summary(found[-1:]), *(f"{n}: skipped, {why}" for n, why in found[-1].skipped.items()), sep="\n")
        limit = max(limit, peak(options.threads))
        gc.collect()
    around = {"rounds": options.rounds, **circumstances(options.threads, limit)}
    print(json.dumps(around), table(found, limit), *summary(found), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({"circumstances": around, "networks": [asdict(item) for item in found]}, indent=1) + "\n")
    if options.page:
        write_page(options.page, found, around)
    if options.plot:
        plot(found, options.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
