"""Tree ensembles as arrays: every branch a comparison ``x <= threshold``, walked for many rows and all trees at once.

Rewriting the six branch behaviours to one, without changing what they decide:

    x <  t    is  x <= t', t' the largest number below t
    x >  t    is  x <= t  with its children exchanged; x >= t likewise
    x == t    is  y <= 0  where y is a column of its own: -1 where x == t, else 1; x != t with its children exchanged

A missing value (NaN) fails every comparison. Where a branch sends it to the true side, it reads a column in which NaN is -infinity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from moka.errors import FormatError, UnsupportedError
from moka.models.features import Array
from moka.models.threads import worker_count

__all__ = ["Forest", "build_forest"]

_LESS_EQUAL, _LESS, _GREATER_EQUAL, _GREATER, _EQUAL, _NOT_EQUAL, _LEAF = range(7)

_BLOCK = 64
"""Rows walked together, a power of two: the arrays of 500 trees then stay in the processor's second-level cache."""

_COLUMN_BITS = 32
_COLUMN_MASK = (1 << _COLUMN_BITS) - 1
_MOST_COLUMNS = 2**25
_MOST_NODES = 2**31
_SMALLEST_SHARE = 500_000
"""Rows times trees from which a second thread pays."""
_STEPS_PER_LEVEL = 100
"""Steps through trees, one node at a time, that cost no more than taking all trees one level down in NumPy."""
_MOST_STEPPED = 2**16
"""Nodes up to which that is done; they are kept as lists, which take more memory than arrays."""


class _Column(NamedTuple):
    """What a branch looks at: a feature, or whether it equals a value."""

    feature: int
    missing_is_low: bool
    equals: float | None = None


@dataclass(frozen=True)
class _Output:
    """The values that leaves add to one dimension of the prediction: ``values[node + shift[tree]]``, for some of the trees.

    Trees come in the order of the file, so that rounding is the same for one row and for many, and as it is for other libraries.
    """

    trees: Array | None
    shift: Array
    values: Array


class Forest:
    """A tree ensemble ready to be evaluated.

    Nodes lie tree by tree, the children of a branch side by side: the false one at ``child``, the true one after it. A leaf is its own
    child, with a threshold that no number is below. Trees are ordered by depth, the deepest first.
    """

    def __init__(self, columns: list[_Column], arrays: _Arrays, outputs: list[_Output], base: Array, dtype: type[np.floating[Any]]) -> None:
        self.width = 1 + max((column.feature for column in columns), default=-1)
        self._features = np.array([column.feature for column in columns], np.int64)
        self._low = np.array([column.missing_is_low for column in columns], bool)
        self._equal = np.array([index for index, column in enumerate(columns) if column.equals is not None], np.int64)
        self._equals = np.array([column.equals for column in columns if column.equals is not None], dtype)[:, None]
        self._threshold = np.array(arrays.threshold, dtype)
        self._threshold[arrays.below] = np.nextafter(self._threshold[arrays.below], dtype(-np.inf))
        child, column = np.array(arrays.child, np.int64), np.array(arrays.column, np.int64)
        self._words = {shift: (child << _COLUMN_BITS) | (column << shift) for shift in range(_BLOCK.bit_length())}
        self._roots = np.array(arrays.roots, np.int64)
        self._root_column = column[self._roots]
        self._root_threshold = self._threshold[self._roots][:, None]
        self._root_child = child[self._roots][:, None]
        depths = np.array(arrays.depths)
        self._living = [int((depths > level).sum()) for level in range(1, int(depths.max(initial=0)))]
        small = len(child) <= _MOST_STEPPED and depths.sum() <= _STEPS_PER_LEVEL * depths.max(initial=0)
        self._steps = (self._roots.tolist(), child.tolist(), column.tolist(), self._threshold.tolist()) if small else None
        self._outputs, self._base, self.dtype = outputs, base, dtype

    @property
    def dimensions(self) -> int:
        return len(self._base)

    def evaluate(self, matrix: Array) -> Array:
        """Base prediction and leaves summed, float64 [rows, dimensions], for rows of features [rows, columns]."""
        count = len(matrix)
        result = np.empty((count, self.dimensions))
        workers = min(worker_count(), 1 + count * len(self._roots) // _SMALLEST_SHARE)
        share = -(-count // (workers * _BLOCK)) * _BLOCK
        parts = [slice(start, min(start + share, count)) for start in range(0, count, share)]
        if len(parts) < 2:
            self._fill(result, matrix)
            return result
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda part: self._fill(result[part], matrix[part]), parts))
        return result

    def _fill(self, result: Array, matrix: Array) -> None:
        start = 0
        while start < len(matrix):
            rows = matrix[start : start + _block_size(len(matrix) - start)]
            result[start : start + len(rows)] = self._block(rows)
            start += len(rows)

    def _block(self, rows: Array) -> Array:
        """The predictions for up to `_BLOCK` rows; their number is filled up to a power of two."""
        count = len(rows)
        shift = (count - 1).bit_length()
        columns = self._columns(rows, 1 << shift)
        nodes = self._leaves(columns, shift)
        sums = [self._sum(output, nodes) for output in self._outputs]
        return (np.stack(sums, axis=1) + self._base)[:count]

    def _columns(self, rows: Array, count: int) -> Array:
        """What the branches look at, [columns, rows]."""
        with np.errstate(over="ignore"):
            columns = np.zeros((len(self._features), count), self.dtype)
            columns[:, : len(rows)] = rows.T.take(self._features, axis=0)
        missing = np.isnan(columns)
        if len(self._equal):
            columns[self._equal] = np.where(columns[self._equal] == self._equals, -1, 1)
        if missing.any():
            columns[missing] = np.where(np.broadcast_to(self._low[:, None], columns.shape)[missing], -np.inf, np.nan)
        return columns

    def _leaves(self, columns: Array, shift: int) -> Array:
        """The leaf that every row ends at in every tree, [trees, rows]."""
        if columns.shape[1] == 1 and self._steps is not None:
            return np.array(list(_walked(columns[:, 0].tolist(), *self._steps)), np.int64)[:, None]
        words, flat, lane = self._words[shift], columns.reshape(-1), np.arange(columns.shape[1])
        nodes: Array = self._root_child + (columns.take(self._root_column, axis=0) <= self._root_threshold)
        for living in self._living:
            here = nodes[:living]
            next_nodes = words.take(here, mode="clip")
            place = next_nodes & _COLUMN_MASK
            place += lane
            holds = flat.take(place, mode="clip") <= self._threshold.take(here, mode="clip")
            next_nodes >>= _COLUMN_BITS
            next_nodes += holds
            if living == len(nodes):
                nodes = next_nodes
            else:
                nodes[:living] = next_nodes
        return nodes

    def _sum(self, output: _Output, nodes: Array) -> Array:
        chosen = nodes if output.trees is None else nodes[output.trees] + output.shift
        values = output.values.take(chosen, mode="clip")
        return np.asarray(values.sum(axis=0) if values.shape[1] > 1 else values.cumsum(axis=0)[-1])  # a sum of one column is not in order


def _walked(looked_at: list[float], roots: list[int], child: list[int], column: list[int], threshold: list[float]) -> Iterator[int]:
    """The leaf that one row ends at in each tree."""
    for node in roots:
        while (below := child[node]) != node:
            node = below + (looked_at[column[node]] <= threshold[node])
        yield node


def _block_size(remaining: int) -> int:
    """How many rows to walk next: a power of two, for blocks are filled up to one, or a little less."""
    if remaining >= _BLOCK:
        return _BLOCK
    above = 1 << (remaining - 1).bit_length()
    return remaining if above - remaining <= above // 8 else above // 2


@dataclass
class _Arrays:
    """The nodes while they are laid out, and of each tree the root, the depth and where its nodes begin."""

    threshold: list[float] = field(default_factory=list)
    child: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    below: list[bool] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    def add(self, source: int) -> int:
        """A leaf for a node of the message, which becomes a branch when its children are known."""
        place = len(self.child)
        self.threshold.append(np.nan)
        self.child.append(place)
        self.column.append(0)
        self.below.append(False)
        self.source.append(source)
        return place


def build_forest(message: Any, exact: bool, where: object) -> Forest:
    """The ensemble of a ``TreeEnsembleParameters`` message.

    Args:
        message: nodes and base predictions.
        exact: whether features must keep more digits than float32 has. Else the comparisons are made in float32 where every threshold is a
            float32 number, as Core ML makes them (XGBoost and scikit-learn hold features in float32 too).
        where: the model, for messages.

    Raises:
        FormatError: a tree without one root, a node that is missing or has two parents, a loop, an index out of range.
    """
    nodes = list(message.nodes)
    if not nodes:
        raise FormatError(where, "treeEnsemble: has no nodes")
    values = np.array([node.branchFeatureValue for node in nodes if node.nodeBehavior != _LEAF])
    with np.errstate(over="ignore"):
        single = not exact and bool((values.astype(np.float32) == values).all())
    dtype: type[np.floating[Any]] = np.float32 if single else np.float64
    columns: dict[_Column, int] = {}
    links = _links(nodes, where)
    trees = [_tree(nodes, links, root, columns, where) for root in _roots(nodes, links, where)]
    if sum(len(tree.child) for tree in trees) < len(nodes):
        raise FormatError(where, "treeEnsemble: some nodes form a loop that no root leads to")
    order = sorted(range(len(trees)), key=lambda index: -trees[index].depths[0])
    trees = [trees[index] for index in order]
    arrays = _joined(trees)
    if len(columns) > _MOST_COLUMNS or len(arrays.child) > _MOST_NODES:
        raise UnsupportedError(f"{where}: treeEnsemble: {len(arrays.child)} nodes that look at {len(columns)} things are too many")
    base, starts = _base(message, where), [0, *np.cumsum([len(tree.child) for tree in trees]).tolist()]
    outputs = list(_outputs(nodes, arrays, starts, np.array(order), len(base), where))
    return Forest(list(columns) or [_Column(0, False)], arrays, outputs, base, dtype)


def _links(nodes: list[Any], where: object) -> dict[int, tuple[int, int]]:
    """For every branch the places of its (true, false) children in the message."""
    places = {(node.treeId, node.nodeId): index for index, node in enumerate(nodes)}
    if len(places) < len(nodes):
        (tree, node), _ = Counter((node.treeId, node.nodeId) for node in nodes).most_common(1)[0]
        raise FormatError(where, f"treeEnsemble: tree {tree} has more than one node {node}")
    links = {}
    for index, node in enumerate(nodes):
        if node.nodeBehavior == _LEAF:
            continue
        if not 0 <= node.nodeBehavior < _LEAF:
            raise FormatError(where, f"{_name(node)}: nodeBehavior is {node.nodeBehavior}; expected 0 to {_LEAF}")
        for child in (node.trueChildNodeId, node.falseChildNodeId):
            if (node.treeId, child) not in places:
                raise FormatError(where, f"{_name(node)}: its child {child} is missing")
        links[index] = (places[node.treeId, node.trueChildNodeId], places[node.treeId, node.falseChildNodeId])
    return links


def _roots(nodes: list[Any], links: dict[int, tuple[int, int]], where: object) -> list[int]:
    """The place of each tree's root, in the order of the message."""
    parents = Counter(child for children in links.values() for child in children)
    if shared := [index for index, count in parents.items() if count > 1]:
        raise FormatError(where, f"{_name(nodes[shared[0]])}: is the child of two branches; expected one")
    roots: dict[int, int] = {}
    for index, node in enumerate(nodes):
        if index not in parents and roots.setdefault(node.treeId, index) != index:
            raise FormatError(where, f"{_name(node)}: is a second root of its tree; expected one")
    if rootless := {node.treeId for node in nodes} - set(roots):
        raise FormatError(where, f"treeEnsemble: tree {min(rootless)} has no root: its nodes form a loop")
    return list(roots.values())


def _tree(
    nodes: list[Any],
    links: dict[int, tuple[int, int]],
    root: int,
    columns: dict[_Column, int],
    where: object,
) -> _Arrays:
    """One tree, laid out breadth first."""
    tree = _Arrays()
    tree.add(root)
    level, depth = [0], 0
    while level:
        below = []
        for place in level:
            source = tree.source[place]
            if source not in links:
                continue
            column, exchanged = _comparison(nodes[source], where)
            true, false = links[source] if not exchanged else reversed(links[source])
            tree.column[place] = columns.setdefault(column, len(columns))
            tree.threshold[place] = nodes[source].branchFeatureValue if column.equals is None else 0.0
            tree.below[place] = nodes[source].nodeBehavior in (_LESS, _GREATER_EQUAL)
            tree.child[place] = tree.add(false)
            below += [tree.child[place], tree.add(true)]
        level, depth = below, depth + bool(below)
    tree.roots, tree.depths = [0], [depth]
    return tree


def _comparison(node: Any, where: object) -> tuple[_Column, bool]:
    """(what is looked at, whether the children change places) of the branch as ``x <= threshold``."""
    feature, behavior = node.branchFeatureIndex, node.nodeBehavior
    if feature >= _MOST_NODES:
        raise FormatError(where, f"{_name(node)}: branchFeatureIndex is {feature}")
    exchanged = behavior in (_GREATER, _GREATER_EQUAL, _NOT_EQUAL)
    low = node.missingValueTracksTrueChild != exchanged
    return _Column(feature, low, node.branchFeatureValue if behavior in (_EQUAL, _NOT_EQUAL) else None), exchanged


def _joined(trees: list[_Arrays]) -> _Arrays:
    """The trees one after the other."""
    joined = _Arrays()
    for tree in trees:
        start = len(joined.child)
        joined.roots.append(start)
        joined.child += [child + start for child in tree.child]
        for name in ("threshold", "column", "below", "source", "depths"):
            getattr(joined, name).extend(getattr(tree, name))
    return joined


def _base(message: Any, where: object) -> Array:
    count, base = message.numPredictionDimensions, list(message.basePredictionValue)
    most = len(base) or sum(len(node.evaluationInfo) for node in message.nodes)
    if len(base) not in (0, count) or not 1 <= count <= most:
        raise FormatError(where, f"treeEnsemble: numPredictionDimensions is {count} with {len(base)} base predictions; expected as many")
    return np.array(base or [0.0] * count, np.float64)


def _outputs(nodes: list[Any], arrays: _Arrays, starts: list[int], order: Array, count: int, where: object) -> Iterator[_Output]:
    """What the leaves add, for each dimension of the prediction; only trees that add to it keep values for it.

    Args:
        starts: where the nodes of each tree begin, and the end of the last.
        order: the place of each tree in the file.
    """
    entries: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for place, source in enumerate(arrays.source):
        for item in nodes[source].evaluationInfo if arrays.child[place] == place else ():
            if item.evaluationIndex >= count:
                raise FormatError(where, f"{_name(nodes[source])}: evaluationIndex is {item.evaluationIndex}; there are {count} dimensions")
            entries[item.evaluationIndex].append((place, item.evaluationValue))
    bounds = np.array(starts)
    for found in entries:
        places = np.array([place for place, _ in found], np.int64)
        of_place = np.searchsorted(bounds, places, "right") - 1
        trees = np.unique(of_place)
        sizes = bounds[trees + 1] - bounds[trees]
        shift = np.cumsum(sizes) - sizes - bounds[trees]
        values = np.zeros(int(sizes.sum()))
        np.add.at(values, places + shift[np.searchsorted(trees, of_place)], [value for _, value in found])
        in_file = np.argsort(order[trees])
        plain = len(trees) == len(order) and bool((in_file == np.arange(len(trees))).all())
        yield _Output(None if plain else trees[in_file], shift[in_file, None], values)


def _name(node: Any) -> str:
    return f"treeEnsemble: tree {node.treeId}: node {node.nodeId}"
