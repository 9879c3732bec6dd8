"""What Moka is compared with: each engine run on a network as its own documentation recommends, and networks as each takes them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from examples.networks import Network
from examples.networks.network import Built

__all__ = ["PEERS", "Array", "Case", "Peer", "Run"]

Array = np.ndarray[Any, Any]
Run = Callable[[], Sequence[Any]]
"""Computes the outputs once, as arrays or tensors."""


@dataclass
class Case:
    """A network on its way through one comparison; every form of it is made when it is first asked for, and kept in ``folder``."""

    network: Network
    folder: Path
    threads: int = 2

    @cached_property
    def built(self) -> Built:
        return self.network.build()

    @cached_property
    def inputs(self) -> dict[str, Array]:
        return {name: tensor.numpy() for name, tensor in self.built.steps[0].items()}

    @cached_property
    def expected(self) -> list[Array]:
        """PyTorch's own outputs."""
        return [output.numpy() for output in self.built()[0]]

    def package(self, precision: str) -> Path:
        return self.network.package(self.folder, precision)[0]

    @property
    def samples(self) -> Path:
        """The inputs in a file, for a process that has to be without PyTorch's module."""
        path = self.folder / f"{self.network.name}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(path, **self.inputs)
        return path

    @property
    def export(self) -> Path:
        """The network as ``torch.onnx.export`` writes it."""
        path = self.folder / f"{self.network.name}.onnx"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                torch.onnx.export(self.built.module, (), path, kwargs=self.built.steps[0], dynamo=True, external_data=False)
        return path

    @property
    def mobile(self) -> Path:
        """The network as LiteRT's own converter writes it."""
        path = self.folder / f"{self.network.name}.tflite"
        if not path.exists():
            import litert_torch

            litert_torch.convert(self.built.module, sample_kwargs=self.built.steps[0]).export(str(path))
        return path

    @property
    def ncnn(self) -> Path:
        """The export as ncnn's own converter turns it into layers; their weights are in a file beside."""
        path = self.export.with_suffix(".ncnn.param")
        if not path.exists():
            import pnnx

            call = [pnnx.EXEC_PATH, self.export.name, "fp16=0", "optlevel=2"]
            done = subprocess.run(call, cwd=self.folder, capture_output=True, text=True, timeout=600)
            if done.returncode or not path.exists():
                raise RuntimeError(f"pnnx can't convert {self.export.name}: {(done.stderr or done.stdout).splitlines()[-1:]}")
        return path


@dataclass(frozen=True)
class Peer:
    """An engine as it takes part in a comparison.

    Attributes:
        load: from files to what runs; inputs are given already where the engine keeps memory for them.
        packages: what has to be installed.
        prepare: makes the files that ``load`` reads.
        imports: does the imports that ``load`` would do, beside ``packages``.
        precision: what it computes in: ``fp32`` or ``bf16``; only equals are compared.
    """

    name: str
    load: Callable[[Case, dict[str, Array]], Run]
    packages: tuple[str, ...] = ()
    prepare: Callable[[Case], object] = lambda case: None
    imports: Callable[[], object] = lambda: None
    precision: str = "fp32"

    @property
    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(package) is not None for package in self.packages)


def _import_moka() -> None:
    """All that loading an ML Program imports, whichever engine runs it."""
    from moka.formats import schema

    schema.model()
    names = ["moka.models.program_model", "openvino", "onnxruntime"]
    if importlib.util.find_spec("onnx") is not None:
        names += ["moka.engines.onnx.families", "moka.engines.onnx.openvino", "moka.engines.onnx.ort"]
    for name in names:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


def _moka(case: Case, inputs: dict[str, Array], precision: str = "fp32", **options: Any) -> Run:
    import moka

    model = moka.load(case.package(precision), threads=case.threads, **options)
    return lambda: list(model.predict(inputs).values())


def _onnxruntime(case: Case, inputs: dict[str, Array]) -> Run:
    """With inputs and outputs bound to memory that is allocated once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(case.export), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for item in session.get_inputs():
        binding.bind_ortvalue_input(item.name, onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(inputs[item.name])))
    results = [onnxruntime.OrtValue.ortvalue_from_shape_and_type(item.shape, np.float32) for item in session.get_outputs()]
    for item, value in zip(session.get_outputs(), results, strict=True):
        binding.bind_ortvalue_output(item.name, value)

    def run() -> list[Array]:
        session.run_with_iobinding(binding)
        return [value.numpy() for value in results]

    return run


def _openvino(case: Case, inputs: dict[str, Array], precision: str = "f32") -> Run:
    """With the hint for latency, and tensors that are allocated once."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(case.threads)}
    compiled = openvino.Core().compile_model(os.fspath(case.export), "CPU", settings)
    request = compiled.create_infer_request()
    for index, port in enumerate(compiled.inputs):
        array = np.ascontiguousarray(inputs[port.any_name], port.get_element_type().to_dtype())
        request.set_input_tensor(index, openvino.Tensor(array))
    results = [request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    def run() -> list[Array]:
        request.infer()
        return results

    return run


def _eager(case: Case, inputs: dict[str, Array]) -> Run:
    built = case.built

    def run() -> Sequence[torch.Tensor]:
        with torch.inference_mode():
            result = built.module(**built.steps[0])
        return result if isinstance(result, tuple) else (result,)

    return run


def _compiled(case: Case, inputs: dict[str, Array]) -> Run:
    """Inductor with weights as constants, which it packs and folds."""
    import torch._inductor.config as settings

    settings.freezing = True  # type: ignore[attr-defined]
    module = torch.compile(case.built.module)
    step = case.built.steps[0]

    def run() -> Sequence[torch.Tensor]:
        with torch.no_grad():
            result = module(**step)
        return result if isinstance(result, tuple) else (result,)

    return run


def _litert(case: Case, inputs: dict[str, Array]) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(os.fspath(case.mobile), num_threads=case.threads)
    runner = interpreter.get_signature_runner()
    return lambda: list(runner(**inputs).values())


def _ncnn(case: Case, inputs: dict[str, Array]) -> Run:
    """Its tensors have no axis for a batch of one."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = case.threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(os.fspath(case.ncnn)) or net.load_model(os.fspath(case.ncnn.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn can't load {case.ncnn}")
    given = {f"in{number}": np.ascontiguousarray(array[0]) for number, array in enumerate(inputs.values())}
    names = net.output_names()

    def run() -> list[Array]:
        extractor = net.create_extractor()
        for name, array in given.items():
            extractor.input(name, ncnn.Mat(array))
        return [np.array(extractor.extract(name)[1])[None] for name in names]

    return run


PEERS = {
    peer.name: peer
    for peer in (
        Peer("moka", _moka, prepare=lambda case: case.package("fp32"), imports=_import_moka),
        Peer("onnxruntime", _onnxruntime, ("onnxruntime", "onnxscript"), lambda case: case.export),
        Peer("openvino", _openvino, ("openvino", "onnxscript"), lambda case: case.export),
        Peer("eager", _eager),
        Peer("compile", _compiled),
        Peer("litert", _litert, ("ai_edge_litert", "litert_torch"), lambda case: case.mobile),
        Peer("ncnn", _ncnn, ("ncnn", "pnnx", "onnxscript"), lambda case: case.ncnn),
        Peer(
            "moka-bf16",
            lambda case, inputs: _moka(case, inputs, "fp16", allow_low_precision=True),
            prepare=lambda case: case.package("fp16"),
            imports=_import_moka,
            precision="bf16",
        ),
        Peer(
            "openvino-bf16",
            lambda case, inputs: _openvino(case, inputs, "bf16"),
            ("openvino", "onnxscript"),
            lambda case: case.export,
            precision="bf16",
        ),
    )
}
