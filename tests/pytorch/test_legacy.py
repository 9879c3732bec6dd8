"""PyTorch's Core ML backend for TorchScript: modules that it makes against the modules that they are made of."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import moka
from moka.errors import FormatError, InputError, UnsupportedError
from moka.pytorch import legacy
from moka.pytorch.legacy import CompileSpec, CoreMLBackend, CoreMLComputeUnit, CoreMLQuantizationMode, ScalarType, TensorSpec
from moka.pytorch.legacy import runtime as runtime_module

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # TorchScript, all of it
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SHAPES = ([2, 8], [2, 4])


class TwoOutputs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(self.linear(x)) + y, y * 2


class ListOutput(TwoOutputs):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        return [self.linear(x) - y, y + 1.0]


def specification(**options: Any) -> dict[str, tuple[Any, ...]]:
    inputs, outputs = [TensorSpec(list(shape)) for shape in SHAPES], [TensorSpec([2, 4]), TensorSpec([2, 4])]
    return {"forward": CompileSpec(inputs, outputs, **options)}


@pytest.fixture(autouse=True)
def nothing_left_loading() -> Iterator[None]:
    """No test leaves behind a thread that still loads a model, which would see what the next one replaces."""
    yield
    for thread in threading.enumerate():
        if thread.name == "moka-legacy-load":
            thread.join()


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(shape) for shape in SHAPES)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(1)
    return TwoOutputs().eval()


@pytest.fixture(scope="module")
def processed(module: torch.nn.Module) -> dict[str, Any]:
    return legacy.preprocess(torch.jit.script(module)._c, specification())


@pytest.fixture
def installed() -> Iterator[None]:
    legacy.install()
    yield
    legacy.uninstall()


def test_names_and_values_are_those_of_pytorch() -> None:
    theirs = pytest.importorskip("torch.backends._coreml.preprocess")
    for kind in ("ScalarType", "CoreMLComputeUnit", "CoreMLQuantizationMode"):
        expected = {name: value for name, value in vars(getattr(theirs, kind)).items() if not name.startswith("_")}
        assert {name: value for name, value in vars(getattr(legacy, kind)).items() if not name.startswith("_")} == expected
    assert TensorSpec([1, 2], ScalarType.Long) == theirs.TensorSpec([1, 2], ScalarType.Long)
    assert CompileSpec([1], [2], "all", False, "linear", "x", "mlprogram") == theirs.CompileSpec(
        [1], [2], "all", False, "linear", "x", "mlprogram"
    )
    assert CompileSpec([1], [2]) == theirs.CompileSpec([1], [2])


def test_preprocess_describes_the_model_as_pytorch_does(processed: dict[str, Any]) -> None:
    from coremltools import __version__ as version
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model.FromString(processed["model"])
    assert set(processed) == {"model", "hash", "extra"}
    assert processed["hash"] == hashlib.sha256(processed["model"]).hexdigest()
    extra = json.loads(processed["extra"])
    assert extra["inputs"] == [["input_0", "0", "[2, 8]"], ["input_1", "0", "[2, 4]"]]
    assert [name for name, _, _ in extra["outputs"]] == [output.name for output in model.description.output]
    assert extra["config"] == {"spec_ver": str(model.specificationVersion), "backend": "cpuOnly", "allow_low_precision": "True"}
    assert extra["metadata"] == {"coremltool_ver": version, "torch_ver": f"torch=={torch.__version__}"}


@pytest.mark.parametrize(("convert_to", "tolerance"), [(None, 1e-6), ("neuralnetwork", 1e-6), ("mlprogram", 5e-3)])
@pytest.mark.parametrize("capture", ["trace", "script"])
def test_lowered_module_gives_what_the_original_gives(
    convert_to: str | None, tolerance: float, capture: str, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]
) -> None:
    captured = torch.jit.trace(module, inputs) if capture == "trace" else torch.jit.script(module)
    lowered = legacy.to_backend(captured, specification(convert_to=convert_to))
    found = lowered(*inputs)
    assert isinstance(found, tuple)
    for ours, theirs in zip(found, module(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_a_program_without_twin_among_the_layers_becomes_an_ml_program(inputs: tuple[torch.Tensor, ...]) -> None:
    class Attention(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    x = inputs[0].reshape(1, 2, 8)
    spec = {"forward": CompileSpec([TensorSpec([1, 2, 8])], [TensorSpec([1, 2, 8])])}
    lowered = legacy.to_backend(torch.jit.trace(Attention().eval(), (x,)), spec)
    torch.testing.assert_close(lowered(x), Attention()(x), rtol=5e-3, atol=5e-3)


def test_a_list_stays_a_list(inputs: tuple[torch.Tensor, ...]) -> None:
    module = ListOutput().eval()
    found = legacy.to_backend(torch.jit.script(module), specification())(*inputs)
    assert isinstance(found, list)
    for ours, theirs in zip(found, module(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_enumerated_shapes_and_integers() -> None:
    class Gather(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(10, 3)

        def forward(self, index: torch.Tensor) -> torch.Tensor:
            return self.table(index)

    module = Gather().eval()
    spec = {"forward": CompileSpec([TensorSpec([[1, 4], [1, 6]], ScalarType.Long)], [TensorSpec([1, 4, 3])], convert_to="mlprogram")}
    lowered = legacy.to_backend(torch.jit.trace(module, torch.zeros(1, 4, dtype=torch.int64)), spec)
    for count in (4, 6):
        index = torch.arange(count)[None]
        torch.testing.assert_close(lowered(index), module(index), rtol=2e-3, atol=2e-3)


def test_quantized_weights_are_smaller_and_near() -> None:
    module, x = torch.nn.Linear(64, 64).eval(), torch.randn(1, 64)
    traced = torch.jit.trace(module, x)
    sizes = {}
    for mode in (CoreMLQuantizationMode.NONE, CoreMLQuantizationMode.LINEAR):
        spec = {"forward": CompileSpec([TensorSpec([1, 64])], [TensorSpec([1, 64])], quantization_mode=mode, convert_to="neuralnetwork")}
        made = legacy.preprocess(traced, spec)
        sizes[mode] = len(made["model"])
        (found,) = CoreMLBackend.execute(CoreMLBackend.compile(made)["forward"], [x])
        torch.testing.assert_close(found, module(x), rtol=0.05, atol=0.05)
    assert sizes["linear"] < sizes["none"] / 3


def test_the_file_that_is_exported_is_a_model(tmp_path: Path, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    for name, kind in (("a.mlmodel", "neuralnetwork"), ("b.mlmodel", "mlprogram"), ("c.mlpackage", "mlprogram")):
        path = tmp_path / name
        legacy.preprocess(torch.jit.trace(module, inputs), specification(mlmodel_export_path=str(path), convert_to=kind))
        outputs = moka.load(path).predict({"input_0": inputs[0], "input_1": inputs[1]})
        torch.testing.assert_close(torch.as_tensor(next(iter(outputs.values()))), module(*inputs)[0], rtol=5e-3, atol=5e-3)


def test_old_code_runs_as_it_is(installed: None, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    from torch.backends._coreml import preprocess as names

    spec = {
        "forward": names.CompileSpec(
            inputs=(names.TensorSpec([2, 8]), names.TensorSpec([2, 4])),
            outputs=(names.TensorSpec([2, 4]), names.TensorSpec([2, 4])),
            backend=names.CoreMLComputeUnit.CPU,
            allow_low_precision=True,
        )
    }
    lowered = torch._C._jit_to_backend("coreml", torch.jit.trace(module, inputs), spec)
    torch.testing.assert_close(lowered(*inputs), module(*inputs))


def test_other_backends_and_uninstalling_are_left_alone() -> None:
    original = torch._C._jit_to_backend
    legacy.install()
    legacy.install()
    with pytest.raises(RuntimeError, match="no_such_backend"):
        torch._C._jit_to_backend("no_such_backend", torch.jit.script(torch.nn.ReLU()), {"forward": ()})
    legacy.uninstall()
    assert torch._C._jit_to_backend is original
    assert not legacy.is_installed()
    legacy.uninstall()


def test_saved_module_runs_in_another_process(tmp_path: Path, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    torch.jit.save(legacy.to_backend(torch.jit.trace(module, inputs), specification()), tmp_path / "lowered.pt")
    torch.save((inputs, module(*inputs)), tmp_path / "expected.pt")
    code = (
        "import sys, torch, moka.pytorch.legacy\n"
        "module = torch.jit.load(sys.argv[1] + '/lowered.pt')\n"
        "inputs, expected = torch.load(sys.argv[1] + '/expected.pt')\n"
        "torch.testing.assert_close(module(*inputs), expected)\n"
        "print('same')"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "same", run.stderr


def test_mobile_file_runs(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    from torch.jit.mobile import _load_for_lite_interpreter

    lowered = legacy.to_backend(torch.jit.trace(module, inputs), specification())
    found = _load_for_lite_interpreter(io.BytesIO(lowered._save_to_buffer_for_lite_interpreter()))(*inputs)
    torch.testing.assert_close(found, module(*inputs))


def test_execute_nests_several_outputs(processed: dict[str, Any], module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    assert CoreMLBackend.is_available()
    handle = CoreMLBackend.compile(processed, specification())["forward"]
    ((first, second),) = CoreMLBackend.execute(handle, list(inputs))
    torch.testing.assert_close((first, second), module(*inputs))


def test_the_cpu_runs_until_the_configured_units_are_ready(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    go, loaded = threading.Event(), []

    def load(path: Path, **options: Any) -> moka.Model:
        loaded.append(options["compute_units"])
        if options["compute_units"] == "ALL":
            go.wait()
        return moka.load(path, **options)

    monkeypatch.setattr(runtime_module, "load", load)
    made = legacy.preprocess(torch.jit.script(module), specification(backend=CoreMLComputeUnit.ALL))
    handle = CoreMLBackend.compile(made)["forward"]
    try:
        (early,) = CoreMLBackend.execute(handle, inputs)
        assert handle.compute_units == "CPU_ONLY"
        assert not handle.wait(0.01)
    finally:
        go.set()
    assert handle.wait()
    assert handle.compute_units == "ALL"
    assert loaded == ["CPU_ONLY", "ALL"]
    (late,) = CoreMLBackend.execute(handle, inputs)
    torch.testing.assert_close(tuple(early), module(*inputs))
    torch.testing.assert_close(tuple(late), module(*inputs))


def test_units_that_fail_leave_the_cpu_running(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(path: Path, **options: Any) -> moka.Model:
        if options["compute_units"] != "CPU_ONLY":
            raise UnsupportedError("no such device")
        return moka.load(path, **options)

    monkeypatch.setattr(runtime_module, "load", load)
    made = legacy.preprocess(torch.jit.script(module), specification(backend=CoreMLComputeUnit.CPUAndGPU))
    handle = CoreMLBackend.compile(made)["forward"]
    assert handle.wait()
    assert "no such device" in caplog.text
    assert handle.compute_units == "CPU_ONLY"
    torch.testing.assert_close(tuple(CoreMLBackend.execute(handle, inputs)[0]), module(*inputs))


def test_the_compiled_model_is_found_by_its_hash(processed: dict[str, Any]) -> None:
    CoreMLBackend.compile(processed)
    keys = [entry.parts for entry in moka.cache.entries("torchscript")]
    assert {"hash": processed["hash"]} in keys
    assert any(entry.name == f"{processed['hash'][:16]}.mlmodel" for entry in moka.cache.entries("mlmodelc"))


def test_a_changed_model_is_refused(processed: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="changed or damaged"):
        CoreMLBackend.compile({**processed, "model": processed["model"][:-1] + b"\0"})
    for extra in ("", "[]", '{"inputs": 1}', json.dumps({**json.loads(processed["extra"]), "inputs": [["x", "9", "[]"]]})):
        with pytest.raises(FormatError, match="extra: is damaged"):
            CoreMLBackend.compile({**processed, "extra": extra})


def test_wrong_use_says_what_to_do(module: torch.nn.Module, processed: dict[str, Any], inputs: tuple[torch.Tensor, ...]) -> None:
    scripted = torch.jit.script(module)
    one = [TensorSpec([2, 8])]
    with pytest.raises(InputError, match="expected a CompileSpec for 'forward'"):
        legacy.preprocess(scripted, {})
    with pytest.raises(InputError, match="outputs: 1 are specified, the module gives 2"):
        legacy.preprocess(scripted, {"forward": CompileSpec([TensorSpec([2, 8]), TensorSpec([2, 4])], one)})
    with pytest.raises(InputError, match="expected one of ScalarType"):
        legacy.preprocess(scripted, {"forward": CompileSpec([TensorSpec([2, 8], ScalarType.Undefined)], one)})
    with pytest.raises(InputError, match="convert_to is 'onnx'"):
        legacy.preprocess(scripted, specification(convert_to="onnx"))
    with pytest.raises(InputError, match=r"expected what torch\.jit\.script"):
        legacy.to_backend(module, specification())
    with pytest.raises(UnsupportedError, match="is for neural networks"):
        legacy.preprocess(scripted, specification(convert_to="mlprogram", quantization_mode="linear"))
    with pytest.raises(InputError, match="1 inputs are given"):
        CoreMLBackend.execute(CoreMLBackend.compile(processed)["forward"], inputs[:1])


def test_what_can_not_be_converted_is_named() -> None:
    class Digamma(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.digamma(x)

    spec = {"forward": CompileSpec([TensorSpec([3])], [TensorSpec([3])])}
    with pytest.raises(UnsupportedError, match=r"as neuralnetwork: .*digamma.*as mlprogram: .*digamma"):
        legacy.preprocess(torch.jit.script(Digamma().eval()), spec)
