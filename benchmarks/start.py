"""Time from starting Python to the first result, imports included, beside ONNX Runtime and OpenVINO on an export of the same network.

    python benchmarks/start.py [--models mobilenet_v2] [--rounds 7]

Every start is a process of its own, in turns; the rows with imports alone say what part of it they are. Python's compiled files are kept
in a folder of their own, so that they are there whatever the environment says.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python benchmarks/start.py` finds the zoo

from benchmarks.peers import Case
from examples.networks import ZOO

IMPORTS = {"imports of torch": "import numpy, torch", "imports of openvino": "import numpy, openvino"}
ENGINES = {
    "moka": "import moka; moka.load(r'{package}', threads={threads}).predict(data)",
    "onnxruntime": (
        "import onnxruntime as o; s = o.SessionOptions(); s.intra_op_num_threads = {threads}; "
        "o.InferenceSession(r'{export}', s, providers=['CPUExecutionProvider']).run(None, data)"
    ),
    "openvino": (
        "import openvino; openvino.Core().compile_model(r'{export}', 'CPU', "
        "{{'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': '{threads}'}})(data)"
    ),
}


def codes(case: Case) -> dict[str, str]:
    """What each process runs."""
    paths = {"package": case.package("fp32").resolve(), "export": case.export.resolve(), "threads": case.threads}
    data = f"import numpy; data = dict(numpy.load(r'{case.samples.resolve()}')); "
    return IMPORTS | {engine: data + code.format(**paths) for engine, code in ENGINES.items()}


def seconds(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds on the clock, and of processors."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=ZOO, default=["mobilenet_v2"], metavar="NAME", help="networks of the zoo")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/zoo"), help="of packages and exports, kept between runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = kept | {"PYTHONPYCACHEPREFIX": folder}
        for name in options.models:
            found = codes(Case(ZOO[name], options.folder, options.threads))
            times: dict[str, list[tuple[float, float]]] = {code: [] for code in found}
            for number in range(options.rounds + 1):  # the first one only writes the compiled files
                for code, measured in times.items():
                    took = seconds(found[code], environment)
                    measured += [took] if number else []
            for code, measured in times.items():
                wall, used = (statistics.median(values) for values in zip(*measured, strict=True))
                print(f"{name:22} {code:20} {wall:6.2f} s   {used:6.2f} processor seconds")


if __name__ == "__main__":
    main()
