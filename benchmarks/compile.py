"""Compiling a package with 1 GB of weights beside copying it with ``cp``: times in turns, their ratio, and the memory of both.

    python benchmarks/compile.py [--megabytes 1024] [--runs 5] [--folder FOLDER]

Each run is a process of its own, from its start to its end, so that Moka's time has Python's start and the imports in it; ``moka.compile``
is the time of the function alone, in a process that has compiled a small package before. Before each run the target is removed and the
disk is left to finish writing; the source is in the system's page cache. Peak memory is the largest resident set that the system
counted for the process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WARM = """
import sys, time, moka
small, source, target = sys.argv[1:]
moka.compile(small, target)
start = time.perf_counter()
moka.compile(source, target)
print(time.perf_counter() - start)
"""


def build(folder: Path, megabytes: int) -> Path:
    """A package: y = x + w for each of some large constants w."""
    import numpy as np

    from moka.formats import dtypes, schema
    from moka.formats.mlpackage import write_package
    from moka.formats.weights import WeightWriter

    size = 16 * 2**20 // 4
    values = np.random.default_rng(0).standard_normal(size, np.float32)
    with WeightWriter(folder / "weight.bin") as writer:
        offsets = [writer.write(values + index, dtypes.FP32) for index in range(megabytes // 16)]
    model = schema.model().Model(specificationVersion=6)
    for features, name in ((model.description.input, "x0"), (model.description.output, f"x{len(offsets)}")):
        array = features.add(name=name).type.multiArrayType
        array.shape.append(size)
        array.dataType = 65568
    tensor = schema.mil().ValueType()
    tensor.tensorType.dataType, tensor.tensorType.rank = dtypes.FP32.mil, 1
    tensor.tensorType.dimensions.add().constant.size = size
    model.mlProgram.version = 1
    function = model.mlProgram.functions["main"]
    function.opset = "CoreML5"
    function.inputs.add(name="x0", type=tensor)
    block = function.block_specializations["CoreML5"]
    block.outputs.append(f"x{len(offsets)}")
    for index, offset in enumerate(offsets):
        constant, addition = block.operations.add(type="const"), block.operations.add(type="add")
        constant.outputs.add(name=f"w{index}", type=tensor)
        value = constant.attributes["val"]
        value.type.CopyFrom(tensor)
        value.blobFileValue.fileName, value.blobFileValue.offset = "@model_path/weights/weight.bin", offset
        addition.inputs["x"].arguments.add(name=f"x{index}")
        addition.inputs["y"].arguments.add(name=f"w{index}")
        addition.outputs.add(name=f"x{index + 1}", type=tensor)
    write_package(folder / "Large.mlpackage", model, {"weight.bin": folder / "weight.bin"})
    (folder / "weight.bin").unlink()
    return folder / "Large.mlpackage"


def measured(command: Sequence[object]) -> tuple[float, float]:
    """Seconds from start to end of a process, or those that it prints, and its largest resident set in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit status {process.returncode}")
    seconds = time.perf_counter() - start
    return float(printed) if printed.replace(".", "").isdigit() else seconds, usage.ru_maxrss / 1024


def build_apart(folder: Path, megabytes: int) -> Path:
    """The package, built by another process: one that is started has its parent's resident set to begin with."""
    code = f"import pathlib, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import compile; "
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", f"{code}print(compile.build(pathlib.Path({str(folder)!r}), {megabytes}))"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "Large.mlpackage"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="where source and targets are written; by default the system's folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        small, source = build_apart(Path(name) / "small", 16), build_apart(Path(name) / "large", options.megabytes)
        target = Path(name) / "target"
        ways = {
            "cp -r": ["cp", "-r", source, target],
            "moka compile": [Path(sys.executable).with_name("moka"), "compile", source, target],
            "moka.compile": [sys.executable, "-c", WARM, small, source, target],
        }
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(options.runs + 1):
            for way, command in ways.items():
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()
                os.sync()
                result = measured(command)
                if turn:  # the first one warms up
                    found[way].append(result)
    report(found, options.megabytes)


def report(found: dict[str, list[tuple[float, float]]], megabytes: int) -> None:
    print(f"package with {megabytes} MB of weights, {len(found['cp -r'])} runs in turns")
    copying = statistics.median(seconds for seconds, _ in found["cp -r"])
    for way, results in found.items():
        times, peak = [seconds for seconds, _ in results], max(memory for _, memory in results)
        median = statistics.median(times)
        print(f"{way:13} median {median:.3f} s ({min(times):.3f} to {max(times):.3f}), {median / copying:.2f} x cp, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
