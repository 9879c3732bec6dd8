"""Apple's own Core ML as an engine. Off macOS it is a stand-in below coremltools' own classes; the last tests run where Core ML is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from coremltools.models import compute_device, datatypes
from coremltools.models.compute_plan import (
    MLComputePlanCost,
    MLComputePlanDeviceUsage,
    MLModelStructure,
    MLModelStructureNeuralNetwork,
    MLModelStructureNeuralNetworkLayer,
    MLModelStructurePipeline,
    MLModelStructureProgram,
    MLModelStructureProgramBlock,
    MLModelStructureProgramFunction,
    MLModelStructureProgramNamedValueType,
    MLModelStructureProgramOperation,
    MLModelStructureProgramValueType,
)
from coremltools.models.neural_network import NeuralNetworkBuilder
from PIL import Image

import moka
from moka.cli import main
from moka.engines import core_ml
from tests import builders
from tests.builders import convert, traced
from tests.engines.core_ml_binding import Binding, binding

__all__ = ["binding"]

Bound = type[Binding]

PIXELS = np.random.default_rng(0).integers(0, 250, (4, 5, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("core_ml")


@pytest.fixture(scope="module")
def half(folder: Path) -> Path:
    """y = 2 x for x float16 [2, 3]."""
    module = traced(lambda x: x * 2, torch.zeros(2, 3))
    inputs, outputs = [ct.TensorType("x", (2, 3), dtype=np.float16)], [ct.TensorType("y", dtype=np.float16)]
    return convert(module, folder / "half.mlpackage", inputs=inputs, outputs=outputs, compute_precision=ct.precision.FLOAT16)


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    """y = relu(x) for x [3], a network whose blobs have five axes."""
    sizes = [("x", datatypes.Array(3))], [("y", datatypes.Array(3))]
    builder = NeuralNetworkBuilder(*sizes)
    builder.add_activation("relu", "RELU", "x", "y")
    ct.models.utils.save_spec(builder.spec, str(folder / "network.mlmodel"))
    return folder / "network.mlmodel"


def doubled(data: dict[str, Any]) -> dict[str, Any]:
    return {"y": (data["x"] * 2).astype(np.float16)}


def load(path: Path, **options: Any) -> moka.Model:
    return moka.load(path, engine="coreml", **options)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(3, 2).T,
        np.arange(6, dtype=np.float16)[::-1].reshape(2, 3),
        np.broadcast_to(np.float16(3), (2, 3)),
        torch.arange(6).reshape(2, 3),
        [[0, 1, 2], [3, 4, 5]],
    ],
    ids=["float16", "transposed", "reversed", "read only", "tensor", "list"],
)
def test_arrays_go_in_as_core_ml_takes_them_and_come_out_as_declared(binding: Bound, half: Path, value: Any) -> None:
    binding.compute = staticmethod(doubled)
    result = load(half).predict({"x": value})["y"]
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, 2 * np.asarray(value))
    assert binding.fed[0]["x"].dtype == np.float32


def test_core_ml_is_given_path_compute_units_and_no_function(binding: Bound, half: Path) -> None:
    load(half)
    load(half, compute_units="CPU_AND_NE")
    assert binding.loads == [(str(half), "ALL", "", {}, None), (str(half), "CPU_AND_NE", "", {}, None)]


def test_a_compiled_model_is_not_compiled_again(binding: Bound, half: Path, tmp_path: Path) -> None:
    binding.compute = staticmethod(doubled)
    compiled = moka.compile(half, tmp_path)
    model = load(compiled, compute_units="CPU_ONLY")
    np.testing.assert_array_equal(model.predict({"x": np.ones((2, 3))})["y"], np.full((2, 3), 2.0))
    assert binding.loads == [(str(compiled), "CPU_ONLY", "", {}, None)]


def test_functions_are_chosen_by_name(binding: Bound, folder: Path) -> None:
    parts = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("twice", 2.0), ("thrice", 3.0)):
        module = traced(lambda x, factor=factor: x * factor, torch.zeros(2))
        options = {"inputs": [ct.TensorType("x", (2,))], "outputs": [ct.TensorType("y")]}
        path = convert(module, folder / f"{name}.mlpackage", minimum_deployment_target=ct.target.iOS18, **options)
        parts.add_function(str(path), "main", name)
    parts.default_function_name = "thrice"
    ct.utils.save_multifunction(parts, str(folder / "functions.mlpackage"))
    load(folder / "functions.mlpackage", function="twice")
    load(folder / "functions.mlpackage")
    assert [item[2] for item in binding.loads] == ["twice", "thrice"]


@pytest.mark.parametrize(("layout", "mode"), [("RGB", "RGB"), ("BGR", "RGB"), ("GRAYSCALE", "L"), ("GRAYSCALE_FLOAT16", "F")])
def test_images_go_in_and_come_out_as_pil_images(binding: Bound, folder: Path, layout: str, mode: str) -> None:
    color = getattr(ct.colorlayout, layout)
    shape = (1, 3 if mode == "RGB" else 1, 4, 5)
    options: dict[str, Any] = {"inputs": [ct.ImageType("x", shape, color_layout=color)]}
    options["outputs"] = [ct.ImageType("y", color_layout=color)]
    options["compute_precision"] = ct.precision.FLOAT16
    path = convert(traced(lambda x: x + 1, torch.zeros(shape)), folder / f"{layout}.mlpackage", **options)
    binding.compute = staticmethod(lambda data: {"y": Image.fromarray(np.asarray(data["x"]) + np.asarray(data["x"]).dtype.type(1))})
    pixels = PIXELS if mode == "RGB" else PIXELS[:, :, 0].astype(np.float32 if mode == "F" else np.uint8)
    for value in (Image.fromarray(pixels), pixels):
        result = load(path).predict({"x": value})["y"]
        assert result.mode == mode
        np.testing.assert_array_equal(np.asarray(result), pixels + 1)
    np.testing.assert_array_equal(np.asarray(binding.fed[0]["x"]), pixels)
    assert binding.fed[0]["x"].mode == mode


def test_labels_and_probabilities(binding: Bound, folder: Path) -> None:
    module = traced(lambda x: torch.softmax(x, dim=1), torch.zeros(1, 2))
    labels = ct.ClassifierConfig(["cat", "dog"])
    path = convert(module, folder / "classifier.mlpackage", inputs=[ct.TensorType("x", (1, 2))], classifier_config=labels)
    model = load(path)
    binding.compute = staticmethod(lambda data: {model.function.predicted: "dog", model.function.probabilities: {"cat": 0.25, "dog": 0.75}})
    assert model.predict({"x": [[1, 2]]}) == {model.function.predicted: "dog", model.function.probabilities: {"cat": 0.25, "dog": 0.75}}


def test_an_optional_input_that_is_left_out_is_left_to_core_ml(binding: Bound, folder: Path) -> None:
    module = traced(lambda x, y: x + y, torch.zeros(2), torch.zeros(2))
    inputs = [ct.TensorType("x", (2,)), ct.TensorType("y", (2,), default_value=np.full(2, 3.0, np.float32))]
    path = convert(module, folder / "optional.mlpackage", inputs=inputs, outputs=[ct.TensorType("sum")])
    binding.compute = staticmethod(lambda data: {"sum": data["x"]})
    load(path).predict({"x": [1, 2]})
    assert list(binding.fed[0]) == ["x"]


def test_a_list_of_inputs_goes_as_one_batch(binding: Bound, half: Path) -> None:
    binding.compute = staticmethod(doubled)
    rows = load(half).predict([{"x": np.full((2, 3), number)} for number in range(4)])
    assert binding.batches == [4]
    assert [row["y"][0, 0] for row in rows] == [0, 2, 4, 6]
    assert {row["y"].dtype.name for row in rows} == {"float16"}


def test_threads_take_turns(binding: Bound, half: Path) -> None:
    binding.compute = staticmethod(doubled)
    model = load(half)

    def predict(number: int) -> bool:
        return bool((model.predict({"x": np.full((2, 3), number)})["y"] == 2 * number).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(predict, range(40)))


@pytest.fixture(scope="module")
def counter(folder: Path) -> Path:
    return builders.counter(folder / "counter.mlpackage", step="x")


def counted(data: dict[str, Any], buffers: dict[str, np.ndarray]) -> dict[str, Any]:
    buffers["total"] += data["x"].astype(np.float16)
    return {"sum": buffers["total"].copy()}


def test_states_are_kept_by_core_ml(binding: Bound, counter: Path) -> None:
    binding.compute, binding.states = staticmethod(counted), {"total": np.zeros(2, np.float16)}
    model = load(counter)
    state, other = model.make_state(), model.make_state()
    for _ in range(3):
        result = model.predict({"x": [1, 2]}, state)["sum"]
    np.testing.assert_array_equal(result, np.array([3, 6], np.float16))
    assert state.read_state("total").dtype == np.float16
    np.testing.assert_array_equal(state.read_state("total"), [3, 6])
    np.testing.assert_array_equal(other.read_state("total"), [0, 0])
    state.write_state("total", np.array([10, 20]))
    np.testing.assert_array_equal(model.predict({"x": [1, 2]}, state)["sum"], [11, 22])


def test_misused_states_are_named(binding: Bound, counter: Path, half: Path) -> None:
    binding.compute, binding.states = staticmethod(counted), {"total": np.zeros(2, np.float16)}
    with pytest.raises(moka.InputError, match=r"state 'total' is missing: make one with make_state\(\)"):
        load(counter).predict({"x": [1, 2]})
    with pytest.raises(moka.InputError, match="has no states"):
        load(half).make_state()
    with pytest.raises(moka.InputError, match="has no states; predict takes none"):
        load(half).predict({"x": np.zeros((2, 3))}, load(counter).make_state())


def test_states_need_a_newer_system(binding: Bound, counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coremltools.models.model._macos_version", lambda: (14, 0))
    with pytest.raises(moka.UnsupportedError, match=r"counter\.mlpackage: Core ML makes no states: .*macOS 15"):
        load(counter).make_state()


def test_inputs_are_checked_before_core_ml_sees_them(binding: Bound, half: Path) -> None:
    with pytest.raises(moka.InputError, match=r"input 'x' has shape \[3\]; expected \[2, 3\]"):
        load(half).predict({"x": [1, 2, 3]})
    assert binding.fed == []


def test_a_network_takes_sequences_and_batches(binding: Bound, network: Path) -> None:
    binding.compute = staticmethod(lambda data: {"y": np.maximum(data["x"], 0)})
    x = np.array([[[-1, 2, 3]], [[4, -5, 6]]], np.float64)
    result = load(network).predict({"x": x})["y"]
    assert binding.fed[0]["x"].shape == (2, 1, 3, 1, 1)
    np.testing.assert_array_equal(result.reshape(2, 1, 3), np.maximum(x, 0))


def test_core_mls_failures_are_errors_that_say_so(binding: Bound, half: Path) -> None:
    def broken(data: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("E5RT: no")

    binding.compute = staticmethod(broken)
    with pytest.raises(moka.ExecutionError, match=r"half\.mlpackage: Core ML failed: E5RT: no"):
        load(half).predict({"x": np.zeros((2, 3))})
    binding.compute = staticmethod(lambda data: {"z": data["x"]})
    with pytest.raises(moka.ExecutionError, match=r"output 'y': Core ML gave none of that name, but z"):
        load(half).predict({"x": np.zeros((2, 3))})


@pytest.mark.parametrize("compiled", [False, True])
def test_what_core_ml_cannot_load_is_an_error(binding: Bound, half: Path, tmp_path: Path, compiled: bool) -> None:
    path = moka.compile(half, tmp_path) if compiled else half
    binding.failure = "Error compiling model: no"
    with pytest.raises(moka.UnsupportedError, match=r"half\.(mlmodelc|mlpackage): Core ML can't load it: Error compiling model: no"):
        load(path)


def test_a_format_that_is_newer_than_the_system_is_an_error(binding: Bound, half: Path) -> None:
    binding.newest = 4
    with pytest.raises(moka.UnsupportedError, match="its version of the format is newer than this macOS knows"):
        load(half)


def test_what_only_other_engines_do_is_refused(binding: Bound, half: Path, network: Path) -> None:
    with pytest.raises(moka.InputError, match=r"numerics is 'device'.*take another engine"):
        load(half, numerics="device")
    with pytest.raises(moka.InputError, match=r"plan is given.*take another engine"):
        load(half, plan=moka.load(half).plan())
    with pytest.raises(moka.UnsupportedError, match="engine 'coreml' only predicts"):
        load(network).update([{"x": [1, 2, 3]}])


def test_sequences_are_refused_for_coremltools_can_not_pass_them(binding: Bound, tmp_path: Path) -> None:
    spec = ct.proto.Model_pb2.Model(specificationVersion=4)
    spec.identity.SetInParent()
    for features in (spec.description.input, spec.description.output):
        feature = features.add(name="words")
        feature.type.sequenceType.stringType.SetInParent()
    (tmp_path / "words.mlmodel").write_bytes(spec.SerializeToString())
    with pytest.raises(moka.UnsupportedError, match="input 'words' is a sequence, which coremltools can't give to Core ML"):
        load(tmp_path / "words.mlmodel")


def test_elsewhere_the_error_says_what_to_do(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_ml, "sys", SimpleNamespace(platform="win32", modules={}))
    with pytest.raises(moka.UnsupportedError, match=r"engine 'coreml' is not installed: .*part of macOS.*win32: use engine='auto'"):
        load(half)


def test_a_coremltools_without_the_binding_is_named(binding: Bound, half: Path, tmp_path: Path) -> None:
    (tmp_path / "coremltools" / "libcoremlpython.py").unlink()
    with pytest.raises(moka.UnsupportedError, match="no libcoremlpython for this Python: pip install"):
        load(half)


def test_the_bridge_is_not_taken_for_core_ml(binding: Bound, half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moka.bridge.install(force=True)
    try:
        monkeypatch.setattr(core_ml.sys, "modules", sys.modules)
        with pytest.raises(moka.UnsupportedError, match=r"call moka\.bridge\.uninstall\(\)"):
            load(half)
    finally:
        moka.bridge.uninstall()


@pytest.mark.parametrize("verb", ["predict", "plan", "profile"])
def test_the_command_line_takes_the_engine(half: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_ml, "sys", SimpleNamespace(platform="linux", modules={}))
    options = ["--random", "0"] if verb != "plan" else []
    result = CliRunner().invoke(main, [verb, str(half), "--engine", "coreml", *options])
    assert result.exit_code == 1
    assert "engine 'coreml' is not installed" in result.stderr


def test_the_command_line_predicts(binding: Bound, half: Path) -> None:
    binding.compute = staticmethod(doubled)
    result = CliRunner().invoke(main, ["predict", str(half), "--engine", "coreml", "-i", "x=[[1,2,3],[4,5,6]]"])
    assert result.exit_code == 0, result.output
    assert "2, 4, 6, 8, 10, 12" in result.stdout


# Plans: structures of coremltools' own classes, with devices that are told to operations by their output.

CPU, GPU, NE = compute_device.MLCPUComputeDevice, compute_device.MLGPUComputeDevice, compute_device.MLNeuralEngineComputeDevice


def operation(kind: str, *outputs: str, blocks: Sequence[Any] = ()) -> Any:
    values = [MLModelStructureProgramNamedValueType(name, MLModelStructureProgramValueType()) for name in outputs]
    return MLModelStructureProgramOperation({}, kind, values, list(blocks), None)


def program(*operations: Any, name: str = "main") -> MLModelStructure:
    block = MLModelStructureProgramBlock([], list(operations), [])
    made = MLModelStructureProgram({name: MLModelStructureProgramFunction([], block)})
    return MLModelStructure(neuralnetwork=None, program=made, pipeline=None)


class ComputePlan:
    """``MLComputePlan``: ``places`` has the devices of operations and layers by name, the preferred one first; ``weights`` their costs."""

    def __init__(self, structure: Any, places: dict[str, tuple[type, ...]], weights: dict[str, float]) -> None:
        self.model_structure = structure
        self.places, self.weights = places, weights

    def _usage(self, name: str) -> MLComputePlanDeviceUsage | None:
        devices = [device.__new__(device) for device in self.places.get(name, ())]
        return MLComputePlanDeviceUsage(devices[0], devices) if devices else None

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        return self._usage(operation.outputs[0].name)

    def get_compute_device_usage_for_neuralnetwork_layer(self, layer: Any) -> Any:
        return self._usage(layer.name)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        weight = self.weights.get(operation.outputs[0].name)
        return None if weight is None else MLComputePlanCost(weight)


def test_a_plan_says_what_core_ml_says(binding: Bound, half: Path) -> None:
    loop = operation("while_loop", "loop", blocks=[MLModelStructureProgramBlock([], [operation("add", "inner")], [])])
    structure = program(operation("const", "weight"), operation("conv", "y"), loop, operation("cast", "odd"))
    binding.plan = ComputePlan(structure, {"y": (NE, GPU, CPU), "loop": (CPU,), "inner": (CPU,)}, {"y": 0.75, "loop": 0.25})
    made = load(half, compute_units="ALL").plan()
    assert binding.loads[-1] == ("/compiled/by/Core ML.mlmodelc", "ALL")
    assert [(item.operation, item.type, item.within, item.engine, item.device, item.share) for item in made.placements] == [
        ("y", "conv", "", "coreml", "neural_engine", 0.75),
        ("inner", "add", "loop", "coreml", "cpu", 0.0),
        ("loop", "while_loop", "", "coreml", "cpu", 0.25),
        ("odd", "cast", "", "coreml", "unknown", 0.0),
    ]
    assert [option.device for option in made["y"].supported] == ["neural_engine", "gpu", "cpu"]
    assert [option.device for option in made["loop"].supported] == ["cpu"]
    assert made.shares() == {("coreml", "neural_engine"): 0.75, ("coreml", "cpu"): 0.25, ("coreml", "unknown"): 0.0}
    assert "of 1 operations Core ML does not say where they run: odd" in str(made)
    assert moka.Plan.from_json(made.to_json()) == made


def test_a_plan_follows_the_compute_units(binding: Bound, half: Path) -> None:
    binding.plan = ComputePlan(program(operation("mul", "y"), name="deep"), {"y": (GPU, CPU)}, {})
    made = load(half).plan(compute_units=ct.ComputeUnit.CPU_AND_GPU)
    assert binding.loads[-1] == ("/compiled/by/Core ML.mlmodelc", "CPU_AND_GPU")
    assert made.compute_units == "CPU_AND_GPU"
    assert [option.device for option in made["y"].options] == ["gpu", "cpu"]


def test_a_plan_of_a_network_has_its_layers(binding: Bound, network: Path) -> None:
    layers = [MLModelStructureNeuralNetworkLayer("relu", "activation", ["x"], ["y"], None)]
    structure = MLModelStructure(neuralnetwork=MLModelStructureNeuralNetwork(layers), program=None, pipeline=None)
    binding.plan = ComputePlan(structure, {"relu": (NE, CPU)}, {})
    layer = load(network).plan().layers()["layer 'relu' (activation)"]
    assert (layer.devices, layer.supported) == (("neural_engine",), ("neural_engine", "cpu"))


def test_a_plan_of_a_pipeline_has_its_stages(binding: Bound, half: Path) -> None:
    whole = MLModelStructurePipeline([("first", program(operation("mul", "a"))), ("second", program(operation("add", "b")))])
    binding.plan = ComputePlan(MLModelStructure(None, None, whole), {"a": (CPU,), "b": (GPU, CPU)}, {})
    stages = load(half).plan().stages
    assert {name: [item.device for item in stage.placements] for name, stage in stages.items()} == {"first": ["cpu"], "second": ["gpu"]}


def test_a_plan_of_a_kind_that_core_ml_says_nothing_of(binding: Bound, half: Path) -> None:
    binding.plan = ComputePlan(MLModelStructure(None, None, None), {}, {})
    assert "Core ML says nothing" in str(load(half).plan())


def test_plans_that_are_not_core_mls(binding: Bound, half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(half)
    assert model.plan("iPhone 15 Pro").modelled
    with pytest.raises(moka.UnsupportedError, match="engine 'coreml' makes its own plan"):
        model.plan(measure=True)
    monkeypatch.setattr("coremltools.models.compute_plan._MLModelProxy", None)
    with pytest.raises(moka.UnsupportedError, match=r"half\.mlpackage: Core ML makes no plan: .*not supported"):
        model.plan()


def test_a_profile_times_whole_predictions(binding: Bound, half: Path) -> None:
    binding.compute = staticmethod(doubled)
    made = load(half).profile({"x": np.ones((2, 3))}, runs=3, warmup=1)
    assert len(binding.fed) == 4
    assert made.predict.p50 >= 0.001


def test_what_needs_the_inside_of_a_model_opens_its_file(binding: Bound, half: Path, tmp_path: Path) -> None:
    model = load(half)
    assert moka.export(model, tmp_path / "half.onnx").path.exists()
    x = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(moka.pytorch.to_module(model)(x).detach(), 2 * x)
    assert binding.fed == []


@pytest.mark.parametrize(("error", "agrees"), [(0.0, True), (1.0, False)])
def test_core_mls_outputs_beside_others(binding: Bound, half: Path, error: float, agrees: bool) -> None:
    binding.compute = staticmethod(lambda data: {"y": data["x"] * 2 + error})
    assert moka.pytorch.compare(half, engine="coreml").agrees is agrees
    assert len(binding.fed) == 1


on_a_mac = pytest.mark.skipif(sys.platform != "darwin", reason="Apple's Core ML is part of macOS")


@on_a_mac
@pytest.mark.parametrize("units", ["CPU_ONLY", "ALL"])
def test_core_ml_itself_predicts(half: Path, units: str) -> None:
    model = load(half, compute_units=units)
    result = model.predict({"x": np.arange(6, dtype=np.float16).reshape(2, 3)})["y"]
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, [[0, 2, 4], [6, 8, 10]])
    assert model.plan().placements


@on_a_mac
def test_core_ml_itself_keeps_states(counter: Path) -> None:
    model = load(counter)
    state = model.make_state()
    state.write_state("total", [10, 20])
    np.testing.assert_array_equal(model.predict({"x": [1, 2]}, state)["sum"], [11, 22])
    np.testing.assert_array_equal(state.read_state("total"), [11, 22])
