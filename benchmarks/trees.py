"""Rows a second through 500 boosted trees of depth 6: Moka, ONNX Runtime and XGBoost on the same trees, in turns, in one process.

python benchmarks/trees.py [--rounds 15] [--threads 1]

The times are for calls as a user makes them: Moka's `predict` takes and gives dicts, ONNX Runtime and XGBoost (``inplace_predict``) take
a float32 matrix. ``--threads`` is for all three; it should be the number of processors that nothing else uses. Printed are the medians of
the wall clock, and beside them those of the processor's time, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

FEATURES = 28
BATCHES = (1, 100, 10_000)


def data(rows: int) -> tuple[Any, Any]:
    """Numbers with a class that depends on several of them at once, so that the trees grow to their full depth."""
    import numpy as np

    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(rows, FEATURES)).astype(np.float32)
    return matrix, (matrix[:, 0] * matrix[:, 1] + np.sin(3 * matrix[:, 2]) + matrix[:, 3] > 0).astype(int)


def moka_model(booster: Any, folder: Path) -> Any:
    """The booster as a Core ML model with one multi-array as input, loaded with Moka."""
    import coremltools as ct

    import moka

    names = [f"f{index}" for index in range(FEATURES)]
    model = ct.converters.xgboost.convert(booster.copy(), names, mode="classifier", n_classes=2)
    specification = model.get_spec()
    del specification.description.input[:]
    feature = specification.description.input.add(name="x")
    feature.type.multiArrayType.shape.append(FEATURES)
    feature.type.multiArrayType.dataType = ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    path = folder / "trees.mlmodel"
    path.write_bytes(specification.SerializeToString())
    return moka.load(path)


def onnx_session(booster: Any, threads: int) -> Any:
    """The booster's trees as ONNX Runtime's operator for them."""
    import onnxruntime
    from onnx import TensorProto, helper

    table = booster.trees_to_dataframe()
    leaf = table.Feature == "Leaf"
    inner = table.where(~leaf)
    child = {name: inner[name].map(lambda key: int(key.split("-")[1]) if isinstance(key, str) else 0).tolist() for name in ("Yes", "No")}
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["X"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=table.Tree.tolist(),
        nodes_nodeids=table.Node.tolist(),
        nodes_featureids=inner.Feature.map(lambda name: int(name[1:]) if isinstance(name, str) else 0).tolist(),
        nodes_values=inner.Split.fillna(0.0).tolist(),
        nodes_modes=["LEAF" if ends else "BRANCH_LT" for ends in leaf],
        nodes_truenodeids=child["Yes"],
        nodes_falsenodeids=child["No"],
        nodes_missing_value_tracks_true=(inner.Missing == inner.Yes).astype(int).tolist(),
        class_treeids=table.Tree[leaf].tolist(),
        class_nodeids=table.Node[leaf].tolist(),
        class_ids=[1] * int(leaf.sum()),
        class_weights=table.Gain[leaf].tolist(),
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])]
    graph = helper.make_graph([node], "trees", inputs, outputs)
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(calls: dict[str, Callable[[], Any]], rounds: int, repeats: int) -> dict[str, tuple[float, float]]:
    """(median of wall time, median of processor time) in seconds for one call, ``repeats`` of each in a row, in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                call()
            times[name].append(((time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats))
    return {
        name: (statistics.median(item[0] for item in taken), statistics.median(item[1] for item in taken)) for name, taken in times.items()
    }


def check(calls: dict[str, Callable[[], Any]]) -> None:
    """All three give the same probabilities."""
    import numpy as np

    results = {name: call() for name, call in calls.items()}
    moka = np.array([item["classProbability"][1] for item in results["moka"]])
    for other in (results["onnxruntime"][1][:, 1], results["xgboost"]):
        if not np.allclose(moka, other, atol=1e-5):
            raise SystemExit(f"results differ by {np.abs(moka - other).max()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    warnings.simplefilter("ignore")
    import xgboost

    matrix, labels = data(20_000)
    booster = xgboost.XGBClassifier(n_estimators=500, max_depth=6, learning_rate=0.1, base_score=0.5).fit(matrix, labels).get_booster()
    booster.feature_names = [f"f{index}" for index in range(FEATURES)]
    booster.set_param({"nthread": options.threads})
    with tempfile.TemporaryDirectory() as folder:
        model = moka_model(booster, Path(folder))
    session = onnx_session(booster, options.threads)
    for size in BATCHES:
        rows = matrix[:size]
        dicts = [{"x": row} for row in rows]
        calls: dict[str, Callable[[], Any]] = {
            "moka": lambda dicts=dicts: model.predict(dicts),  # type: ignore[misc]
            "onnxruntime": lambda rows=rows: session.run(None, {"X": rows}),  # type: ignore[misc]
            "xgboost": lambda rows=rows: booster.inplace_predict(rows),  # type: ignore[misc]
        }
        check(calls)
        taken = measure(calls, options.rounds, max(1, 1000 // size))
        for name, (wall, processor) in taken.items():
            ratios = [taken["moka"][0] / wall, taken["moka"][1] / processor]
            print(
                f"batch {size:6}  {name:12} {size / wall:12,.0f} rows/s   {1e6 * wall:12,.1f} us a call   {1e6 * processor:12,.1f} us CPU"
                f"   Moka takes {ratios[0]:.2f} x as long, {ratios[1]:.2f} x the CPU"
            )


if __name__ == "__main__":
    main()
