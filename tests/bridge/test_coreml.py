"""Stock coremltools predicts, compiles and keeps states through the bridge."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from moka.bridge import coreml
from tests.bridge.conftest import Sum

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of coremltools, and of torch.jit.trace, which it needs
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),  # coremltools' temporary folders
]

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def test_a_converted_model_predicts(network):
    y = network.model.predict({"x": network.x})["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, network.y, **TOLERANCE)


def test_a_list_of_inputs_gives_a_list_of_outputs_in_its_order(network):
    rows = network.model.predict([{"x": network.x}, {"x": np.zeros_like(network.x)}, {"x": network.x}])
    assert len(rows) == 3
    np.testing.assert_allclose(rows[0]["y"], network.y, **TOLERANCE)
    np.testing.assert_array_equal(rows[0]["y"], rows[2]["y"])
    assert not np.allclose(rows[1]["y"], network.y)


@pytest.mark.parametrize("convert", [np.ndarray.tolist, torch.from_numpy, lambda x: x.astype(np.float64)])
def test_inputs_that_coremltools_lets_through(network, convert):
    np.testing.assert_allclose(network.model.predict({"x": convert(network.x)})["y"], network.y, **TOLERANCE)


def test_a_saved_model_is_loaded_by_its_path_with_any_compute_units(ct, network, tmp_path):
    network.model.save(str(tmp_path / "network.mlpackage"))
    for units in ct.ComputeUnit:
        model = ct.models.MLModel(str(tmp_path / "network.mlpackage"), compute_units=units)
        np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, **TOLERANCE)


def test_a_loaded_model_outlives_its_files(ct, network, tmp_path):
    network.model.save(str(tmp_path / "network.mlpackage"))
    model = ct.models.MLModel(str(tmp_path / "network.mlpackage"))
    shutil.rmtree(tmp_path / "network.mlpackage")
    np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, **TOLERANCE)


def test_a_model_from_its_specification_and_weights(ct, network):
    model = ct.models.MLModel(network.model.get_spec(), weights_dir=network.model.weights_dir)
    np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, **TOLERANCE)


def test_states_are_kept_between_predictions_read_and_written(ct):
    module, x = Sum().eval(), torch.tensor([1.0, 2.0, 3.0])
    model = ct.convert(
        torch.jit.trace(module, torch.zeros(3)),
        inputs=[ct.TensorType(name="x", shape=(3,))],
        outputs=[ct.TensorType(name="y")],
        states=[ct.StateType(ct.TensorType(shape=(3,)), name="total")],
        minimum_deployment_target=ct.target.iOS18,
    )
    state, other = model.make_state(), model.make_state()
    for _ in range(2):
        y = model.predict({"x": x.numpy()}, state=state)["y"]
        np.testing.assert_allclose(y, module(x).numpy())
    np.testing.assert_allclose(state.read_state("total"), module.total.numpy())
    assert not other.read_state("total").any()
    state.write_state("total", np.array([10, 20, 30], np.float32))
    np.testing.assert_allclose(model.predict({"x": x.numpy()}, state=state)["y"], [22, 44, 66])
    with pytest.raises(RuntimeError, match="'nothing'"):
        state.read_state("nothing")
    with pytest.raises(RuntimeError, match="total"):
        state.write_state("total", np.zeros((2, 2), np.float32))
    with pytest.raises(RuntimeError, match="state"):
        model.predict({"x": x.numpy()})


def test_compiled_models_load_after_they_were_moved(ct, network, tmp_path):
    path = ct.models.utils.compile_model(network.model.package_path, str(tmp_path / "moved.mlmodelc"))
    model = ct.models.CompiledMLModel(path, ct.ComputeUnit.CPU_ONLY, function_name="main")
    np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, **TOLERANCE)
    assert model._proxy.get_compiled_model_path() == path


def test_the_compiled_model_of_a_loaded_one_lives_as_long_as_it(ct, network, tmp_path):
    model = ct.models.MLModel(network.model.package_path)
    path = model.get_compiled_model_path()
    assert path == model.get_compiled_model_path()
    shutil.copytree(path, tmp_path / "copy.mlmodelc")
    del model
    assert not Path(path).exists()
    copy = ct.models.CompiledMLModel(str(tmp_path / "copy.mlmodelc"))
    np.testing.assert_allclose(copy.predict({"x": network.x})["y"], network.y, **TOLERANCE)


def test_a_file_may_be_deleted_as_soon_as_it_is_loaded(ct, tmp_path):
    """coremltools does so with the temporary files that it makes of specifications."""
    path = tmp_path / "relu.mlmodel"
    path.write_bytes(_relu(ct).SerializeToString())
    proxy = coreml._MLModelProxy(str(path), "ALL")
    path.unlink()
    compiled = ct.models.CompiledMLModel(proxy.get_compiled_model_path())
    np.testing.assert_array_equal(compiled.predict({"x": [-1, 0, 2]})["y"], [0, 0, 2])


def test_compiling_a_specification(ct, network):
    path = ct.models.utils.compile_model(_relu(ct))
    try:
        assert path.endswith(".mlmodelc")
        np.testing.assert_array_equal(ct.models.CompiledMLModel(path).predict({"x": np.array([-1, 0, 2])})["y"], [0, 0, 2])
    finally:
        shutil.rmtree(path)


def test_assets_from_a_folder_and_from_memory(ct, network):
    weights = (Path(network.model.weights_dir) / "weight.bin").read_bytes()
    asset_class, compiled_class = ct.models.model.MLModelAsset, ct.models.CompiledMLModel
    in_memory = asset_class.from_memory(network.model.get_spec().SerializeToString(), {"weights/weight.bin": weights})
    on_disk = asset_class.from_path(network.model.get_compiled_model_path())
    for asset in (in_memory, on_disk):
        model = compiled_class.from_asset(asset)
        np.testing.assert_allclose(model.predict({"x": network.x})["y"], network.y, **TOLERANCE)
    with pytest.raises(RuntimeError, match=r"\.\."):
        asset_class.from_memory(network.model.get_spec().SerializeToString(), {"../weight.bin": weights})
    with pytest.raises(RuntimeError, match="mlmodelc"):
        asset_class.from_path(network.model.package_path)


def test_a_functions_name_chooses_the_function(ct, network):
    by_name = coreml._MLModelProxy(network.model.package_path, "CPU_ONLY", "main", {"reshapeFrequency": "Frequent"})
    np.testing.assert_allclose(by_name.predict({"x": network.x})["y"], network.y, **TOLERANCE)
    with pytest.raises(RuntimeError, match="nothing"):
        coreml._MLModelProxy(network.model.package_path, "CPU_ONLY", "nothing")


def test_durations(ct, network):
    model = ct.models.MLModel(network.model.package_path)
    assert model.last_predict_duration_in_nano_seconds is None
    model.predict({"x": network.x})
    assert 0 < model.last_predict_duration_in_nano_seconds < 60e9
    assert 0 < model.load_duration_in_nano_seconds < 60e9


def test_devices_are_those_of_this_machine(ct):
    devices = ct.models.MLModel.get_available_compute_devices()
    kinds = [type(device).__name__ for device in devices]
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert kinds == ["MLCPUComputeDevice", "MLGPUComputeDevice"][: 1 + gpu]
    assert [type(device) for device in ct.models.compute_device.MLComputeDevice.get_all_compute_devices()] == [type(d) for d in devices]


def test_the_structure_of_a_program(ct, network):
    structure = ct.models.compute_plan.MLModelStructure.load_from_path(network.model.get_compiled_model_path())
    assert structure.neuralnetwork is None
    assert structure.pipeline is None
    main = structure.program.functions["main"]
    assert [value.name for value in main.inputs] == ["x"]
    assert main.block.output_names == ["y"]
    linears = [operation for operation in main.block.operations if operation.operator_name == "linear"]
    assert [binding.name for binding in linears[0].inputs["x"].bindings] == ["x"]
    assert [value.name for value in linears[-1].outputs] == ["y"]


def test_the_structure_of_a_network_and_of_a_pipeline(ct, tmp_path):
    spec = ct.proto.Model_pb2.Model(specificationVersion=4)
    spec.neuralNetwork.layers.add(name="layer", input=["x"], output=["y"]).softmax.SetInParent()
    pipeline = ct.proto.Model_pb2.Model(specificationVersion=4)
    pipeline.pipelineClassifier.pipeline.models.append(spec)
    (tmp_path / "pipeline.mlmodel").write_bytes(pipeline.SerializeToString())
    structure = ct.models.compute_plan.MLModelStructure.load_from_path(str(tmp_path / "pipeline.mlmodel"))
    ((_, stage),) = structure.pipeline.sub_models
    (layer,) = stage.neuralnetwork.layers
    assert (layer.name, layer.type, layer.input_names, layer.output_names) == ("layer", "softmax", ["x"], ["y"])


def test_wrong_inputs_are_runtime_errors(ct, network):
    with pytest.raises(RuntimeError, match="'x'"):
        network.model.predict({})
    with pytest.raises(RuntimeError, match="'x'"):
        network.model.predict({"x": np.zeros((3, 3, 3))})


def test_wrong_files_are_runtime_errors(ct, tmp_path):
    (tmp_path / "broken.mlmodel").write_bytes(b"\x08\xff")
    for call in (ct.models.utils.compile_model, lambda path: coreml._MLModelProxy(path, "ALL")):
        with pytest.raises(RuntimeError, match="broken"):
            call(str(tmp_path / "broken.mlmodel"))
        with pytest.raises(RuntimeError, match="absent"):
            call(str(tmp_path / "absent.mlmodel"))


def test_an_error_that_moka_did_not_foresee_is_a_runtime_error_too(ct, network, monkeypatch):
    model = ct.models.MLModel(network.model.package_path)
    monkeypatch.setattr(model.__proxy__._model, "predict", lambda data, state: {}["nothing"])
    with pytest.raises(RuntimeError, match="KeyError inside Moka") as caught:
        model.predict({"x": network.x})
    assert isinstance(caught.value.__cause__, KeyError)


def test_temporary_folders_are_removed(ct, network, tmp_path, monkeypatch):
    specification = _relu(ct).SerializeToString()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    proxy = coreml._MLModelProxy(network.model.package_path, "ALL")
    proxy.get_compiled_model_path()
    asset = ct.models.model.MLModelAsset.from_memory(specification)
    assert len(list(tmp_path.iterdir())) == 2
    del proxy, asset
    assert not list(tmp_path.iterdir())


def _relu(ct):
    """The specification of a program without weights."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' custom)

    @mb.program(input_specs=[mb.TensorSpec(shape=(3,))])
    def program(x):
        return mb.relu(x=x, name="y")

    return ct.convert(program, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32, skip_model_load=True).get_spec()


def test_images_in_color_have_an_alpha_channel(network):
    import coremltools as ct

    features = [("x", ct.models.datatypes.Array(3, 4, 5))]
    builder = ct.models.neural_network.NeuralNetworkBuilder(features, [("y", features[0][1])])
    builder.add_elementwise("same", ["x"], "y", "ADD", alpha=0.0)
    image = builder.spec.description.output[0].type.imageType
    image.colorSpace, image.height, image.width = ct.proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.Value("RGB"), 4, 5
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5))
    picture = ct.models.MLModel(builder.spec).predict({"x": pixels.astype(np.float32)})["y"]
    assert picture.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(picture), np.append(pixels, np.full((1, 4, 5), 255), axis=0).transpose(1, 2, 0))
