"""ExecuTorch programs with Core ML in them: run with Moka against PyTorch; ExecuTorch's own pipeline where it is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import moka
from moka.errors import ExecutionError, FormatError, InputError, UnsupportedError
from moka.formats.inmemoryfs import pack_files
from moka.pytorch import executorch
from tests.formats.test_pte import program, saved

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

HAS_EXECUTORCH = importlib.util.find_spec("executorch") is not None
needs_executorch = pytest.mark.skipif(not HAS_EXECUTORCH, reason="executorch is not installed: pip install executorch")


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.linear(x))


class Counter(torch.nn.Module):
    """Adds up what it is given, in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(2, 3, dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.half())
        return self.total.float() * 1.0


@pytest.fixture(scope="module")
def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def package(small: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module as a package, made by coremltools alone."""
    import coremltools as ct

    traced = torch.jit.trace(small, torch.zeros(2, 3))
    inputs, outputs = [ct.TensorType("x", (2, 3))], [ct.TensorType("y")]
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS15}
    model = ct.convert(traced, inputs=inputs, outputs=outputs, convert_to="mlprogram", skip_model_load=True, **options)
    path = tmp_path_factory.mktemp("package") / "small.mlpackage"
    model.save(str(path))
    return path


def payload(folder: Path, name: str, **changes: Any) -> bytes:
    """A payload as ExecuTorch's backend writes it, of a package or a compiled model."""
    metadata = {"inputNames": ["x"], "outputNames": ["y"], "identifier": "executorch_test", **changes}
    files = {"metadata.json": json.dumps(metadata).encode()}
    for path in folder.rglob("*"):
        place = f"{name}/{path.relative_to(folder).as_posix()}"
        if path.is_dir():
            files[f"{place}/"] = b""
        else:
            files[place] = path.read_bytes()
    return pack_files(files)


@pytest.fixture(params=["model.mlpackage", "model.mlmodelc"])
def pte(request: pytest.FixtureRequest, package: Path, tmp_path: Path) -> Path:
    """A program with one Core ML delegate, built without ExecuTorch."""
    folder = package if request.param == "model.mlpackage" else moka.compile(package, tmp_path)
    return saved(tmp_path / "small.pte", program(payload(folder, request.param)))


def test_runs_what_was_delegated(pte: Path, small: torch.nn.Module) -> None:
    loaded = executorch.load(pte)
    assert loaded.method_names == ("forward",)
    x = torch.randn(2, 3)
    (found,) = loaded.load_method("forward").execute([x])
    torch.testing.assert_close(found, small(x))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 4), r"has shape \[2, 4\]; the program takes \[2, 3\]"),
        (torch.zeros(2, 3, 1), "has shape"),
        (torch.zeros(2, 3, dtype=torch.float64), "has dtype torch.float64; the program takes float32"),
        (1.0, "is a float; expected a tensor"),
    ],
)
def test_wrong_inputs_say_what_is_expected(value: Any, message: str, pte: Path) -> None:
    method = executorch.load(pte).load_method()
    with pytest.raises(InputError, match=message):
        method.execute([value])
    with pytest.raises(InputError, match="2 inputs are given; it takes 1"):
        method.execute([value, value])


def test_what_is_not_core_mls_is_named(package: Path, tmp_path: Path) -> None:
    for name in ("aten::from_file", "quantized_decomposed::add", "aten::no_such"):
        kernel = executorch.load(saved(tmp_path / "a.pte", program(b"", kernel=name)))
        with pytest.raises(UnsupportedError, match=rf"{name}\.out need ExecuTorch's kernels"):
            kernel.load_method()
    other = executorch.load(saved(tmp_path / "b.pte", program(b"", backend="XnnpackBackend")))
    with pytest.raises(UnsupportedError, match="parts for XnnpackBackend"):
        other.load_method()
    with pytest.raises(InputError, match="method 'backward': the program has forward"):
        other.load_method("backward")


def test_operators_that_were_not_delegated_run_with_pytorch(tmp_path: Path) -> None:
    x = torch.randn(2, 3)
    path = saved(tmp_path / "a.pte", program(b"", kernel="aten::asinh", arguments=(0, 1, 1)))
    torch.testing.assert_close(executorch.load(path).load_method()(x), [torch.asinh(x)])
    path = saved(tmp_path / "b.pte", program(b"", kernel="aten::add", arguments=(0, 1)))
    with pytest.raises(ExecutionError, match="aten"):
        executorch.load(path).load_method()(x)


def test_models_that_methods_share(package: Path, tmp_path: Path, small: torch.nn.Module) -> None:
    names = {"inputNames": ["x"], "outputNames": ["y"]}
    shared = payload(package, "model.mlpackage", methods={"forward": names})
    reference = b"CMJR" + json.dumps({"version": 1, "key": "coreml_1", "functionName": "main"}).encode()
    path = saved(tmp_path / "a.pte", program(reference, named={"coreml_1": shared}))
    x = torch.randn(2, 3)
    torch.testing.assert_close(executorch.load(path).load_method()(x)[0], small(x))
    with pytest.raises(FormatError, match="refers to named data 'coreml_1'; the program has none"):
        executorch.load(saved(tmp_path / "b.pte", program(reference))).load_method()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends with no index of files"),
        (b"CMJR[", "is no JSON"),
        (b"CMJR[]", "is a JSON list"),
        (b"CMJR{}", "key is None"),
        (pack_files({"metadata.json": b"{}"}), r"expected metadata\.json and one of"),
        (pack_files({"model.mlpackage/Manifest.json": b"{}"}), r"expected metadata\.json and one of"),
        (pack_files({"metadata.json": b"{}", "model.mlpackage/Manifest.json": b"{}"}), "inputNames is None"),
        (
            pack_files({"metadata.json": b'{"inputNames": [], "outputNames": [], "identifier": ""}', "model.mlmodelc/x": b""}),
            "2 arguments, its model 0 inputs and outputs",
        ),
    ],
)
def test_damaged_payloads_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        executorch.load(saved(tmp_path / "a.pte", program(content))).load_method()


def test_inspect_shows_methods_delegates_and_files(pte: Path) -> None:
    summary = executorch.inspect(pte)
    (method,) = summary.methods
    assert (method.inputs, method.outputs) == (["float32 [2, 3]"], ["float32 [2, 3]"])
    (delegate,) = method.delegates
    assert (delegate.backend, delegate.compile_specs) == ("CoreMLBackend", {"compute_units": "cpu_only", "model_type": "model"})
    assert delegate.coreml is not None
    assert f"model.{delegate.coreml.kind}/" in "".join(delegate.coreml.files)
    assert sum(delegate.coreml.files.values()) < delegate.size < summary.size == pte.stat().st_size
    assert json.loads(json.dumps(summary.to_dict()))["methods"][0]["delegates"][0]["coreml"]["inputs"] == ["x"]


def test_the_command_line_inspects_programs(pte: Path) -> None:
    from click.testing import CliRunner

    from moka.cli import main

    shown = CliRunner().invoke(main, ["inspect", str(pte)])
    assert shown.exit_code == 0, shown.output
    assert "Delegate 0: CoreMLBackend" in shown.output
    found = json.loads(CliRunner().invoke(main, ["inspect", "--json", str(pte)]).output)
    assert found["methods"][0]["delegates"][0]["backend"] == "CoreMLBackend"


def test_extracted_models_are_core_ml_models(pte: Path, tmp_path: Path, small: torch.nn.Module) -> None:
    (model,) = executorch.extract(pte, tmp_path / "out")
    x = torch.randn(2, 3)
    torch.testing.assert_close(torch.from_numpy(moka.load(model).predict({"x": x})["y"]), small(x))
    with pytest.raises(FileExistsError):
        executorch.extract(pte, tmp_path / "out")


def test_load_says_what_runs_programs(pte: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"ExecuTorch program, .*moka\.pytorch\.executorch\.load"):
        moka.load(pte)


@pytest.mark.skipif(HAS_EXECUTORCH, reason="executorch is installed")
@pytest.mark.parametrize("name", ["CoreMLPartitioner", "CoreMLBackend", "CompileSpec"])
def test_without_executorch_an_error_says_what_to_install(name: str) -> None:
    with pytest.raises(UnsupportedError, match="pip install executorch"):
        getattr(executorch, name)


def test_inspecting_imports_no_torch(pte: Path) -> None:
    code = "import sys, moka; moka.pytorch.executorch.inspect(sys.argv[1]); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, str(pte)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# --- with ExecuTorch


@pytest.fixture
def installed() -> Iterator[None]:
    executorch.install()
    yield
    executorch.uninstall()


def lowered(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, kind: str, *, dynamic: Any = None, **options: Any
) -> Path:
    """A program of ExecuTorch's own pipeline; ``kind`` is MODEL or COMPILED_MODEL."""
    import coremltools as ct
    from executorch.exir import to_edge_transform_and_lower

    backend = executorch.CoreMLBackend
    stated = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS17, **options}
    specs = backend.generate_compile_specs(model_type=backend.MODEL_TYPE[kind], **stated)
    partitioner = executorch.CoreMLPartitioner(compile_specs=specs)
    exported = torch.export.export(module, inputs, dynamic_shapes=dynamic)
    made = to_edge_transform_and_lower(exported, partitioner=[partitioner]).to_executorch()
    path.write_bytes(made.buffer)
    return path


@needs_executorch
@pytest.mark.filterwarnings("ignore:compiled in Moka's own reading:RuntimeWarning")
@pytest.mark.parametrize("kind", ["MODEL", "COMPILED_MODEL"])
def test_its_pipeline_makes_programs_that_run(kind: str, installed: None, small: torch.nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 3)
    path = lowered(small, (x,), tmp_path / "a.pte", kind)
    ((delegate,),) = (method.delegates for method in executorch.inspect(path).methods)
    assert delegate.coreml is not None
    assert delegate.coreml.kind == {"MODEL": "mlpackage", "COMPILED_MODEL": "mlmodelc"}[kind]
    torch.testing.assert_close(executorch.load(path).load_method().execute([x])[0], small(x), rtol=1e-5, atol=1e-5)


@needs_executorch
@pytest.mark.filterwarnings("ignore:compiled in Moka's own reading:RuntimeWarning")
def test_states_stay_between_calls(installed: None, tmp_path: Path) -> None:
    import coremltools as ct

    x = torch.ones(2, 3)
    path = lowered(Counter().eval(), (x,), tmp_path / "a.pte", "COMPILED_MODEL", minimum_deployment_target=ct.target.iOS18)
    method = executorch.load(path).load_method()
    totals = [float(method.execute([x])[0][0, 0]) for _ in range(3)]
    assert totals == [1.0, 2.0, 3.0]
    assert float(executorch.load(path).load_method().execute([x])[0][0, 0]) == 1.0


@needs_executorch
@pytest.mark.filterwarnings("ignore:compiled in Moka's own reading:RuntimeWarning")
def test_dynamic_shapes_are_bounded(installed: None, small: torch.nn.Module, tmp_path: Path) -> None:
    dynamic = ({0: torch.export.Dim("n", min=2, max=8)},)
    path = lowered(small, (torch.randn(2, 3),), tmp_path / "a.pte", "COMPILED_MODEL", dynamic=dynamic)
    method = executorch.load(path).load_method()
    for count in (2, 5, 8):
        x = torch.randn(count, 3)
        torch.testing.assert_close(method.execute([x])[0], small(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="at most"):
        method.execute([torch.randn(9, 3)])


class Mixed(torch.nn.Module):
    """Core ML, then what ExecuTorch's partitioner leaves out, with lists, constants and scalars, then Core ML again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 4)
        self.register_buffer("table", torch.arange(12.0).reshape(2, 6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = torch.relu(self.first(x))
        z = torch.asinh(y) + self.table
        left = torch.diagonal(torch.asinh(self.table) @ z.T)
        return self.second(z * 2), torch.argmax(z), left, torch.cat([x, y], 0)


@needs_executorch
@pytest.mark.filterwarnings("ignore:compiled in Moka's own reading:RuntimeWarning")
@pytest.mark.parametrize("skipped", [[], ["aten.cat.default", "aten.add.tensor", "aten.permute_copy.default", "aten.mul.tensor"]])
def test_parts_that_were_not_delegated_run_with_pytorch(skipped: list[str], installed: None, tmp_path: Path) -> None:
    from executorch.exir import to_edge_transform_and_lower

    torch.manual_seed(3)
    module, x = Mixed().eval(), torch.randn(2, 6)
    import coremltools as ct

    specs = executorch.CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS18
    )
    names = [*skipped, *(f"aten::{name.removeprefix('aten.')}" for name in skipped)]
    partitioner = executorch.CoreMLPartitioner(compile_specs=specs, skip_ops_for_coreml_delegation=names)
    made = to_edge_transform_and_lower(torch.export.export(module, (x,)), partitioner=[partitioner]).to_executorch()
    path = tmp_path / "mixed.pte"
    path.write_bytes(made.buffer)
    (method,) = executorch.inspect(path).methods
    assert method.instructions["delegate"] >= 1
    assert "aten::asinh.out" in method.operators
    if skipped:
        assert len(method.operators) > 3
    found = executorch.load(path).load_method().execute([x])
    for ours, theirs in zip(found, module(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@needs_executorch
def test_strictly_what_is_not_known_is_refused(small: torch.nn.Module, tmp_path: Path) -> None:
    executorch.install(unverified=False)
    try:
        with pytest.raises(UnsupportedError, match="has been seen in no model that Apple compiled"):
            lowered_strictly(small, tmp_path)
    finally:
        executorch.uninstall()


def lowered_strictly(small: torch.nn.Module, folder: Path) -> Path:
    """As `lowered`, by ExecuTorch's own names, which leave what is installed as it is."""
    import coremltools as ct
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import to_edge_transform_and_lower

    kind = CoreMLBackend.MODEL_TYPE.COMPILED_MODEL
    specs = CoreMLBackend.generate_compile_specs(model_type=kind, minimum_deployment_target=ct.target.iOS26)
    exported = torch.export.export(small, (torch.zeros(2, 3),))
    made = to_edge_transform_and_lower(exported, partitioner=[CoreMLPartitioner(compile_specs=specs)]).to_executorch()
    path = folder / "strict.pte"
    path.write_bytes(made.buffer)
    return path


@needs_executorch
def test_uninstalling_leaves_executorch_as_it_was() -> None:
    from executorch.backends.apple.coreml.compiler import CoreMLBackend

    before = dict(vars(CoreMLBackend))
    executorch.install()
    assert vars(CoreMLBackend)["preprocess"] is not before["preprocess"]
    executorch.install()
    executorch.uninstall()
    assert dict(vars(CoreMLBackend)) == before
