"""Plans of models: for this machine, for others, measured, saved, pinned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from moka.engines.hybrid import HybridExecutable
from moka.engines.torch_engine import TorchExecutable
from moka.models.configuration import Configuration
from moka.models.machine import backends, engines_of
from moka.models.planned import planned
from moka.models.program_model import ProgramModel
from moka.planning.plan import Plan
from moka.planning.planner import segments_of
from tests.builders import convert, traced


class Network(torch.nn.Module):
    """A convolution, what only some engines run, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.linear = torch.nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    module = torch.jit.trace(Network().eval(), torch.rand(1, 3, 32, 32))
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT16, "minimum_deployment_target": ct.target.iOS17}
    inputs = [ct.TensorType("x", (1, 3, 32, 32), dtype=np.float16)]
    return convert(module, folder / "network.mlpackage", inputs=inputs, outputs=[ct.TensorType("y", dtype=np.float16)], **options)


@pytest.fixture(scope="module")
def flexible(folder: Path) -> Path:
    """y = softmax(x W) for x [n, 8], n from 1 to 64."""
    weight = torch.rand(8, 4)
    module = traced(lambda x: torch.softmax(x @ weight, dim=-1), torch.rand(3, 8))
    shape = ct.Shape((ct.RangeDim(1, 64, default=2), 8))
    return convert(module, folder / "flexible.mlpackage", inputs=[ct.TensorType("x", shape)], outputs=[ct.TensorType("y")])


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    module = torch.jit.trace(Network().eval(), torch.rand(1, 3, 32, 32))
    model = ct.convert(module, convert_to="neuralnetwork", inputs=[ct.TensorType("x", (1, 3, 32, 32))], skip_model_load=True)
    model.save(str(folder / "network.mlmodel"))
    return folder / "network.mlmodel"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOKA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_plan_covers_every_operation_but_constants(package: Path) -> None:
    model = moka.load(package)
    made = model.plan()
    operations = [item.name for item in model.program.functions["main"].body.operations if item.type != "const"]  # type: ignore[attr-defined]
    assert [item.operation for item in made.own_placements] == operations
    assert sorted(name for segment in made.segments for name in segment.operations) == sorted(operations)
    assert all(item.supported for item in made.placements)
    assert not made.modelled
    assert made.exact
    assert made.device.startswith("this machine (")


def test_pytorch_can_run_everything(package: Path) -> None:
    made = moka.plan(package)
    assert all(("torch", "cpu") in [(option.engine, option.device) for option in item.supported] for item in made.placements)


def test_an_engine_that_was_asked_for_runs_all_it_can(package: Path) -> None:
    for engine in ("torch", "onnxruntime"):
        made = moka.load(package, engine=engine).plan()  # type: ignore[arg-type]
        assert {item.engine for item in made.placements} == {engine}
    assert made.placements[0].options[-1].reasons[0].text == "engine 'onnxruntime' was asked for, and can run it"


def test_rounding_as_devices_do_is_pytorchs(package: Path) -> None:
    assert {item.engine for item in moka.load(package, numerics="device").plan().placements} == {"torch"}


def test_an_engine_that_is_not_installed_is_named_with_what_to_install(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moka.models.machine._is_installed", lambda package: package != "openvino")
    made = moka.plan(package)
    assert [(item.engine, item.install) for item in made.missing] == [("openvino", "pip install openvino")]
    assert "openvino" not in {option.engine for item in made.placements for option in item.options}
    assert "pip install openvino" in str(made)


def test_a_graphics_card_is_planned_for_where_it_is_allowed_and_present(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moka.load(package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *ignored: "NVIDIA H200")
    for units, allowed in {"ALL": True, "CPU_AND_GPU": True, "CPU_ONLY": False, "CPU_AND_NE": False}.items():
        devices = {option.device for item in model.plan(compute_units=units).placements for option in item.options}
        assert ("cuda" in devices) == allowed, units


def test_segments_of_a_plan_compute_what_the_model_does(package: Path) -> None:
    model = moka.load(package, engine="torch")
    assert isinstance(model, ProgramModel)
    function = planned(model, {}).function
    pins = {item.operation: ("torch" if item.type == "relu" else "onnxruntime", "cpu") for item in model.plan().placements}
    mixed = moka.load(package).plan(pins=pins)
    assert [item.engine for item in mixed.segments] == ["onnxruntime", "torch", "onnxruntime"]
    engines = engines_of(backends(Configuration()))
    runner = HybridExecutable([(engines[key], segment) for key, segment in segments_of(function, mixed)], function.outputs)
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32).astype(np.float16)
    np.testing.assert_allclose(np.asarray(runner.run({"x": x})["y"]), model.predict({"x": x})["y"], rtol=2e-2, atol=2e-3)


def test_pins_come_from_a_saved_plan(package: Path, tmp_path: Path) -> None:
    made = moka.load(package, engine="torch").plan()
    (tmp_path / "plan.json").write_text(made.to_json())
    again = moka.load(package).plan(pins=moka.load_plan(tmp_path / "plan.json"))
    assert {item.engine for item in again.placements} == {"torch"}
    assert again.pinned


def test_a_model_runs_as_a_saved_plan_says(package: Path, tmp_path: Path) -> None:
    pins = {item.operation: ("torch" if item.type == "relu" else "onnxruntime", "cpu") for item in moka.plan(package).placements}
    (tmp_path / "plan.json").write_text(moka.plan(package, pins=pins).to_json())
    model = moka.load(package, plan=tmp_path / "plan.json")
    assert isinstance(model, ProgramModel)
    assert isinstance(model.executable, HybridExecutable)
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32).astype(np.float16)
    expected = moka.load(package, engine="torch").predict({"x": x})["y"]
    np.testing.assert_allclose(model.predict({"x": x})["y"], expected, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(("factor", "threads"), [(1, 1), (1e6, 0)], ids=["short", "long"])
def test_pytorch_runs_short_segments_between_others_on_one_thread(package: Path, factor: float, threads: int) -> None:
    made = moka.plan(package)
    pins = {item.operation: ("torch" if item.type == "relu" else "onnxruntime", "cpu") for item in made.placements}
    mixed = moka.plan(package, pins=pins)
    mixed = dataclasses.replace(mixed, placements=tuple(dataclasses.replace(p, seconds=p.seconds * factor) for p in mixed.placements))
    model = moka.load(package, plan=mixed)
    assert isinstance(model, ProgramModel)
    assert isinstance(model.executable, HybridExecutable)
    between = model.executable.stages[1].executable
    assert isinstance(between, TorchExecutable)
    assert between.threads == threads


def test_flexible_inputs_have_their_default_shape_or_a_given_one(flexible: Path) -> None:
    model = moka.load(flexible)
    softmax = {rows: next(item for item in model.plan(shapes=shapes).placements if item.type == "softmax") for rows, shapes in
               ((2, None), (5, {"x": (5, 8)}))}  # fmt: skip
    assert {rows: item.work.flops for rows, item in softmax.items()} == {2: 5 * 8, 5: 5 * 20}
    assert all(item.work.exact for item in softmax.values())
    with pytest.raises(moka.InputError, match=r"shape of 'x' is \[65, 8\]"):
        model.plan(shapes={"x": (65, 8)})
    with pytest.raises(moka.InputError, match="'z'"):
        model.plan(shapes={"z": (1,)})


def test_open_shapes_keep_a_model_off_the_neural_engine(flexible: Path) -> None:
    made = moka.plan(flexible, device="iPhone 15 Pro")
    (softmax,) = [item for item in made.placements if item.type == "softmax"]
    (reason,) = [item for item in softmax.options[0].reasons if item.rule == "static-shape"]
    assert "EnumeratedShapes" in reason.change


def test_a_network_answers_by_layer(network: Path) -> None:
    made = moka.plan(network)
    layers = [f"layer {layer.name!r} ({layer.WhichOneof('layer')})" for layer in ct.utils.load_spec(str(network)).neuralNetwork.layers]
    assert list(made.layers()) == layers
    assert sum(item.share for item in made.layers().values()) <= 1 + 1e-9


def test_a_network_runs_on_the_neural_engine_in_half_precision(network: Path) -> None:
    assert {option.device for item in moka.plan(network, "A16").placements for option in item.supported} == {"neural_engine", "gpu", "cpu"}


def test_other_devices_are_modelled(package: Path) -> None:
    phone = moka.plan(package, "iPhone 15 Pro")
    assert phone.modelled
    assert phone.device == "iPhone 15 Pro (A17 Pro)"
    assert "modelled" in str(phone).splitlines()[0]
    assert phone.placements[0].supported[0].device == "neural_engine"
    assert {option.device for item in moka.plan(package, "M4", compute_units="CPU_AND_GPU").placements for option in item.options} == {
        "gpu",
        "cpu",
    }
    assert {option.device for item in moka.plan(package, "NVIDIA T4").placements for option in item.options} == {"cuda", "cpu"}
    with pytest.raises(moka.InputError, match="known are"):
        moka.plan(package, "Nokia 3310")


@pytest.mark.parametrize(("units", "device"), [("ALL", "cuda"), ("CPU_ONLY", "cpu")])
def test_modelled_graphics_cards_are_used_where_they_are_allowed(package: Path, units: str, device: str) -> None:
    made = moka.plan(package, "NVIDIA H100", compute_units=units)
    assert {option.device for placement in made.placements for option in placement.options} == {"cpu", device}


def test_measured_plans_keep_their_times(package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moka.load(package)
    made = model.plan(measure=True)
    assert made.measured
    assert {(item.engine, item.device) for item in made.alternatives} >= {("torch", "cpu")}
    assert all(item.measured and item.measured > 0 for item in made.alternatives)
    assert all(segment.measured for segment in made.segments)
    assert made.estimate.low <= made.estimate.seconds <= made.estimate.high
    assert made.estimate.seconds <= 3 * min(item.measured or 0 for item in made.alternatives)
    assert list(cache.rglob("times.json"))

    def fail(*ignored: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("moka.models.measure._Tester._time", fail)
    assert moka.load(package).plan(measure=True) == made


def test_an_engine_that_fails_is_left_out_with_what_it_said(package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moka.engines.onnx.ort import OnnxRuntimeEngine

    def fail(self: Any, segment: Any) -> Any:
        raise moka.ExecutionError("out of luck")

    monkeypatch.setattr(OnnxRuntimeEngine, "compile", fail)
    made = moka.load(package).plan(measure=True)
    (failed,) = [item for item in made.alternatives if item.engine == "onnxruntime"]
    assert (failed.measured, failed.failure) == (None, "out of luck")
    assert "onnxruntime" not in {item.engine for item in made.placements}


def test_only_this_machine_can_be_measured(package: Path) -> None:
    with pytest.raises(moka.UnsupportedError, match="not this machine"):
        moka.plan(package, "A16", measure=True)


def test_pipelines_are_planned_stage_by_stage(corpus: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel"
    if not path.exists():
        pytest.skip("the pipeline is not among the real models")
    made = moka.plan(path, "M2")
    network, neighbors = made.stages.values()
    assert network.placements
    assert neighbors.notes[0].text == "models of kind kNearestNeighborsClassifier run as a whole, on the CPU"
    assert made.estimate.seconds == network.estimate.seconds
    assert Plan.from_json(made.to_json()) == made


def test_every_real_model_can_be_planned(corpus: Path) -> None:
    paths = [
        path for place in ("models/*", "pairs/*/*") for path in sorted(corpus.glob(place)) if path.suffix in (".mlmodel", ".mlpackage")
    ]
    planned_models = 0
    for path in paths:
        try:
            model = moka.load(path)
        except moka.MokaError:
            continue  # what loads is the concern of other tests
        for device in (None, "iPhone 12"):
            made = model.plan(device)
            assert Plan.from_json(made.to_json()) == made, path
            assert made == model.plan(device), path
            for plan in made.stages.values() or [made]:
                covered = sorted(name for segment in plan.segments for name in segment.operations)
                assert covered == sorted(item.operation for item in plan.own_placements), path
        planned_models += 1
    assert planned_models > 10


def test_plans_have_no_state_of_their_own(package: Path) -> None:
    made = moka.plan(package)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.model = "another"  # type: ignore[misc]
