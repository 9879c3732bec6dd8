"""Branches and loops. Nested networks read and overwrite the blobs of the network around them.

What a nested network writes goes on living outside, so it is a result of MIL's ``cond`` and a variable of its ``while_loop``. A blob
that one side of a branch writes and that did not exist before is zeros after the other side, and so is one that a loop's body
writes, before the first iteration; the format leaves both open.

Where an iteration may be left early, two flags among the blobs tell whether it was; the layers that follow run only if not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._nested import may_break, may_end, never_ends, writes
from moka.importers.neural_network.layers._values import known_rank
from moka.importers.neural_network.registry import layer
from moka.importers.neural_network.translation import translate
from moka.ir.program import Block, Value
from moka.ir.types import TensorType

_BREAK, _CONTINUE = "\0break", "\0continue"
"""Names of the flags among the blobs; names in files have no such character."""

_MOST_ITERATIONS = 2**31 - 1
"""The largest limit that counts as one: a loop takes longer than anyone waits to get there, and int32 holds no larger count."""

_FLAGS = {"loopBreak": _BREAK, "loopContinue": _CONTINUE}


@layer("branch")
def branch(net: NetworkBuilder, params: Any, condition: Value) -> list[Value]:
    """One of two networks: ifBranch if the condition's absolute value is above 1e-6, else elseBranch."""
    _choose(net, _truth(net, condition), params.ifBranch.layers, params.elseBranch.layers)
    return []


@layer("loopBreak", "loopContinue")
def leave(net: NetworkBuilder, params: Any) -> list[Value]:
    """The end of the loop, or of its current iteration."""
    kind = net.layer.WhichOneof("layer")
    if _FLAGS[kind] not in net.blobs:
        raise ProgramError(f"{net.origin} is outside a loop; expected it in the bodyNetwork of one")
    net.blobs[_FLAGS[kind]] = _flag(net, True)
    return []


@layer("loop")
def loop(net: NetworkBuilder, params: Any, count: Value | None = None) -> list[Value]:
    """The body as often as the count or maxLoopIterations says, as long as the condition network says, or both."""
    conditional = bool(params.conditionVar)
    _check_loop(net, params, count)
    limit: Any = None
    if count is not None:
        limit = _scalar(net, net.cast(count, "int32"), "int32")
    elif params.maxLoopIterations or not conditional:
        limit = min(params.maxLoopIterations, _MOST_ITERATIONS)
    _sequence(net, params.conditionNetwork.layers)
    counter = net.emit_all("identity", 1, x=np.int32(0))[0]
    net.shapes.enter(counter)
    start = [_going(net, params, counter, limit), counter]
    written = writes([*params.conditionNetwork.layers, *params.bodyNetwork.layers])
    types = {name: _type(net.blobs[name]) for name in written if name in net.blobs}
    while True:
        blocks, found = _iteration(net, params, limit, start, types)
        if found == types:
            break
        types = found
    initial = [net.blobs[name] if name in net.blobs else _zeros(net, item) for name, item in types.items()]
    results = net.emit_blocks("while_loop", blocks, [*map(_type, start), *types.values()], loop_vars=[*start, *initial])
    net.blobs.update(zip(types, results[2:], strict=True))
    return []


def _check_loop(net: NetworkBuilder, params: Any, count: Value | None) -> None:
    condition, body = params.conditionNetwork.layers, params.bodyNetwork.layers
    if condition and not params.conditionVar:
        raise ProgramError(f"{net.origin}: conditionVar is empty; expected the name of a blob that conditionNetwork writes")
    limit = params.maxLoopIterations
    if count is not None or 0 < limit <= _MOST_ITERATIONS:
        return
    if not params.conditionVar and not (limit and may_break(body)):
        expected = f"expected 1 to {_MOST_ITERATIONS}, an input, or a conditionNetwork"
        raise ProgramError(f"{net.origin}: maxLoopIterations is {limit}; {expected}")
    if params.conditionVar and never_ends(condition, body, params.conditionVar):
        raise ProgramError(
            f"{net.origin} never ends once it has begun: maxLoopIterations is {limit}, bodyNetwork has no loopBreak, and neither network"
            f" changes what {params.conditionVar!r}, the conditionVar, is computed from"
        )


def _iteration(
    net: NetworkBuilder, params: Any, limit: Any, start: list[Value], types: dict[str, TensorType]
) -> tuple[list[Block], dict[str, TensorType]]:
    """The blocks of a loop whose variables have ``types``, and the types that would fit what an iteration makes of them as well."""
    test, body = Block(), Block()
    with _inside(net, test):
        test.inputs = _variables(net, start, types)
        test.outputs = [net.emit_all("identity", 1, x=test.inputs[0])[0]]
    with _inside(net, body):
        body.inputs = _variables(net, start, types)
        net.blobs.update(zip(types, body.inputs[2:], strict=True))
        before = net.blobs | {_BREAK: _flag(net, False), _CONTINUE: _flag(net, False)}
        net.blobs = dict(before)
        _sequence(net, params.bodyNetwork.layers)
        net.blobs[_CONTINUE] = before[_CONTINUE]
        _unless(net, net.blobs[_BREAK], params.conditionNetwork.layers)
        counter = net.emit_all("add", 1, rank=0, dtype="int32", x=body.inputs[1], y=1)[0]
        going = _going(net, params, counter, limit)
        going = _both(net, going, _opposite(net, net.blobs[_BREAK]))
        changed = [name for name, value in net.blobs.items() if before.get(name) is not value and name not in _FLAGS.values()]
        names = [*types, *(name for name in changed if name not in types)]
        body.outputs = [going, counter, *(_own(net, net.blobs[name]) for name in names)]
        found = {name: _joined(types.get(name), _type(net.blobs[name])) for name in names}
    return [test, body], found


def _variables(net: NetworkBuilder, start: list[Value], types: dict[str, TensorType]) -> list[Value]:
    return [net.input(name, item) for name, item in [("going", _type(start[0])), ("iteration", _type(start[1])), *types.items()]]


def _going(net: NetworkBuilder, params: Any, counter: Value, limit: Any) -> Value:
    """Whether the loop goes on, by its condition and its limit."""
    flags = []
    if params.conditionVar:
        if params.conditionVar not in net.blobs:
            raise ProgramError(f"{net.origin}: conditionVar is {params.conditionVar!r}, a blob that conditionNetwork does not write")
        flags.append(_truth(net, net.blobs[params.conditionVar]))
    if limit is not None:
        flags.append(net.emit_all("less", 1, rank=0, dtype="bool", x=counter, y=limit)[0])
    return flags[0] if len(flags) == 1 else _both(net, *flags)


def _sequence(net: NetworkBuilder, layers: Sequence[Any]) -> None:
    """Layers in order. What follows one that may end the iteration runs only if it did not."""
    end = next((index for index, message in enumerate(layers) if may_end(message)), None)
    if end is None:
        translate(net, layers)
        return
    translate(net, layers[: end + 1])
    if _BREAK in net.blobs:
        _unless(net, net.blobs[_BREAK], layers[end + 1 :], net.blobs[_CONTINUE])


def _unless(net: NetworkBuilder, flag: Value, layers: Sequence[Any], other: Value | None = None) -> None:
    """Layers that run if neither flag is set."""
    stopped = flag if other is None else net.emit_all("logical_or", 1, rank=0, dtype="bool", x=flag, y=other)[0]
    _choose(net, stopped, [], layers)


def _choose(net: NetworkBuilder, condition: Value, yes: Sequence[Any], no: Sequence[Any]) -> None:
    """One of two lists of layers; at once, if the condition is known."""
    known = net.shapes.concrete(condition)
    if known is not None:
        _sequence(net, yes if bool(known) else no)
        return
    blocks, sides = [Block(), Block()], []
    before = net.blobs
    for block, layers in zip(blocks, (yes, no), strict=True):
        with _inside(net, block):
            _sequence(net, layers)
            sides.append(net.blobs)
    names = list(dict.fromkeys(name for side in sides for name, value in side.items() if before.get(name) is not value))
    if not names:
        return
    types = {name: _joined(*(_type(side[name]) if name in side else None for side in sides)) for name in names}
    for block, side in zip(blocks, sides, strict=True):
        with _inside(net, block):
            block.outputs = [_own(net, side[name]) if name in side else _zeros(net, types[name]) for name in names]
    results = net.emit_blocks("cond", blocks, list(types.values()), pred=condition)
    net.blobs.update(zip(names, results, strict=True))


@contextmanager
def _inside(net: NetworkBuilder, block: Block) -> Iterator[None]:
    """What is emitted goes to the block's end; blobs that are written are forgotten afterwards."""
    operations, blobs = net.operations, net.blobs
    net.operations, net.blobs = block.operations, dict(blobs)
    yield
    net.operations, net.blobs = operations, blobs


def _type(value: Value) -> TensorType:
    assert isinstance(value.type, TensorType)
    return value.type


def _joined(*types: TensorType | None) -> TensorType:
    """A type for values of several types: an axis that differs is unknown, and so is a rank that differs."""
    first, *others = [item for item in types if item is not None]
    for other in others:
        if first.shape is None or other.shape is None or len(first.shape) != len(other.shape):
            first = TensorType(first.dtype, None)
        else:
            shape = tuple(size if size == own else None for size, own in zip(first.shape, other.shape, strict=True))
            first = TensorType(first.dtype, shape)
    return first


def _zeros(net: NetworkBuilder, item: TensorType) -> Value:
    """What stands for a blob that was never written: zeros, of size 1 along unknown axes."""
    zero = False if item.dtype is dtypes.BOOL else 0.0
    return net.emit_all("fill", 1, value=zero, shape=np.array([size or 1 for size in item.shape or ()], np.int32))[0]


def _own(net: NetworkBuilder, value: Value) -> Value:
    """The value as a result of the block that is being built."""
    return net.emit_all("identity", 1, rank=known_rank(value), dtype=_type(value).dtype.name, x=value)[0]


def _flag(net: NetworkBuilder, value: bool) -> Value:
    return net.emit_all("identity", 1, x=np.bool_(value))[0]


def _truth(net: NetworkBuilder, x: Value) -> Value:
    """Whether a blob of one element is farther from 0 than 1e-6."""
    size = net.emit("abs", rank=known_rank(x), x=x)
    return _scalar(net, net.emit_all("greater", 1, rank=known_rank(x), dtype="bool", x=size, y=1e-6)[0], "bool")


def _scalar(net: NetworkBuilder, x: Value, dtype: str) -> Value:
    """A value of one element without axes."""
    return x if known_rank(x) == 0 else net.emit_all("squeeze", 1, rank=0, dtype=dtype, x=x)[0]


def _both(net: NetworkBuilder, x: Value, y: Value) -> Value:
    return net.emit_all("logical_and", 1, rank=0, dtype="bool", x=x, y=y)[0]


def _opposite(net: NetworkBuilder, x: Value) -> Value:
    return net.emit_all("logical_not", 1, rank=0, dtype="bool", x=x)[0]
