"""Plans of small programs, with engines that are only said to be there."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import subprocess
import sys
from typing import Any

import pytest

from moka.errors import FormatError, InputError
from moka.formats import dtypes
from moka.ir.program import Block, Function, Value
from moka.ir.types import ListType, TensorType
from moka.planning.plan import Missing, Plan
from moka.planning.planner import Candidate, Request, make_plan, most_used, segments_of
from moka.planning.rules import Reason
from tests.ir.programs import const, function, operation
from tests.planning.programs import candidate, chain, state, tensor

SLOW = {"peak": {"fp32": 1e6}}


def plan(made: Function, *candidates: Candidate, **request: Any) -> Plan:
    return make_plan(made, candidates, Request("model", "here", **request))


def places(made: Plan) -> list[str]:
    return [item.engine for item in made.own_placements]


def test_the_faster_engine_runs_all_it_can() -> None:
    made = plan(chain("relu", "exp", "relu"), candidate("fast"), candidate("slow", **SLOW))
    assert places(made) == ["fast"] * 3
    assert [(item.engine, item.operations) for item in made.segments] == [("fast", ("relu_0", "exp_1", "relu_2"))]


def test_what_it_refuses_goes_elsewhere_with_the_reason() -> None:
    made = plan(chain("relu", "sin", "relu"), candidate("fast", refuses={"sin": "no sine"}), candidate("slow", **SLOW), margin=0.0)
    assert places(made) == ["fast", "slow", "fast"]
    assert made["sin_1"].options[0].reasons == (Reason("no sine"),)
    assert [option.engine for option in made["sin_1"].supported] == ["slow"]
    assert [(item.takes[0].value, item.gives[0].value) for item in made.segments] == [
        ("x", "relu_0"),
        ("relu_0", "sin_1"),
        ("sin_1", "relu_2"),
    ]
    assert made.segments[1].takes[0].bytes == 4 * 8 * 4


def test_a_model_is_not_torn_into_fragments() -> None:
    """Each operation alone is a little faster on the GPU; going there and back costs more."""
    gpu = candidate("gpu", "gpu", refuses={"sin": "no sine"}, peak={"fp32": 1.1e9}, transfer=1e9, latency=1e-3)
    made = plan(chain("relu", "sin", "relu", "sin", "relu"), gpu, candidate("cpu"))
    assert places(made) == ["cpu"] * 5
    assert len(made.segments) == 1


def test_large_work_moves_to_the_faster_device() -> None:
    gpu = candidate("gpu", "gpu", refuses={"sin": "no sine"}, peak={"fp32": 1e12}, passing=1e12, transfer=1e9, latency=1e-9)
    made = plan(chain(*["relu"] * 20, "sin"), gpu, candidate("cpu"), margin=0.0)
    assert places(made) == ["gpu"] * 20 + ["cpu"]
    assert made.segments[0].transfer_seconds == pytest.approx(4 * 8 * 4 / 1e9, rel=0.01)


def test_costs_are_those_of_the_roofline() -> None:
    made = plan(chain("exp"), candidate("here", peak={"fp32": 1e9}, passing=4e9, launch=1e-3, step=1e-6))
    bytes_moved = 2 * 4 * 8 * 4
    assert made["exp_0"].seconds == pytest.approx(max(32 / 1e9, bytes_moved / 4e9) + 1e-6)
    assert made.estimate.seconds == pytest.approx(made["exp_0"].seconds + 1e-3)
    assert made.estimate.low < made.estimate.seconds < made.estimate.high
    assert made.totals() == {"flops": 32, "bytes": bytes_moved, "weights": 0, "stored": 0}


def test_shares_add_up_to_one() -> None:
    made = plan(chain("relu", "softmax", "exp"), candidate("fast", refuses={"exp": "no"}), candidate("slow", **SLOW))
    assert sum(made.shares().values()) == pytest.approx(1)
    assert list(made.shares().values()) == sorted(made.shares().values(), reverse=True)


def stateful() -> Function:
    """reads a state, takes the sine, writes it back."""
    held = state("cache", 2, 4)
    kind = tensor(2, 4, dtype=dtypes.FP16)
    read = operation("read_state", "before", type=kind, input=held)
    sine = operation("sin", "after", type=kind, x=read)
    write = operation("write_state", input=held, data=sine)
    again = operation("read_state", "y", type=kind, input=held)
    return function([held], [read, sine, write, again], [again], "CoreML8")


def test_operations_on_a_state_stay_together() -> None:
    fast = candidate("fast", refuses={"write_state": "no states"})
    made = plan(stateful(), fast, candidate("slow", **SLOW), margin=0.0)
    assert [item.engine for item in made.placements if item.type.endswith("state")] == ["slow"] * 3


def test_states_that_no_engine_can_keep_are_noted() -> None:
    one, other = candidate("one", refuses={"write_state": "no"}), candidate("other", refuses={"read_state": "no"})
    made = plan(stateful(), one, other)
    assert any("share a state" in str(note) for note in made.notes)


def test_lists_stay_together() -> None:
    kind = ListType(tensor(2))
    x = Value("x", tensor(2))
    empty = operation("make_list", "ls", type=kind)
    full = operation("list_write", "more", type=kind, ls=empty, value=x, index=const("index", 0))
    first = operation("list_read", "y", type=tensor(2), ls=full, index=full.inputs["index"][0])
    made = function([x], [full.inputs["index"][0].producer, empty, full, first], [first])  # type: ignore[union-attr,list-item]
    found = plan(made, candidate("fast", refuses={"list_read": "no lists"}), candidate("slow", **SLOW), margin=0.0)
    assert found["more"].engine == found["y"].engine == "slow"


def condition() -> Function:
    flag, x = Value("flag", TensorType(dtypes.BOOL, ())), Value("x", tensor(4))
    inside = operation("sin", "inside", type=tensor(4), x=x)
    other = operation("relu", "other", type=tensor(4), x=x)
    blocks = [Block([], [inside], [inside.outputs[0]]), Block([], [other], [other.outputs[0]])]
    chosen = operation("cond", "y", type=tensor(4), blocks=blocks, pred=flag)
    return function([flag, x], [chosen], [chosen])


def test_blocks_go_with_their_operation() -> None:
    made = plan(condition(), candidate("fast", refuses={"sin": "no sine"}), candidate("slow", **SLOW))
    assert [(item.operation, item.within, item.engine) for item in made.placements] == [
        ("inside", "y", "slow"),
        ("other", "y", "slow"),
        ("y", "", "slow"),
    ]
    assert [option.reasons for option in made["y"].options] == [(Reason("no sine"),), ()]
    assert [len(item.operations) for item in made.segments] == [1]


def test_what_nothing_can_run_is_said_and_cut_into_no_segments() -> None:
    made = plan(chain("relu", "sin"), candidate("only", refuses={"sin": "no sine"}))
    assert places(made) == ["only", ""]
    assert made.segments == ()
    assert "'sin_1'" in str(made.notes[0])


def test_constants_are_not_placed() -> None:
    x = Value("x", tensor(2, 3))
    two = const("two", 2.0)
    four = operation("mul", "four", type=TensorType(dtypes.FP32, ()), x=two, y=two)
    made = function([x], [two, four, operation("mul", "y", type=tensor(2, 3), x=x, y=four)], [])
    made.body.outputs = [made.body.operations[-1].outputs[0]]
    assert [item.operation for item in plan(made, candidate("here")).placements] == ["y"]


def test_pins_are_followed_and_the_rest_is_planned_around_them() -> None:
    made = plan(chain("relu", "exp", "relu"), candidate("fast"), candidate("slow", **SLOW), pins={"exp_1": ("slow", "cpu")})
    assert places(made) == ["fast", "slow", "fast"]
    assert made.pinned
    again = plan(chain("relu", "exp", "relu"), candidate("fast"), candidate("slow", **SLOW), pins=made.pins())
    assert places(again) == places(made)


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"nothing": ("fast", "cpu")}, "'nothing'.*no such operation"),
        ({"sin_0": ("fast", "gpu")}, "fast on gpu is none of fast on cpu"),
        ({"sin_0": ("fast", "cpu")}, "fast on cpu can't run it: no sine"),
    ],
)
def test_pins_that_do_not_fit_are_refused(pins: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(chain("sin"), candidate("fast", refuses={"sin": "no sine"}), candidate("slow"), pins=pins)


def test_segments_of_a_plan_are_what_it_says() -> None:
    made = chain("relu", "sin", "relu")
    found = plan(made, candidate("fast", refuses={"sin": "no sine"}), candidate("slow", **SLOW), margin=0.0)
    segments = segments_of(made, found)
    assert [(key, tuple(item.name for item in segment.operations)) for key, segment in segments] == [
        ((item.engine, item.device), item.operations) for item in found.segments
    ]
    with pytest.raises(InputError, match="other operations"):
        segments_of(chain("relu", "sin"), found)


def test_a_plan_costs_no_more_than_any_other_by_its_own_count() -> None:
    """The estimate of the plan, against those of every pinned one, where nothing is shared between operations far apart."""
    numbers = random.Random(7)
    kinds = [numbers.choice(["relu", "sin", "softmax", "exp"]) for _ in range(5)]
    fast = candidate("fast", "gpu", refuses={"sin": "no"}, peak={"fp32": 4e9}, passing=4e9, transfer=2e9, latency=1e-8, launch=1e-8)
    slow = candidate("slow", launch=2e-8)
    best = plan(chain(*kinds), fast, slow, margin=0.0).estimate.seconds
    for choice in itertools.product([("fast", "gpu"), ("slow", "cpu")], repeat=len(kinds)):
        pins = {f"{kind}_{index}": key for index, (kind, key) in enumerate(zip(kinds, choice, strict=True))}
        if all(key[0] == "slow" or kind != "sin" for kind, key in zip(kinds, choice, strict=True)):
            assert best <= plan(chain(*kinds), fast, slow, pins=pins, margin=0.0).estimate.seconds * (1 + 1e-9)


def mixed() -> Plan:
    missing = (Missing("other", ("cpu", "gpu"), "pip install other"),)
    note = Reason("large", "model-size", "Apple", "high", "compress it")
    return plan(condition(), candidate("fast", refuses={"sin": "no sine"}), candidate("slow", **SLOW), missing=missing, notes=(note,))


def test_what_is_used_most_is_what_the_plan_uses_most() -> None:
    made = chain("relu", "exp", "sin", "relu")
    some = candidate("some", refuses={"sin": "no sine", "exp": "no exponential"}, peak={"fp32": 1e12})
    rest, request = candidate("rest", **SLOW), Request("model", "here", margin=0.0)
    for both in ([some, rest], [rest, some]):
        names = places(make_plan(made, both, request))
        assert most_used(made, both, request) == (max(dict.fromkeys(names), key=names.count), "cpu")
    assert most_used(Function("empty", [], "ios15", Block()), [some], request) is None


def test_the_same_input_gives_the_same_plan() -> None:
    assert mixed() == mixed()
    assert mixed().to_json() == mixed().to_json()


def test_plans_come_back_from_json_as_they_were() -> None:
    made = dataclasses.replace(mixed(), stages={"first": mixed()})
    assert Plan.from_json(made.to_json()) == made
    assert json.loads(made.to_json())["version"] == 1


def changed(**changes: Any) -> str:
    return json.dumps(mixed().to_dict() | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "is no plan"),
        (json.dumps({"format": "moka plan", "version": 2}), "has version 2"),
        (changed(placements=None), "file.json: placements: is None; expected list"),
        (changed(placements=[1]), r"file.json: placements\[0\]: is 1; expected dict"),
        (changed(modelled="yes"), "modelled: is 'yes'; expected bool"),
        (changed(estimate={"seconds": "1"}), "estimate: lacks the field 'low'"),
        (changed(more=1), "file.json: has the field 'more'"),
        (changed(stages=[]), "stages is"),
        (
            changed(notes=[{"text": "a", "confidence": "very"}]),
            r"notes\[0\].confidence: is 'very'; expected one of 'high', 'medium', 'low', ''",
        ),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Plan.from_json(text, "file.json")


def test_layers_of_a_network_run_where_their_operations_do() -> None:
    made = chain("relu", "sin", "exp")
    for item, origin in zip(made.body.operations, ("layer 'a' (add)", "layer 'a' (add)", "layer 'b' (unary)"), strict=True):
        item.origin = origin
    gpu = candidate("fast", "gpu", refuses={"sin": "no sine"}, peak={"fp32": 1e12}, passing=1e12)
    layers = plan(made, gpu, candidate("slow", **SLOW), margin=0.0).layers()
    assert (layers["layer 'a' (add)"].devices, layers["layer 'a' (add)"].supported) == (("cpu", "gpu"), ("cpu",))
    assert (layers["layer 'b' (unary)"].devices, layers["layer 'b' (unary)"].supported) == (("gpu",), ("gpu", "cpu"))


def test_measured_speeds_replace_modelled_ones() -> None:
    two = [candidate("fast"), candidate("slow", **SLOW)]
    assert places(plan(chain("relu"), *two)) == ["fast"]
    found = plan(chain("relu"), *two, measured={("fast", "cpu"): 1e6})
    assert places(found) == ["slow"]
    assert found.measured


def test_the_text_says_what_matters() -> None:
    text = str(mixed())
    for part in ("plan for here", "Segments", "slow", "no sine", "pip install other", "compress it", "high confidence"):
        assert part in text
    assert "modelled" not in text
    assert str(dataclasses.replace(mixed(), modelled=True)).splitlines()[0].count("modelled plan") == 1


def test_the_room_imports_neither_torch_nor_engines() -> None:
    modules = "moka.planning.planner, moka.planning.apple, moka.planning.render"
    code = f"import sys, {modules}; print([name for name in ('torch', 'onnx', 'rich') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
