"""PyTorch to Core ML, loaded and ready to run."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from moka.errors import FormatError, InputError, UnsupportedError
from moka.models.configuration import ComputeUnits
from moka.models.model import Model, load
from moka.pytorch.config import DelegateConfig
from moka.pytorch.decomposition import rewrite
from moka.pytorch.frontend import converting, coremltools, quiet
from moka.pytorch.layouts import in_order
from moka.pytorch.lowering import misread
from moka.pytorch.module import CoreMLModule

__all__ = ["ImageInput", "convert", "in_evaluation", "load_exported", "source_line"]

Progress: TypeAlias = Callable[[str], object]
Color: TypeAlias = Literal["RGB", "BGR", "GRAYSCALE"]

_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
_TARGET, _STATE_TARGET = "iOS17", "iOS18"
_PRECISIONS = ("float16", "float32")
_WRAPPED = "_wrapped_as_tensor_for_coreml"
"""What coremltools appends to the names of inputs without dimensions, which Core ML has not."""

_COLORS = ("RGB", "BGR", "GRAYSCALE")


@dataclass(frozen=True)
class ImageInput:
    """An input that apps give as an image. The network gets [1, channels, height, width] of ``scale * pixel + bias``, pixels from 0 to 255.

    Attributes:
        bias: one number, or one for each channel in the order of ``color``.
    """

    color: Color = "RGB"
    scale: float = 1.0
    bias: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        if self.color not in _COLORS:
            raise InputError(f"color is {self.color!r}; expected one of {', '.join(_COLORS)}")
        count = 1 if self.color == "GRAYSCALE" else 3
        if isinstance(self.bias, tuple) and len(self.bias) != count:
            raise InputError(f"bias has {len(self.bias)} numbers; a {self.color} image has {count} channels")

    @property
    def bias_argument(self) -> Any:
        """As coremltools wants it: one number for a grey image, three for a coloured one."""
        if self.color == "GRAYSCALE":
            return self.bias[0] if isinstance(self.bias, tuple) else self.bias
        return list(self.bias) if isinstance(self.bias, tuple) else [self.bias] * 3


def convert(
    module: torch.nn.Module | ExportedProgram | str | os.PathLike[str],
    example_inputs: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    precision: str = "float16",
    target: str | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    images: Mapping[str, ImageInput] | None = None,
    class_labels: Sequence[str] = (),
    dynamic_shapes: Any = None,
    compute_units: ComputeUnits = "ALL",
    progress: Progress = lambda text: None,
) -> Model:
    """Converts a PyTorch module to a Core ML model, and loads it.

    Buffers that the module changes become the model's states, of fp16, as Core ML has them. coremltools converts.

    Args:
        module: a module (exported in its evaluation mode), an exported program, or the path of one (``.pt2``).
        example_inputs: what the module is called with, in order or by name; not for exported programs.
        path: where the ``.mlpackage`` goes; None for a temporary folder that lives as long as the model.
        precision: of the computation and of the weights, ``float16`` or ``float32``.
        target: the oldest system that is to load the model, ``iOS15`` to ``iOS26``; None for iOS 17, or iOS 18 where states need it.
        inputs, outputs: names, in order; those of the program where they are left out.
        images: by name the inputs that are images.
        class_labels: makes a classifier of it, with the outputs ``classLabel`` and ``classLabel_probs``; the module's one output has a
            probability for each label.
        dynamic_shapes: as `torch.export.export` takes them.
        compute_units: what the loaded model may run on.
        progress: called with a text at each step.

    Raises:
        InputError: an argument has a value that it can't have.
        FormatError: the file holds no exported program.
        UnsupportedError: PyTorch can't export the module, or coremltools can't convert it; the message says where in it.
    """
    _check(path, precision, target)
    if class_labels and outputs:
        raise InputError("outputs: those of a classifier can't be named; they are classLabel and classLabel_probs")
    progress("exporting")
    exported = _exported(module, example_inputs, dynamic_shapes)
    names = tuple(inputs) or (module.inputs if isinstance(module, CoreMLModule) else ())
    progress("decomposing")
    program = _decomposed(exported)
    request = _Request(program, names, tuple(outputs), dict(images or {}), tuple(class_labels), precision, target)
    progress("converting")
    package = request.convert()
    progress("saving")
    destination = Path(tempfile.mkdtemp(prefix="moka_")) / "model.mlpackage" if path is None else Path(path)
    _save(package, destination)
    progress("loading")
    model = load(destination, compute_units=compute_units)
    if path is None:
        weakref.finalize(model, shutil.rmtree, destination.parent, ignore_errors=True)
    return model


def load_exported(path: str | os.PathLike[str]) -> ExportedProgram:
    """An exported program from a ``.pt2`` file.

    Raises:
        InputError: there is no such file.
        FormatError: it holds none.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a program saved with torch.export.save")
    try:
        with quiet():
            program: ExportedProgram = torch.export.load(str(path))
    except Exception as error:
        raise FormatError(path, f"holds no program of torch.export.save: {type(error).__name__}: {error}") from error
    return program


def _check(path: Any, precision: str, target: str | None) -> None:
    if precision not in _PRECISIONS:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(_PRECISIONS)}")
    if target is not None and target not in _TARGETS:
        raise InputError(f"target is {target!r}; expected one of {', '.join(_TARGETS)}")
    if path is not None and Path(path).suffix != ".mlpackage":
        raise InputError(f"path is {str(path)!r}; expected a name that ends in .mlpackage")


def _exported(module: Any, example_inputs: Any, dynamic_shapes: Any) -> ExportedProgram:
    if not isinstance(module, torch.nn.Module | ExportedProgram):
        module = load_exported(module)
    if isinstance(module, ExportedProgram):
        if example_inputs is not None or dynamic_shapes is not None:
            raise InputError("example_inputs and dynamic_shapes are for modules; an exported program has its own")
        return module
    if example_inputs is None:
        raise InputError("example_inputs is missing: give the tensors that the module is called with, in a tuple or a dict")
    named = isinstance(example_inputs, Mapping)
    args = () if named else tuple(example_inputs)
    kwargs = dict(example_inputs) if named else {}
    with in_evaluation(module), torch.no_grad(), quiet():
        try:
            return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes)
        except Exception as error:
            raise UnsupportedError(f"{type(module).__name__}: torch.export can't capture it: {_first_line(error)}") from error


@contextmanager
def in_evaluation(module: torch.nn.Module) -> Iterator[None]:
    """The module without dropout and the like, as it was before afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _decomposed(exported: ExportedProgram) -> ExportedProgram:
    with quiet():
        decomposed: ExportedProgram = exported.run_decompositions({})
    for node in decomposed.graph.find_nodes(op="placeholder"):
        if isinstance(node.meta.get("val"), FakeTensor):
            node.meta["val"] = in_order(node.meta["val"])
    return decomposed


@dataclass(frozen=True)
class _Request:
    """One conversion: the program and everything that is asked of the model."""

    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    images: dict[str, ImageInput]
    labels: tuple[str, ...]
    precision: str
    target: str | None

    def convert(self) -> Any:
        """The model as coremltools has it, with its inputs' names."""
        ct = coremltools()
        own = self.program.graph_signature.user_inputs
        new = dict(zip(own, self._renamed("inputs", self.inputs, own), strict=True))
        given = self._renamed("outputs", self.outputs, self.program.graph_signature.user_outputs)
        if unknown := self.images.keys() - set(new.values()):
            raise InputError(f"images: {min(unknown)!r} is no input; there are {', '.join(new.values())}")
        tried = set()
        while True:
            node, error = next(filter(misread, self.program.graph.nodes), None), None
            if node is None:
                try:
                    with converting():
                        return _with_names(ct, self._converted(ct, new, given), new)
                except Exception as refused:
                    node, error = self._node(refused), refused
            if node is None or node.target in tried or not rewrite(self.program, node, self._config):
                raise UnsupportedError(self._refusal(node, error)) from error
            tried.add(node.target)

    def _converted(self, ct: Any, new: Mapping[str, str], given: Sequence[str]) -> Any:
        return ct.convert(
            self.program,
            inputs=self._described(ct, new) if self.images else None,
            outputs=[ct.TensorType(name=name) for name in given] if self.outputs else None,
            classifier_config=ct.ClassifierConfig(list(self.labels)) if self.labels else None,
            convert_to="mlprogram",
            compute_precision=getattr(ct.precision, self.precision.upper()),
            minimum_deployment_target=getattr(ct.target, self._config.target),
            skip_model_load=True,
        )

    @property
    def _config(self) -> DelegateConfig:
        """The target in the form that the delegate, which tries the same conversions, takes it."""
        kinds = {item.kind for item in self.program.graph_signature.output_specs}
        default = _STATE_TARGET if OutputKind.BUFFER_MUTATION in kinds else _TARGET
        return DelegateConfig(minimum_deployment_target=self.target or default)

    def _renamed(self, what: str, names: tuple[str, ...], own: Sequence[Any]) -> Sequence[str]:
        if names and (len(names) != len(own) or len(set(names)) != len(names)):
            raise InputError(f"{what}: {', '.join(names)} are given; the program has {len(own)}: {', '.join(map(str, own))}")
        return names or [str(name) for name in own]

    def _described(self, ct: Any, names: Mapping[str, str]) -> list[Any]:
        """coremltools' descriptions of the inputs; it takes all but images from the program."""
        nodes = {node.name: node.meta["val"] for node in self.program.graph.find_nodes(op="placeholder")}
        return [
            ct.ImageType(name=own, shape=tuple(nodes[own].shape), scale=image.scale, bias=image.bias_argument, color_layout=image.color)
            if (image := self.images.get(new)) is not None
            else ct.TensorType(name=own)
            for own, new in names.items()
        ]

    def _node(self, error: Exception) -> Any:
        """The node that coremltools was at when it failed; None where that can't be told."""
        return next((item for item in self.program.graph.nodes if item.name == _node_name(error.__traceback__)), None)

    def _refusal(self, node: Any, error: Exception | None) -> str:
        """What coremltools says, with the node and the line of the user's code that it was at."""
        line = source_line(node) if node is not None else ""
        where = f"node {node.name!r} ({node.target}){f' ({line})' if line else ''}" if node is not None else "the program"
        why = _first_line(error) if error is not None else "it makes something else of these arguments"
        return f"{where}: coremltools can't convert it: {why}; moka.pytorch.delegate leaves such operators to PyTorch"


def source_line(node: Any) -> str:
    """The innermost line of the user's code that a node comes from: ``model.py:12: x = torch.foo(x)``; empty where it isn't known."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip()]
    places = [index for index, line in enumerate(lines) if line.startswith("File ")]
    own = [index for index in places if "/torch/" not in lines[index].replace(os.sep, "/")] or places
    if not own:
        return ""
    file, _, rest = lines[own[-1]].removeprefix("File ").partition(", line ")
    code = lines[own[-1] + 1] if own[-1] + 1 < len(lines) and own[-1] + 1 not in places else ""
    return f"{Path(file.strip(chr(34))).name}:{rest.partition(',')[0]}{': ' + code if code else ''}"


def _node_name(traceback: TracebackType | None) -> str | None:
    """The name of the node that coremltools was at when it failed."""
    found = None
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("node")
        found = getattr(node, "name", None) or found
        traceback = traceback.tb_next
    return found if isinstance(found, str) else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else inspect.getdoc(type(error)) or 'no reason given'}"


def _with_names(ct: Any, model: Any, names: Mapping[str, str]) -> Any:
    """The model with its inputs renamed; coremltools renames those without dimensions, too."""
    specification = model.get_spec()
    given = {item.name for item in specification.description.input}
    changes = {name: new for old, new in names.items() for name in (old, old + _WRAPPED) if name in given and old != new}
    if not changes:
        return model
    for old, new in changes.items():
        ct.utils.rename_feature(specification, old, new, rename_outputs=False)
    with quiet():
        return ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True)


def _save(package: Any, destination: Path) -> None:
    """Writes beside the destination first, so that a package there is replaced by a whole one or not at all."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".moka_") as folder:
            made = Path(folder) / destination.name
            with quiet():
                package.save(str(made))
            if destination.is_dir():
                os.replace(destination, Path(folder) / "old")
            elif destination.exists():
                destination.unlink()
            os.replace(made, destination)
    except OSError as error:
        raise InputError(f"{destination}: can't be written: {error.strerror}") from error
