"""Loading a model of 100 MB of weights with Moka, beside ONNX Runtime and OpenVINO loading the same one as an ONNX file, in turns.

    python benchmarks/load.py [--megabytes 100] [--rounds 7]

Each load happens in a process of its own that has done its imports, and is followed by one prediction. The files are in the system's
cache, since each is read once before. Anonymous memory is what the process doesn't share with the files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python benchmarks/load.py` finds its neighbour

from benchmarks.memory import LAYERS, build, figures

ENGINES = ("moka", "onnxruntime", "openvino")


def export(package: Path, path: Path) -> Path:
    """The package's chain of linear layers as an ONNX file with its weights inside, written with ONNX's own helpers."""
    import onnx
    from onnx import helper, numpy_helper

    import moka

    program = moka.load(package, engine="torch").program  # type: ignore[attr-defined]
    weights = [np.asarray(item.attributes["val"].value) for item in program.functions["main"].body.operations if item.type == "const"]
    assert len(weights) == LAYERS
    size = weights[0].shape[0]
    names = ["x", *(f"y{index}" for index in range(LAYERS))]
    nodes = [helper.make_node("Gemm", [names[index], f"w{index}"], [names[index + 1]], transB=1) for index in range(LAYERS)]
    ends = [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, [1, size]) for end in (names[0], names[-1])]
    constants = [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def load(engine: str, path: Path, threads: int) -> Callable[[Any], Any]:
    """The model as a function of its input."""
    if engine == "moka":
        import moka

        model = moka.load(path, threads=threads)
        return lambda x: next(iter(model.predict({"x": x}).values()))
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})[0]
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda x: compiled(x)[0]


def measure(engine: str, path: Path, size: int, threads: int) -> dict[str, float]:
    """Seconds and memory of loading and of the first prediction, and what it gave, in this process."""
    __import__({"moka": "moka.models.program_model"}.get(engine, engine))
    if engine == "moka":  # what the first load would import
        __import__("moka.engines.onnx.openvino")
        __import__("openvino")
        __import__("onnxruntime")
    x = np.ones((1, size), np.float32)
    before = figures()[0]
    begin, busy = time.perf_counter(), time.process_time()
    run = load(engine, path, threads)
    loaded, used = time.perf_counter(), time.process_time()
    result = run(x)
    first = time.perf_counter()
    return {
        "load": loaded - begin,
        "load_cpu": used - busy,
        "first": first - loaded,
        "anonymous": figures()[0] - before,
        "result": float(np.asarray(result).ravel()[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "PATH", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        engine, path, size = options.one
        print(json.dumps(measure(engine, Path(path), int(size), options.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        package = build(Path(folder), options.megabytes, "fp32")
        found = rounds(package, export(package, Path(folder) / "big.onnx"), options)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def rounds(package: Path, exported: Path, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What each engine measured in each round; the first round only warms the system's cache."""
    import onnx

    size = onnx.load(exported, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
    for number in range(options.rounds + 1):
        for engine, times in found.items():
            path = package if engine == "moka" else exported
            call = [sys.executable, __file__, "--one", engine, str(path), str(size), "--threads", str(options.threads)]
            output = subprocess.run(call, check=True, capture_output=True, text=True).stdout
            times += [json.loads(output.splitlines()[-1])] if number else []
    return found


def report(found: dict[str, list[dict[str, float]]]) -> None:
    for engine, times in found.items():
        spread = {key: np.percentile([item[key] for item in times], [25, 50, 75]) for key in times[0]}
        shown = [f"{key} {spread[key][1]:.3f} s ({spread[key][0]:.3f} to {spread[key][2]:.3f})" for key in ("load", "load_cpu", "first")]
        print(f"{engine:12}", *shown, f"anonymous {spread['anonymous'][1]:.0f} MiB, result {times[0]['result']:.4f}", sep="  ")
    for key in ("load", "load_cpu"):
        ratios = [ours[key] / theirs[key] for ours, theirs in zip(found["moka"], found["onnxruntime"], strict=True)]
        print(f"Moka's {key} by ONNX Runtime's: median {statistics.median(ratios):.2f} of {len(ratios)} rounds")


if __name__ == "__main__":
    main()
