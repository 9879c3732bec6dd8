"""``MLComputePlan`` and devices, as stock coremltools asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import moka


@pytest.fixture(scope="module")
def programs(ct: Any) -> dict[str, Any]:
    """A sum and a difference, and a loop, as a program and as a network where it can be one."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' custom)

    @mb.program(input_specs=[mb.TensorSpec(shape=(10, 20)), mb.TensorSpec(shape=(10, 20))])
    def simple(x, y):
        return mb.add(x=x, y=y, name="sum"), mb.sub(x=x, y=y, name="difference")

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,)), mb.TensorSpec(shape=(4,))])
    def loop(limit, x):
        return mb.while_loop(
            _cond=lambda a, b: mb.less(x=a, y=10.0),
            _body=lambda a, b: (mb.add(x=a, y=1.0), mb.mul(x=b, y=2.0)),
            loop_vars=(mb.squeeze(x=limit), x),
        )

    converted = {"program": ct.convert(simple, convert_to="mlprogram"), "loop": ct.convert(loop, convert_to="mlprogram")}
    return converted | {"network": ct.convert(simple, convert_to="neuralnetwork")}


def plan_of(ct: Any, model: Any, units: str = "ALL") -> Any:
    return ct.models.compute_plan.MLComputePlan.load_from_path(model.get_compiled_model_path(), getattr(ct.ComputeUnit, units))


def operations(block: Any) -> list[Any]:
    return [
        item
        for operation in block.operations
        for inner in (*operation.blocks, None)
        for item in (operations(inner) if inner else [operation])
    ]


def test_every_operation_has_a_device_and_a_cost(ct: Any, programs: dict[str, Any]) -> None:
    for name in ("program", "loop"):
        plan = plan_of(ct, programs[name])
        block = plan.model_structure.program.functions["main"].block
        costs = []
        for operation in operations(block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            if operation.operator_name == "const":
                assert usage is cost is None
                continue
            assert isinstance(usage.preferred_compute_device, ct.models.compute_device.MLCPUComputeDevice)
            assert type(usage.preferred_compute_device) in {type(device) for device in usage.supported_compute_devices}
            assert 0 <= cost.weight <= 1
            if operation in block.operations:
                costs.append(cost.weight)
        assert sum(costs) == pytest.approx(1)


def test_every_layer_has_a_device(ct: Any, programs: dict[str, Any]) -> None:
    plan = plan_of(ct, programs["network"])
    layers = plan.model_structure.neuralnetwork.layers
    assert len(layers) > 2
    for layer in layers:
        usage = plan.get_compute_device_usage_for_neuralnetwork_layer(layer)
        assert isinstance(usage.preferred_compute_device, ct.models.compute_device.MLCPUComputeDevice)


def test_a_modelled_device_answers_in_its_place(ct: Any, programs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOKA_PLAN_DEVICE", "iPhone 15 Pro")
    devices = ct.models.compute_device.MLComputeDevice.get_all_compute_devices()
    assert [type(device).__name__ for device in devices] == ["MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice"]
    assert devices[-1].total_core_count == 16
    for units, expected in (("ALL", {"CPU", "GPU", "NeuralEngine"}), ("CPU_AND_NE", {"CPU", "NeuralEngine"}), ("CPU_ONLY", {"CPU"})):
        plan = plan_of(ct, programs["program"], units)
        (addition,) = [item for item in plan.model_structure.program.functions["main"].block.operations if item.operator_name == "add"]
        supported = plan.get_compute_device_usage_for_mlprogram_operation(addition).supported_compute_devices
        assert {type(device).__name__.removeprefix("ML").removesuffix("ComputeDevice") for device in supported} == expected
    monkeypatch.setenv("MOKA_PLAN_DEVICE", "Nokia 3310")
    plan = plan_of(ct, programs["program"])
    with pytest.raises(RuntimeError, match="Nokia 3310"):
        plan.get_compute_device_usage_for_mlprogram_operation(plan.model_structure.program.functions["main"].block.operations[-1])


def test_functions_and_stages_have_plans_of_their_own(ct: Any, programs: dict[str, Any], tmp_path: Path) -> None:
    functions = ct.utils.MultiFunctionDescriptor()
    programs["program"].save(str(tmp_path / "one.mlpackage"))
    for name in ("first", "second"):
        functions.add_function(str(tmp_path / "one.mlpackage"), src_function_name="main", target_function_name=name)
    functions.default_function_name = "first"
    ct.utils.save_multifunction(functions, str(tmp_path / "two.mlpackage"))
    plan = ct.models.compute_plan.MLComputePlan.load_from_path(str(tmp_path / "two.mlpackage"))
    assert set(plan.model_structure.program.functions) == {"first", "second"}
    for function in plan.model_structure.program.functions.values():
        for operation in function.block.operations:
            if operation.operator_name != "const":
                assert plan.get_compute_device_usage_for_mlprogram_operation(operation) is not None


def test_what_is_not_of_the_model_has_no_answer(ct: Any, programs: dict[str, Any]) -> None:
    one, other = plan_of(ct, programs["program"]), plan_of(ct, programs["program"])
    operation = other.model_structure.program.functions["main"].block.operations[-1]
    assert one.get_compute_device_usage_for_mlprogram_operation(operation) is None


def test_stages_of_a_pipeline(ct: Any, corpus: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel"
    if not path.exists():
        pytest.skip("the pipeline is not among the real models")
    plan = ct.models.compute_plan.MLComputePlan.load_from_path(str(path))
    network = plan.model_structure.pipeline.sub_models[0][1].neuralnetwork
    stage = next(iter(moka.plan(path).stages.values()))
    for layer in network.layers:
        usage = plan.get_compute_device_usage_for_neuralnetwork_layer(layer)
        assert usage is not None
    assert len(stage.layers()) <= len(network.layers)
