"""What the runtimes' own profilers say of the nodes of their graphs, as times of the program's operations."""

from __future__ import annotations

import bisect
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from moka.engines.onnx.graph import OF_OPERATION
from moka.engines.onnx.lower import Lowered
from moka.engines.onnx.owners import Node, Owners
from moka.engines.times import SegmentTimes, absorbed, durations, own_operations, traceless_before, typical

__all__ = ["name_after_operations", "openvino_times", "ort_times"]

_WARMUP = 2
_WITH_BLOCKS = ("Loop", "If", "Scan")
_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class _Nodes:
    """Seconds of nodes in a run: (name, kind of operator, seconds), with the operations that a node computes beside its own."""

    seconds: list[tuple[str, str, float]]
    owners: Mapping[str, str]
    computed: Mapping[str, Sequence[str]]
    profiled: float


def _times(lowered: Lowered, place: tuple[str, str], runs: tuple[float, ...], nodes: _Nodes) -> SegmentTimes:
    own = own_operations(lowered.segment)
    operations: dict[str, float] = defaultdict(float)
    other: Counter[str] = Counter()
    for name, kind, seconds in nodes.seconds:
        owner = nodes.owners.get(name)
        if owner is None:
            other[kind] += seconds  # type: ignore[assignment]  # mypy knows counters of whole numbers only
        else:
            operations[owner] += seconds
    fused = absorbed(own, operations) | {
        part: owner
        for name, parts in nodes.computed.items()
        if (owner := nodes.owners.get(name)) in operations
        for part in parts
        if part not in operations
    }
    names = tuple(operation.name for operation in own)
    return SegmentTimes(*place, names, runs, nodes.profiled, dict(operations), fused, {kind: other[kind] for kind in other if other[kind]})


# ONNX Runtime


def ort_times(
    lowered: Lowered, start: Callable[[Path], Any], run: Callable[[Any], object], device: str, runs: tuple[float, ...]
) -> SegmentTimes:
    """Runs as often as ``runs`` has entries in a session that traces its nodes.

    Args:
        start: makes a session that writes its trace and its optimized graph, ``model.onnx``, into a folder.
        run: runs it once.
    """
    with tempfile.TemporaryDirectory(prefix="moka-profile-") as folder:
        session = start(Path(folder))
        graph = onnx.load(Path(folder) / "model.onnx", load_external_data=False).graph
        for _ in range(_WARMUP):
            run(session)
        whole = durations(lambda: run(session), len(runs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    owners = Owners(lowered).of([Node(node.name, tuple(node.input), tuple(node.output)) for node in graph.node])
    rounds = _by_run(events, len(runs))
    keys = list(dict.fromkeys(key for found in rounds for key in found))
    means = typical([[found.get(key, 0.0) for key in keys] for found in rounds])
    seconds = [(*key, mean) for key, mean in zip(keys, means, strict=True)]
    (profiled,) = typical([[item] for item in whole])
    return _times(lowered, ("onnxruntime", device), runs, _Nodes(seconds, owners, {}, profiled))


def _by_run(events: Sequence[Mapping[str, Any]], runs: int) -> list[dict[tuple[str, str], float]]:
    """Seconds of each node of the outermost graph, by name and operator, in each of the last runs."""
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")[-runs:]
    found: list[dict[tuple[str, str], float]] = [defaultdict(float) for _ in starts]
    for event in _outermost([event for event in events if event["cat"] == "Node" and event["name"].endswith(_KERNEL)]):
        run = bisect.bisect_right(starts, event["ts"]) - 1
        if run >= 0:
            found[run][event["name"].removesuffix(_KERNEL), event["args"].get("op_name", "")] += event["dur"] * 1e-6
    return found


def _outermost(events: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Events without those of nested graphs, which happen while the node that they are in runs."""
    end = 0.0
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= end:
            yield event
            if event["args"].get("op_name") in _WITH_BLOCKS:
                end = event["ts"] + event["dur"]


# OpenVINO


def name_after_operations(network: Any, lowered: Lowered) -> None:
    """Gives nodes without an operation's name, which the import of ONNX adds, the name of the operation that they are part of."""
    owners = Owners(lowered)
    nodes = [node for node in network.get_ordered_ops() if node.get_type_name() not in ("Constant", "Parameter", "Result")]
    found = owners.of([_node(node) for node in nodes])
    for node in nodes:
        name = node.get_friendly_name()
        if name in found and owners.named(name) is None:
            node.set_friendly_name(f"{found[name]}{OF_OPERATION}{name}")


def _node(node: Any) -> Node:
    """A node of OpenVINO's with its ports as values, since not all of those have names."""
    takes = [_port(value.get_source_output()) for value in node.inputs()]
    gives = [name for value in node.outputs() for name in (*sorted(value.get_names()), _port(value))]
    return Node(node.get_friendly_name(), tuple(takes), tuple(gives))


def _port(value: Any) -> str:
    return f"{value.get_node().get_friendly_name()} output {value.get_index()}"


def openvino_times(
    lowered: Lowered, compiled: Any, request: Any, run: Callable[[], object], device: str, runs: tuple[float, ...]
) -> SegmentTimes:
    """Runs as often as ``runs`` has entries, in the request of a model compiled with counters and named after operations.

    The counters count whole microseconds.
    """
    durations(run, _WARMUP)
    before = _counters(request)
    whole = durations(run, len(runs))
    after = _counters(request)
    if device == "CPU":  # its counters are means of all runs so far
        first, last = _WARMUP, _WARMUP + len(runs)
        after = {key: max(0.0, (seconds * last - before.get(key, 0.0) * first) / len(runs)) for key, seconds in after.items()}
    found, computed = _owners_and_parts(lowered, compiled.get_runtime_model().get_ordered_ops())
    seconds = [(name, kind, value) for (name, kind), value in after.items() if name in computed and (name in found or value)]
    return _times(lowered, ("openvino", device.lower()), runs, _Nodes(seconds, found, computed, sum(whole) / len(whole)))


def _owners_and_parts(lowered: Lowered, nodes: Sequence[Any]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The operation of each node of OpenVINO's graph, and all operations that it computes, as far as their names are left.

    A node that has lost all names computes what else the operation after it takes.
    """
    owners = Owners(lowered)
    computed = {node.get_friendly_name(): owners.all_named(_original_names(node)) for node in nodes}
    found = {name: owner for name, parts in computed.items() if (owner := owners.named(name) or next(iter(parts), None))}
    traced = {*found.values(), *(part for parts in computed.values() for part in parts)}
    following = owners.of([_node(node) for node in nodes])
    own = own_operations(lowered.segment)
    for name in computed.keys() - found.keys():
        if name in following and (lost := traceless_before(own, following[name], traced)):
            found[name] = lost
    return found, computed


def _counters(request: Any) -> dict[tuple[str, str], float]:
    return {(item.node_name, item.node_type): item.real_time.total_seconds() for item in request.profiling_info}


def _original_names(node: Any) -> list[str]:
    stated = dict(node.get_rt_info().items()).get("originalLayersNames", "")
    return str(getattr(stated, "value", stated)).split(",")
