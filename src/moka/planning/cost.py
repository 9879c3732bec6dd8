"""What an operation takes to compute: arithmetic, bytes moved and weights read, from the program's types alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moka.ir.program import Argument, Block, Operation, Value
from moka.ir.types import TensorType
from moka.passes.rows import row_count
from moka.planning.arithmetic import IN_PLACE, PARTIAL, family_of, flops_of, is_constant, is_stated
from moka.planning.sizes import Sizes

__all__ = ["NOTHING", "Work", "work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one execution of an operation takes, in declared types.

    Attributes:
        family: the kind of arithmetic, for devices and engines are not equally good at all of them: ``convolution``, ``depthwise``,
            ``product``, ``recurrent``, ``elementwise``, ``move`` (data is only moved), ``view`` (not even that), ``none``.
        dtype: the element type that it is computed in, by name.
        flops: arithmetic operations; a multiplication with an addition counts two, a transcendental function one.
        read: bytes of computed values read.
        written: bytes written.
        weights: bytes of constants read, decompressed.
        stored: bytes of the same constants as the file stores them.
        kept: bytes of a value, or of a state's row, of which the rest is changed, as they were: what is changed in place leaves them, all
            else copies them.
        exact: whether every size is known. One that is not counts as 1, a loop's body once: then all numbers are lower bounds.
        dynamic: whether the program leaves a size of the result open, so that it is known only when the operation runs.
    """

    family: str
    dtype: str
    flops: int = 0
    read: int = 0
    written: int = 0
    weights: int = 0
    stored: int = 0
    kept: int = 0
    exact: bool = True
    dynamic: bool = False

    @property
    def bytes(self) -> int:
        """All bytes moved."""
        return self.read + self.written + self.weights


NOTHING = Work("none", "")

_HANDFUL = 64


def work(operation: Operation, sizes: Sizes) -> Work:
    """The work of an operation with all that is nested in it: of a condition, that of its more expensive branch."""
    if is_stated(operation):
        return NOTHING
    own = _own_work(operation, sizes)
    if not operation.blocks:
        return own
    inner = [_total(block, sizes) for block in operation.blocks]
    chosen = [max(inner, key=lambda item: (item.flops, item.bytes))] if operation.type == "cond" else inner
    return _sum([own, *chosen], exact=operation.type != "while_loop")


def _total(block: Block, sizes: Sizes) -> Work:
    return _sum([work(operation, sizes) for operation in block.operations])


def _sum(items: Iterable[Work], exact: bool = True) -> Work:
    """Several works as one, of the family and type of the one with the most arithmetic."""
    parts = [item for item in items if item.family != "none"] or [NOTHING]
    main = max(parts, key=lambda item: item.flops)
    totals = {name: sum(getattr(item, name) for item in parts) for name in ("flops", "read", "written", "weights", "stored", "kept")}
    dynamic = any(item.dynamic for item in parts)
    return Work(main.family, main.dtype, **totals, exact=exact and all(item.exact for item in parts), dynamic=dynamic)


def _own_work(operation: Operation, sizes: Sizes) -> Work:
    family = family_of(operation, sizes)
    stated = {argument: is_constant(argument) for argument in operation.arguments()}
    computed = [argument for argument in operation.arguments() if not stated[argument]]
    constants = [argument for argument in operation.arguments() if stated[argument] and _is_weight(argument, sizes)]
    weights, stored = sum(map(sizes.bytes, constants)), sum(_stored(argument, sizes) for argument in constants)
    read, written = sum(map(sizes.bytes, computed)), sum(map(sizes.bytes, operation.outputs))
    if family == "view":
        read = written = weights = stored = 0
    elif operation.type in PARTIAL:  # only what comes out is read, not the whole of what it is taken from
        read, weights, stored = min(read, written), min(weights, written), min(stored, written)
    kept = 0
    if operation.type in IN_PLACE:
        changed = sum(sizes.bytes(argument) for name in ("update", "updates") for argument in operation.inputs.get(name, ()))
        whole = written // row_count(operation)
        read, written, kept = changed, changed, max(0, whole - changed)
    exact = all(map(sizes.is_exact, (*operation.arguments(), *operation.outputs)))
    numbers = (flops_of(operation, sizes), read, written, weights, stored, kept)
    return Work(family, _dtype(operation, sizes), *numbers, exact, any(map(_is_open, operation.outputs)))


def _is_open(value: Value) -> bool:
    return isinstance(value.type, TensorType) and not value.type.is_static


def _is_weight(argument: Argument, sizes: Sizes) -> bool:
    """Whether a constant is one of numbers, not a handful of sizes or axes."""
    dtype = sizes.dtype(argument)
    return dtype is not None and (dtype.is_float or sizes.count(argument) > _HANDFUL)


def _dtype(operation: Operation, sizes: Sizes) -> str:
    """The type of the arithmetic: of the first float among inputs and outputs, else of the first output."""
    held = [sizes.dtype(argument) for argument in (*operation.arguments(), *operation.outputs)]
    floats = [dtype for dtype in held if dtype is not None and dtype.is_float]
    others = [dtype for dtype in reversed(held) if dtype is not None]
    return next((dtype.name for dtype in (*floats, *others)), "")


def _stored(argument: Argument, sizes: Sizes) -> int:
    """Bytes that a constant takes in the file: of a compressed one, those of all that it is made of."""
    if isinstance(argument, Value) and argument.producer is not None and argument.producer.type.startswith("constexpr_"):
        parts = (*argument.producer.arguments(), *argument.producer.attributes.values())
        return sum(_stored(part, sizes) for part in parts)
    return sizes.bytes(argument)
