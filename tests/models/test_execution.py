"""What a loaded model runs on is what its plan says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.planning.plan import Plan
from tests.builders import convert, traced

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

ENGINES: Any = ("auto", "torch", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("execution")


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    """y = softmax(x W) for x [2, 8]."""
    weight = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    module = traced(lambda x: torch.softmax(x @ weight, dim=-1), torch.rand(2, 8))
    return convert(module, folder / "small.mlpackage", inputs=[ct.TensorType("x", (2, 8))], outputs=[ct.TensorType("y")])


@pytest.fixture(scope="module")
def random(folder: Path) -> Path:
    """Random numbers, which only PyTorch makes, between products of matrices."""
    weight = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    module = traced(lambda x: (torch.relu(x @ weight) + 0 * torch.rand(2, 64)) @ weight, torch.rand(2, 64))
    return convert(module, folder / "random.mlpackage", inputs=[ct.TensorType("x", (2, 64))], outputs=[ct.TensorType("y")])


@pytest.fixture(scope="module")
def listed(folder: Path) -> Path:
    """A loop that writes into a list, beside operations that every engine runs."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    @mb.program(input_specs=[mb.TensorSpec(shape=(3, 4))], opset_version=ct.target.iOS16)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        rows = mb.make_list(init_length=3, elem_shape=(4,), dtype="fp32")
        doubled = mb.add(x=x, y=x)

        def body(i: Any, kept: Any) -> Any:
            row = mb.squeeze(x=mb.gather(x=doubled, indices=mb.expand_dims(x=i, axes=[0]), axis=0), axes=[0])
            return mb.add(x=i, y=1), mb.list_write(ls=kept, index=i, value=mb.sin(x=row))

        _, kept = mb.while_loop(_cond=lambda i, kept: mb.less(x=i, y=3), _body=body, loop_vars=(np.int32(0), rows))
        return mb.relu(x=mb.list_gather(ls=kept, indices=[0, 1, 2]), name="y")

    return convert(program, folder / "listed.mlpackage")


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    """One inner product of 8 numbers."""
    layer = torch.nn.Linear(8, 4)
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(8))], [("y", ct.models.datatypes.Array(4))], disable_rank5_shape_mapping=True
    )
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    builder.add_inner_product("linear", weight, bias, 8, 4, True, "x", "y")
    ct.models.utils.save_spec(builder.spec, str(folder / "network.mlmodel"))
    return folder / "network.mlmodel"


def wide(folder: Path, default: int | None) -> Path:
    """Three linear layers of 512 for 1 to 256 rows, of which ``default`` by default; 256 rows always for None."""
    weight = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    module = traced(lambda x: torch.tanh(torch.tanh(x @ weight) @ weight) @ weight, torch.rand(2, 512))
    rows = 256 if default is None else ct.RangeDim(1, 256, default=default)
    return convert(module, folder / f"wide_{default}.mlpackage", inputs=[ct.TensorType("x", ct.Shape((rows, 512)))])


def ran(model: moka.Model, inputs: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Engine, device and operations of each segment, as the engines that run them report while they do."""
    assert isinstance(model, ProgramModel | NetworkModel)
    values = model._inputs(inputs)
    if isinstance(model, ProgramModel):
        executable = model.executable
    else:
        executable = model._executable(tuple(values[name].shape for name in model.function.inputs))
    return [(item.engine, item.device, tuple(sorted(item.names))) for item in executable.times(values, 1)]


def said(plan: Plan) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(item.engine, item.device, tuple(sorted(item.operations))) for item in plan.segments]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_says_what_a_program_runs_on(package: Path, engine: Any) -> None:
    model = moka.load(package, engine=engine)
    assert said(model.plan()) == ran(model, {"x": np.ones((2, 8), np.float32)})
    assert not model.plan().pinned
    assert not model.plan().notes


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_says_what_runs_where_engines_share_the_work(random: Path, engine: Any) -> None:
    model = moka.load(random, engine=engine)
    plan = model.plan()
    assert said(plan) == ran(model, {"x": np.ones((2, 64), np.float32)})
    assert plan.placements
    assert all(("torch", "cpu") in [(option.engine, option.device) for option in item.supported] for item in plan.placements
               if "random" in item.type)  # fmt: skip


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_that_was_asked_for_leaves_loops_that_it_cannot_run_whole(listed: Path, engine: Any) -> None:
    model = moka.load(listed, engine=engine)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    assert [item.engine for item in model.plan().segments] == [item[0] for item in ran(model, {"x": x})] == [engine, "torch", engine]
    np.testing.assert_allclose(model.predict({"x": x})["y"], np.maximum(np.sin(2 * x), 0), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_says_what_a_network_runs_on(network: Path, engine: Any) -> None:
    model = moka.load(network, engine=engine)
    assert said(model.plan()) == ran(model, {"x": np.ones(8, np.float32)})


def test_a_linked_models_plan_is_that_of_the_model_it_stands_for(network: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=4)
    specification.description.CopyFrom(ct.utils.load_spec(str(network)).description)
    specification.linkedModel.linkedModelFile.linkedModelFileName.defaultValue = "network.mlmodelc"
    link = network.parent / "link.mlmodel"
    link.write_bytes(specification.SerializeToString())
    plan = moka.load(link, engine="torch").plan()
    assert plan.model == "link.mlmodel"
    assert said(plan) == said(moka.load(network, engine="torch").plan())
    assert said(plan)


def test_a_runtime_that_refuses_the_graph_is_said_with_its_reason(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*ignored: Any) -> None:
        raise RuntimeError("graph too\n  wonderful")

    x = np.random.default_rng(0).random((2, 8)).astype(np.float32)
    expected = moka.load(package, engine="openvino").predict({"x": x})["y"]
    monkeypatch.setattr(OpenVinoEngine, "compile", refuse)
    with caplog.at_level(logging.WARNING, "moka"):
        model = moka.load(package, engine="openvino")
    assert "openvino can't take function 'main', which PyTorch runs instead: graph too wonderful" in caplog.text
    plan = model.plan()
    assert said(plan) == ran(model, {"x": x})
    assert [item.engine for item in plan.segments] == ["torch"]
    assert [note.text for note in plan.notes] == [
        "openvino on cpu did not take the function, which PyTorch runs instead: graph too wonderful"
    ]
    assert "graph too wonderful" in plan.placements[0].options[0].reasons[0].text
    assert "graph too wonderful" in str(plan)
    np.testing.assert_allclose(model.predict({"x": x})["y"], expected, rtol=1e-5)
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert said(moka.load(package, plan=tmp_path / "plan.json").plan()) == said(plan)


def test_a_state_that_is_never_read_is_kept_all_the_same(folder: Path) -> None:
    """OpenVINO's own states would be left out, so that PyTorch runs the model."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    specs = [mb.StateTensorSpec((2,), dtype=types.fp16), mb.TensorSpec((2,), dtype=types.fp16)]
    program = mb.program(input_specs=specs, opset_version=ct.target.iOS18)(lambda held, x: mb.coreml_update_state(state=held, value=x))
    path = convert(program, folder / "written.mlpackage", minimum_deployment_target=ct.target.iOS18)
    for engine in ENGINES:
        model = moka.load(path, engine=engine)
        state = model.make_state()
        for values in ([1, 2], [3, 4]):
            (found,) = model.predict({"x": np.float16(values)}, state).values()
            np.testing.assert_array_equal(found, values)
            np.testing.assert_array_equal(state.read_state("held"), values)
    assert "never read" in str(moka.load(path, engine="openvino").plan())


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("engine", ENGINES)
def test_tensors_are_repeated_as_often_as_another_says(engine: Any, rank: int, tmp_path: Path) -> None:
    """OpenVINO gave memory that nobody had written, from rank 4 on."""
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    shape = (3, 2, 4, 2, 3)[:rank]
    inputs = [("x", datatypes.Array(*shape)), ("often", datatypes.Array(rank))]
    builder = NeuralNetworkBuilder(inputs, [("y", None)], disable_rank5_shape_mapping=True)
    builder.add_tile("tile", ["x", "often"], "y")
    (tmp_path / "tile.mlmodel").write_bytes(builder.spec.SerializeToString())
    model, generator = moka.load(tmp_path / "tile.mlmodel", engine=engine), np.random.default_rng(rank)
    for _ in range(20):
        x, often = generator.random(shape).astype(np.float32), generator.integers(1, 8, rank)
        np.testing.assert_array_equal(model.predict({"x": x, "often": often.astype(np.float32)})["y"], np.tile(x, often))


def test_a_runtime_that_refuses_a_segment_is_said_with_its_reason(random: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moka.engines.onnx.graph import Unlowerable

    def refuse(self: Any, segment: Any) -> Any:
        raise Unlowerable("random") if any("random" in item.type for item in segment.operations) else RuntimeError("not today")

    monkeypatch.setattr(OnnxRuntimeEngine, "compile", refuse)
    model = moka.load(random, engine="onnxruntime")
    assert said(model.plan()) == ran(model, {"x": np.ones((2, 64), np.float32)})
    assert [note.text for note in model.plan().notes] == [
        "onnxruntime on cpu did not take the function, which PyTorch runs instead: not today"
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_that_is_pinned_gives_the_same_again(random: Path, engine: Any) -> None:
    plan = moka.load(random, engine=engine).plan()
    model = moka.load(random, plan=plan)
    assert said(model.plan()) == ran(model, {"x": np.ones((2, 64), np.float32)}) == said(plan)
    assert model.plan().pinned


def test_pinned_places_are_what_the_plan_shows(package: Path) -> None:
    pins = {item.operation: ("torch" if item.type == "softmax" else "onnxruntime", "cpu") for item in moka.plan(package).own_placements}
    model = moka.load(package, plan=moka.plan(package, pins=pins))
    assert model.plan().pins() == pins
    assert said(model.plan()) == ran(model, {"x": np.ones((2, 8), np.float32)})


def test_another_question_has_another_answer(package: Path) -> None:
    """What is asked for other places or devices is planned anew."""
    model = moka.load(package, engine="torch")
    pins = {item.operation: ("torch", "cpu") for item in model.plan().own_placements}
    assert model.plan(pins=pins).pinned
    assert model.plan("iPhone 15 Pro").modelled
    assert {item.engine for item in model.plan(compute_units="CPU_ONLY").segments} == {"torch"}


def test_flexible_shapes_are_judged_by_their_default(folder: Path) -> None:
    chosen = {default: said(moka.load(wide(folder, default), threads=1).plan())[0][0] for default in (None, 256, 1)}
    assert chosen[256] == chosen[None]
    assert chosen[1] != chosen[256]


def test_programs_run_on_the_same_engines_whatever_the_shape_is(folder: Path) -> None:
    model = moka.load(wide(folder, 256), threads=1)
    assert said(model.plan(shapes={"x": (1, 512)})) == said(model.plan())
    assert model.plan(shapes={"x": (1, 512)}).totals()["flops"] * 256 == model.plan().totals()["flops"]
