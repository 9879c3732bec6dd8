"""What PyTorch runs of a delegated program, as a ``.pt2`` file and back, without pickle and without code.

In the file the operator ``moka::segment`` stands for each Core ML model. PyTorch's own reader would unpickle some members of such a file,
evaluate formulas and guards as Python, and look operators up by any path below ``torch``. So a file is read only after a look at what is in
it: plain tensors, formulas made of symbols, numbers and a few functions, no guards, and names of registered operators.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from torch.fx import GraphModule, Node

from moka.errors import FormatError
from moka.pytorch.delegated import DelegatedModule
from moka.pytorch.program import outputs_of
from moka.pytorch.segments import Segment

__all__ = ["call_segments", "read_remainder", "write_remainder"]

_LIBRARY = torch.library.Library("moka", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("segment(str name, Tensor[] tensors, SymInt[] numbers, str order) -> Tensor[]")  # type: ignore[no-untyped-call]
_OPERATOR = torch.ops.moka.segment.default
_TENSOR, _NUMBER = "t", "n"

_MEMBERS = re.compile(
    r"[^/]+/(data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|archive_format|archive_version|byteorder|\.data/(version|serialization_id))"
)
_EMPTY = "data/sample_inputs/model.pt"
_LARGEST = 2**28
_WORD = re.compile(r"[A-Za-z_]\w*")
_FORMULA = re.compile(r"[\w\s()+*/,<>=!-]*")
_SYMBOL = re.compile(r"[suz]\d+|zuf\d+")
_QUOTED = re.compile(r"'([suz]\d+|zuf\d+)'")
_FUNCTIONS = re.compile(
    r"Symbol|Integer|Rational|Float|Add|Mul|Pow|positive|nonnegative|nonzero|negative|integer|real|finite|zero|True|False"
    r"|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|ModularIndexing|IntTrueDiv|FloatTrueDiv|TruncToInt|FloorToInt|CeilToInt|RoundToInt"
    r"|ToFloat|PowByNatural|FloatPow|Identity|Where|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|oo|int_oo|floor|ceiling"
)
_OPERATORS = (torch._ops.OpOverload, torch._ops.HigherOrderOperator)
_CODE = ("torch", "math", "_operator")
_NUMERIC = re.compile(
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_)|math\.(ceil|floor|trunc)"
    r"|torch\.sym_(float|int|max|min|not|ite|sum)|torch\._sym_sqrt"
)


def write_remainder(module: DelegatedModule, path: Path) -> None:
    """Writes what PyTorch runs of a delegated program."""
    module.read_states()
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph_module.graph, {}))
    for node in graph.nodes:
        node.meta = {"val": node.meta.get("val")}
    for node in graph.find_nodes(op="call_module"):
        _stand_in(graph, node, module.segments[node.target])
    tensors = dict(module.named_buffers())
    held = dict(zip([node.name for node in graph.find_nodes(op="placeholder")], module.targets, strict=True))
    inputs = [_input(node, held[node.name]) for node in graph.find_nodes(op="placeholder")]
    outputs = [OutputSpec(kind, _argument(value), target) for value, (kind, target) in zip(outputs_of(graph), module.results, strict=True)]
    own = {target: tensors[target] for target in held.values() if target is not None}
    calls = list(module.calling.module_call_graph)
    exported = ExportedProgram(
        GraphModule(module.graph_module, graph), graph, ExportGraphSignature(inputs, outputs), own, dict(module.calling.ranges), calls
    )
    exported._guards_code = []
    torch.export.save(exported, path)


def read_remainder(data: bytes, where: str) -> ExportedProgram:
    """Reads what `write_remainder` wrote: the file's content.

    Raises:
        FormatError: it holds anything else.
    """
    _inspect(data, where)
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:
        raise FormatError(where, f"is no program that this PyTorch ({torch.__version__}) reads: {error}") from error


def call_segments(module: GraphModule, where: str) -> None:
    """Puts calls of a module's own segments in the place of the operators that stand for them; it is not compiled anew."""
    graph = module.graph
    for node in graph.find_nodes(op="call_function", target=_OPERATOR):
        name, tensors, numbers, order = node.args
        if not isinstance(module._modules.get(name), Segment) or not set(order) <= {_TENSOR, _NUMBER}:
            raise FormatError(where, f"calls segment {name!r}, which the archive has not")
        kinds = {_TENSOR: iter(tensors), _NUMBER: iter(numbers)}
        with graph.inserting_before(node):
            call = graph.call_module(name, tuple(next(kinds[kind]) for kind in order))
        call.meta = node.meta
        node.replace_all_uses_with(call)
        graph.erase_node(node)


def _stand_in(graph: torch.fx.Graph, node: Node, segment: Segment) -> None:
    """The operator in place of a segment's call."""
    order = "".join(_NUMBER if port.number else _TENSOR for port in segment.ports.inputs)
    tensors = [value for value, kind in zip(node.args, order, strict=True) if kind == _TENSOR]
    numbers = [value for value, kind in zip(node.args, order, strict=True) if kind == _NUMBER]
    with graph.inserting_before(node):
        call = graph.call_function(_OPERATOR, (str(node.target), tensors, numbers, order))
    call.meta["val"] = list(node.meta["val"])
    node.replace_all_uses_with(call)
    graph.erase_node(node)


def _input(node: Node, target: str | None) -> InputSpec:
    if target is None:
        return InputSpec(InputKind.USER_INPUT, _argument(node), None)
    return InputSpec(InputKind.BUFFER, TensorArgument(node.name), target, persistent=True)


def _argument(value: Any) -> Any:
    if not isinstance(value, Node):
        return ConstantArgument("", value)
    found = value.meta.get("val")
    if isinstance(found, torch.Tensor):
        return TensorArgument(value.name)
    return SymIntArgument(value.name) if isinstance(found, torch.SymInt) else ConstantArgument(value.name, found)


def _inspect(data: bytes, where: str) -> None:
    """Raises FormatError for a file whose reading could do anything but build a graph."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if not _MEMBERS.fullmatch(info.filename) or (info.filename.endswith(_EMPTY) and info.file_size):
                    raise FormatError(where, f"holds {info.filename!r}, which may be code: it was not written by moka.pytorch.save")
                if info.filename.endswith(".json"):
                    _inspect_json(archive, info, where)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(where, f"is damaged: {error}") from error


def _inspect_json(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> None:
    if info.file_size > _LARGEST:
        raise FormatError(f"{where}: {info.filename}", f"has more than {_LARGEST} bytes")
    for key, value in _entries(json.loads(archive.read(info))):
        if key == "use_pickle" and value:
            problem = "holds a pickled tensor, and unpickling runs code"
        elif key == "expr_str" and not _is_formula(value):
            problem = f"has the formula {value!r}; expected symbols, numbers and functions of sizes"
        elif key == "guards_code" and value:
            problem = "holds guards, which are code"
        elif (
            key == "target" and isinstance(value, str) and value.partition(".")[0] in ("torch", "math", "_operator") and not _is_call(value)
        ):
            problem = f"calls {value!r}; expected a registered operator"
        elif key == "range_constraints" and not all(map(_is_formula, value)):
            problem = "has ranges of what is no symbol"
        else:
            continue
        raise FormatError(f"{where}: {info.filename}", f"{problem}: it was not written by moka.pytorch.save")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All entries of all objects in a JSON document."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _is_formula(text: Any) -> bool:
    """Whether a text, which PyTorch evaluates, is made of symbols, numbers and functions of sizes."""
    if not isinstance(text, str) or not _FORMULA.fullmatch(text := _QUOTED.sub(r"\1", text)):
        return False
    return all(_SYMBOL.fullmatch(word) or _FUNCTIONS.fullmatch(word) for word in _WORD.findall(text))


def _is_call(target: str) -> bool:
    """Whether a target is an operator that PyTorch's dispatcher has, or arithmetic on sizes."""
    if _NUMERIC.fullmatch(target):
        return True
    if not target.startswith("torch.ops."):
        return False
    found: Any = torch.ops
    for name in target.split(".")[2:]:
        found = getattr(found, name, None)
        if not isinstance(
            found, (torch._ops._OpNamespace, torch._ops.OpOverloadPacket, torch._ops.OpOverload, torch._ops.HigherOrderOperator)
        ):
            return False
    return isinstance(found, (torch._ops.OpOverload, torch._ops.HigherOrderOperator))
