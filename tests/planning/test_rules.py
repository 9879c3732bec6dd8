"""What is known of Apple's devices: tables with sources, rules that find what they are about, and estimates near published ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from moka.errors import InputError
from moka.formats import dtypes
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import DictionaryType, TensorType
from moka.planning.apple import apple_candidates, model_notes
from moka.planning.devices import accelerators, apple_chip, apple_names, coreml_speed, device_names, engine_speed, processor_speed
from moka.planning.planner import Request, make_plan
from moka.planning.rules import Reason, Situation, rules
from moka.planning.sizes import Sizes
from moka.planning.tables import table
from tests.ir.programs import operation
from tests.planning.programs import chain, state, tensor, weight

FP16, INT32 = dtypes.FP16, dtypes.INT32


def half(*shape: Any) -> TensorType:
    return tensor(*shape, dtype=FP16)


def found(made: Operation, device: str = "iPhone 14 Pro", unit: str = "neural_engine", **situation: Any) -> dict[str, Reason]:
    """What the rules have against an operation, by rule."""
    known = Situation(apple_chip(device)[1], Sizes(), **situation)
    reasons = (rule.find(made, known) for rule in rules(unit))
    return {reason.rule: reason for reason in reasons if reason is not None}


def simple(kind: str = "relu", type: Any = None, **inputs: Any) -> Operation:
    type = type or half(1, 8, 4, 4)
    return operation(kind, "y", type=type, **(inputs or {"x": Value("x", type)}))


def convolution(width: int) -> Operation:
    made = simple("conv")
    made.inputs["weight"] = (weight(8, 8, 1, width),)
    return made


def attention(length: int) -> Operation:
    return simple(
        "scaled_dot_product_attention",
        half(1, 8, length, 64),
        **{name: Value(name, half(1, 8, length, 64)) for name in ("query", "key", "value")},
    )


def masked(number: float) -> Operation:
    made = simple("add")
    made.inputs["y"] = (Constant(half(1), np.array([number], np.float16)),)
    return made


def compressed() -> Operation:
    made = convolution(1)
    dense = Operation("constexpr_affine_dequantize", attributes={"quantized_data": Constant(TensorType(dtypes.INT8, (8, 8, 1, 1)))})
    dense.outputs = [Value("w", half(8, 8, 1, 1), dense)]
    made.inputs["weight"] = (dense.outputs[0],)
    return made


def kept(size: int) -> Operation:
    return simple("read_state", half(1, size), input=state("cache", 1, size))


LABELS = DictionaryType(TensorType(dtypes.STRING, ()), TensorType(dtypes.FP32, ()))

CASES = [
    ("data-type", simple(type=tensor(2, 2)), simple(), {}),
    ("data-type", simple("gather", x=Value("x", half(4)), indices=Value("i", tensor(2, dtype=INT32))), simple(), {}),
    (
        "data-type",
        simple("gather", x=Value("x", half(4)), indices=Value("i", tensor(2, dtype=INT32))),
        simple(type=tensor(2, 2)),
        {"half": True},
    ),
    ("rank", simple(type=half(1, 2, 3, 4, 5, 6)), simple(type=half(1, 2, 3, 4, 5)), {}),
    ("static-shape", simple(type=half(1, None)), simple(), {"shapes": None}),
    ("static-shape", simple(type=half(1, None)), simple(), {"shapes": 129}),
    ("size-of-axes", simple(type=half(1, 8, 16385, 2)), simple(type=half(1, 16385, 8, 2)), {"device": "iPhone 13"}),
    ("size-of-axes", simple(type=half(1, 65537, 8, 2)), simple(type=half(1, 8, 16385, 2)), {"device": "iPhone 14 Pro"}),
    ("size-of-axes", simple(type=half(1, 8, 16385, 2)), simple(type=half(1, 8, 16384, 2)), {"device": "M3 Max"}),
    ("kernel-width", convolution(17), convolution(16), {}),
    ("kernel-width", convolution(14), convolution(13), {"device": "MacBook Air (M1)"}),
    ("no-path", simple("scatter_nd"), simple("gather_nd"), {}),
    ("recurrence", simple("lstm"), simple("linear"), {}),
    ("control-flow", simple("while_loop"), simple("select"), {}),
    ("from-a15-and-m2", simple("topk"), simple("reduce_argmax"), {"device": "iPhone 12"}),
    ("from-a17-and-m3", simple("sin"), simple("topk"), {}),
    ("state-size", kept(33), kept(64), {}),
    ("fused-attention", attention(4), simple("softmax"), {}),
    ("worth-of-attention", attention(256), attention(512), {}),
    ("last-axis-of-one", simple(type=half(1, 8, 1)), simple(type=half(8, 1, 8)), {}),
    ("large-numbers", masked(-np.inf), masked(-1e4), {}),
    ("compressed-weights", compressed(), convolution(1), {}),
    ("on-chip-memory", simple(type=half(1, 32, 1024, 1024)), simple(type=half(1, 8, 1024, 1024)), {}),
    ("host-values", operation("classify", "label", type=LABELS, probabilities=Value("p", half(3))), simple(), {}),
    ("host-values", operation("classify", "label", type=LABELS, probabilities=Value("p", half(3))), simple(), {"unit": "gpu"}),
    ("custom-layer", simple("nn_custom"), simple(), {}),
]


@pytest.mark.parametrize(("rule", "against", "fine", "situation"), CASES, ids=[f"{case[0]}-{index}" for index, case in enumerate(CASES)])
def test_a_rule_finds_what_it_is_about_and_nothing_else(rule: str, against: Operation, fine: Operation, situation: Any) -> None:
    reason = found(against, **situation)[rule]
    assert reason.source
    assert reason.change
    assert rule not in found(fine, **situation)


def test_every_rule_has_a_case() -> None:
    assert {(rule.name, unit) for unit in ("neural_engine", "gpu") for rule in rules(unit)} == {
        (name, situation.get("unit", "neural_engine")) for name, _, _, situation in CASES
    }


def test_enumerated_shapes_are_as_good_as_fixed_ones() -> None:
    assert found(simple(type=half(1, None)), shapes=128) == {}


def test_newer_chips_have_newer_paths() -> None:
    for device, kinds in {"A14": (), "M2": ("topk",), "A16": ("topk",), "iPhone 15 Pro": ("topk", "sin"), "M4": ("topk", "sin")}.items():
        assert tuple(kind for kind in ("topk", "sin") if not found(simple(kind), device)) == kinds


def test_what_sources_disagree_on_says_so_with_both_readings() -> None:
    disputed = {rule.name: rule for rule in rules("neural_engine") if rule.readings}
    assert set(disputed) == {"fused-attention", "compressed-weights", "on-chip-memory"}
    for rule in disputed.values():
        assert rule.confidence == "low"
        assert rule.follows in rule.readings
        assert len(rule.readings) > 1
    reason = found(attention(4))["fused-attention"]
    assert all(name in reason.source for name in disputed["fused-attention"].readings)


def test_a_gigabyte_is_too_much_for_a_phone() -> None:
    assert [reason.rule for reason in model_notes("iPhone 15 Pro", 2**30 + 1)] == ["model-size"]
    assert model_notes("iPhone 15 Pro", 2**30) == model_notes("MacBook Air (M4)", 2**31) == ()


def figures(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "value" in node:
            yield node
        for item in node.values():
            yield from figures(item)


@pytest.mark.parametrize("name", ["apple", "devices"])
def test_every_figure_has_a_source_and_a_confidence(name: str) -> None:
    entries = list(figures(table(name)))
    assert len(entries) > 50
    for entry in entries:
        assert set(entry) == {"value", "source", "confidence"}
        assert entry["source"] in table(name)["sources"]
        assert entry["confidence"] in ("high", "medium", "low")
        assert entry["value"] >= 0
    assert {entry["source"] for entry in entries} == set(table(name)["sources"])


def test_every_chip_can_be_planned_for() -> None:
    chips = {name for name in apple_names() if name.split()[0][1:].isdigit() and " " not in name.removesuffix(" Pro").removesuffix(" Max")}
    assert {"A14", "A15", "A16", "A17 Pro", "A18", "A18 Pro", "M1", "M2", "M3", "M4"} <= chips
    for name in apple_names():
        _, chip = apple_chip(name)
        for unit in ("neural_engine", "gpu", "cpu"):
            speed = coreml_speed(chip, unit, {})
            assert speed.peak["fp16"] > 1e12
            assert 1e10 < speed.weights < 1e12


@pytest.mark.parametrize(
    ("name", "proper", "chip"),
    [
        ("iPhone 15 Pro", "iPhone 15 Pro", "A17 Pro"),
        ("iphone15pro", "iPhone 15 Pro", "A17 Pro"),
        ("Apple iPhone 12 mini", "iPhone 12 mini", "A14"),
        ("iPhone 16e", "iPhone 16e", "A18"),
        ("m2 ultra", "M2 Ultra", "M2 Ultra"),
        ("macbook air m3", "MacBook Air (M3)", "M3"),
        ("Apple Vision Pro", "Apple Vision Pro", "M2"),
        ("Apple TV 4K (3rd generation)", "Apple TV 4K (3rd generation)", "A15"),
        ("Apple M4", "M4", "M4"),
    ],
)
def test_products_are_known_by_name(name: str, proper: str, chip: str) -> None:
    found_name, found_chip = apple_chip(name)
    assert (found_name, found_chip.name) == (proper, chip)


def test_unknown_devices_list_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"'iPhone 15 Por' is not known \(did you mean 'iPhone 15 Pro'\?\); known are A14, .*NVIDIA H100"
    ) as caught:
        apple_chip("iPhone 15 Por")
    assert all(name in str(caught.value) for name in device_names())


def test_speeds_of_other_devices() -> None:
    assert engine_speed("torch", "NVIDIA H100 80GB HBM3", "cuda").peak["fp16"] == 989e12
    assert engine_speed("torch", "some other GPU", "cuda").peak["fp32"] == engine_speed("torch", "cuda", "cuda").peak["fp32"]
    assert set(accelerators()) <= set(device_names())
    one, two = (processor_speed("openvino", "AVX512", threads) for threads in (1, 2))
    assert two.peak["fp32"] == 2 * one.peak["fp32"]
    assert processor_speed("openvino", "AVX512", 1, low_precision=True).peak["fp16"] == 2 * one.peak["fp32"]


def test_compute_units_choose_the_candidates() -> None:
    chip = apple_chip("A16")[1]
    devices = {
        units: [item.device for item in apple_candidates(chip, units, Sizes())]
        for units in ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
    }
    assert devices == {
        "ALL": ["neural_engine", "gpu", "cpu"],
        "CPU_AND_NE": ["neural_engine", "cpu"],
        "CPU_AND_GPU": ["gpu", "cpu"],
        "CPU_ONLY": ["cpu"],
    }


def test_a_modelled_plan_says_why_and_what_to_change() -> None:
    made = make_plan(
        chain("relu", "sin", type=half(1, 512, 64, 64)), apple_candidates(apple_chip("A16")[1], "ALL", Sizes()), Request("m", "A16", True)
    )
    (reason,) = made["sin_1"].options[0].reasons
    assert (reason.rule, reason.confidence) == ("from-a17-and-m3", "medium")
    assert reason.text.startswith("sin: ")
    assert made["relu_0"].supported[0].device == "neural_engine"
    assert made.modelled
    assert {item.confidence for item in made.figures} == {"high", "medium", "low"}


def test_a_network_is_computed_in_half_precision() -> None:
    made = chain("relu", type=tensor(1, 64, 128, 128))
    chip = apple_chip("A16")[1]
    for network, device in ((True, "neural_engine"), (False, "gpu")):
        options = make_plan(made, apple_candidates(chip, "ALL", Sizes(), network=network), Request("m", "A16", True))["relu_0"].supported
        assert options[0].device == device
