"""Reads the tree ensembles of ai.onnx.ml: those of classifiers and regressors, and TreeEnsemble of version 5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

Array = np.ndarray[Any, Any]

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_MAX_TABLE = 1 << 28  # elements of the table of leaves
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


class InvalidForest(Exception):
    """The node's tables contradict each other or are too large; the text says how."""


@dataclass(frozen=True)
class Ensemble:
    """Trees as their file has them.

    Attributes:
        feature, mode, value, tracks, true, false, weight: by node that is no leaf. `tracks` tells whether a missing
            value goes to the true side; a child that is a leaf is ~leaf; `weight` is how often it was passed in
            training, or 0.
        members: of nodes that ask for membership, the set.
        roots: of each tree, a node or ~leaf.
        leaves: how many; `tree_of_leaf` is a number for each, where it is known.
        entries: numbers of leaf and column, and the value there; the same place twice means both in turn.
        columns: of the result.
        aggregate: AVERAGE, SUM, MIN or MAX.
    """

    feature: Array
    mode: Array
    value: Array
    tracks: Array
    true: Array
    false: Array
    weight: Array
    members: Mapping[int, Array]
    roots: Array
    leaves: int
    tree_of_leaf: Array
    entries: tuple[Array, Array, Array]
    columns: int
    aggregate: str


Attribute = Callable[[str, Any], Any]


def read_ensemble(attribute: Attribute, kind: str, columns: int, dtype: Any) -> Ensemble:
    """The ensemble of a TreeEnsembleClassifier (`kind` is "class") or TreeEnsembleRegressor ("target").

    Args:
        attribute: the node's attribute of a name, or a default.
        dtype: of thresholds and leaves.

    Raises:
        InvalidForest: tables of different lengths, nodes that are missing or there twice, or features below zero.
    """
    tree, number = (_ints(attribute, name) for name in ("nodes_treeids", "nodes_nodeids"))
    modes = np.array(attribute("nodes_modes", []), "S").astype(str)
    value = _numbers(attribute, "nodes_values", dtype)
    feature = _ints(attribute, "nodes_featureids")
    true, false = (_ints(attribute, name) for name in ("nodes_truenodeids", "nodes_falsenodeids"))
    tracks = _ints(attribute, "nodes_missing_value_tracks_true")
    hits = _numbers(attribute, "nodes_hitrates", dtype)
    count = len(tree)
    if any(len(part) != count for part in (number, modes, value, feature, true, false)):
        raise InvalidForest("its attributes nodes_* have different lengths")
    tracks = tracks == 1 if len(tracks) == count else np.zeros(count, bool)
    hits = hits.astype(float) if len(hits) == count else np.zeros(count)
    keys = _Keys(tree, number)
    leaf = modes == "LEAF"
    known = leaf | np.isin(modes, _MODES[:6])
    if not known.all():
        raise InvalidForest(f"its mode {str(modes[~known][0])!r} is unknown")
    if feature[~leaf].min(initial=0) < 0:
        raise InvalidForest("it has a negative number of a feature")
    place = np.where(leaf, -np.cumsum(leaf), np.cumsum(~leaf) - 1)  # ~leaf = -(leaf + 1)
    inner = np.flatnonzero(~leaf)
    followers = [place[keys.find(tree[inner], refs[inner])] for refs in (true, false)]
    starts = np.flatnonzero(np.r_[True, tree[1:] != tree[:-1]]) if count else np.zeros(0, np.int64)
    columns_, nodes, trees = (_ints(attribute, f"{kind}_{part}") for part in ("ids", "nodeids", "treeids"))
    weights = _numbers(attribute, f"{kind}_weights", dtype)
    if not len(columns_) == len(nodes) == len(trees) == len(weights):
        raise InvalidForest(f"its attributes {kind}_* have different lengths")
    targets = place[keys.find(trees, nodes)]
    kept = targets < 0  # onnxruntime never looks at the weights of other nodes
    if columns_.min(initial=0) < 0 or columns_.max(initial=0) >= columns:
        raise InvalidForest(f"its attribute {kind}_ids goes beyond the {columns} columns of its result")
    return Ensemble(
        feature=feature[inner],
        mode=modes[inner],
        value=value[inner],
        tracks=tracks[inner],
        true=followers[0],
        false=followers[1],
        weight=hits[inner],
        members={},
        roots=place[starts],
        leaves=int(leaf.sum()),
        tree_of_leaf=np.unique(tree[leaf], return_inverse=True)[1],
        entries=(~targets[kept], columns_[kept], weights[kept]),
        columns=columns,
        aggregate=_text(attribute("aggregate_function", "SUM")),
    )


def read_ensemble_of_5(attribute: Attribute) -> tuple[Ensemble, str]:
    """The ensemble of a TreeEnsemble of version 5, and its post transform.

    Raises:
        InvalidForest: as `read_ensemble`.
    """
    value = onnx.numpy_helper.to_array(attribute("nodes_splits", None))
    dtype = np.dtype(np.float64 if value.dtype == np.float64 else np.float32)
    value = value.astype(dtype)
    codes = onnx.numpy_helper.to_array(attribute("nodes_modes", None)).astype(np.int64)
    feature = _ints(attribute, "nodes_featureids")
    count = len(feature)
    tracks = _ints(attribute, "nodes_missing_value_tracks_true")
    hits = attribute("nodes_hitrates", None)
    hits = np.zeros(count) if hits is None else onnx.numpy_helper.to_array(hits).astype(float)
    targets = _ints(attribute, "leaf_targetids")
    weights = onnx.numpy_helper.to_array(attribute("leaf_weights", None)).astype(dtype)
    sides = []
    for side in ("true", "false"):
        refs, leaf = _ints(attribute, f"nodes_{side}nodeids"), _ints(attribute, f"nodes_{side}leafs")
        if not len(refs) == len(leaf) == count:
            raise InvalidForest("its attributes nodes_* have different lengths")
        limit = np.where(leaf == 1, len(targets), count)
        if np.any((refs < 0) | (refs >= limit)):
            raise InvalidForest("it has a node that leads nowhere")
        sides.append(np.where(leaf == 1, ~refs, refs))
    if not (len(value) == len(codes) == count and len(targets) == len(weights)):
        raise InvalidForest("its attributes nodes_* or leaf_* have different lengths")
    if np.any((codes < 0) | (codes >= len(_MODES))) or feature.min(initial=0) < 0:
        raise InvalidForest("it has an unknown mode, or a negative number of a feature")
    columns, roots = int(attribute("n_targets", 1)), _ints(attribute, "tree_roots")
    if columns < 1 or targets.min(initial=0) < 0 or targets.max(initial=0) >= columns:
        raise InvalidForest(f"its attribute leaf_targetids goes beyond the {columns} columns of its result")
    if roots.min(initial=0) < 0 or roots.max(initial=0) >= count:
        raise InvalidForest("its attribute tree_roots names nodes that it does not have")
    modes = np.asarray(_MODES)[codes]
    aggregate, transform = int(attribute("aggregate_function", 1)), int(attribute("post_transform", 0))
    if not (0 <= aggregate < len(_AGGREGATES) and 0 <= transform < len(TRANSFORMS)):
        raise InvalidForest("its attribute aggregate_function or post_transform is unknown")
    ensemble = Ensemble(
        feature=feature,
        mode=modes,
        value=value,
        tracks=tracks == 1 if len(tracks) == count else np.zeros(count, bool),
        true=sides[0],
        false=sides[1],
        weight=hits if len(hits) == count else np.zeros(count),
        members=_members(attribute, modes, dtype),
        roots=roots,
        leaves=len(targets),
        tree_of_leaf=np.zeros(0, np.int64),
        entries=(np.arange(len(targets)), targets, weights),
        columns=columns,
        aggregate=_AGGREGATES[aggregate],
    )
    return ensemble, TRANSFORMS[transform]


def count_trees(graph: onnx.GraphProto) -> dict[str, int] | None:
    """How many `trees` and `nodes`, leaves too, the graph's ensembles have; None if there is no ensemble."""
    trees = nodes = 0
    for node in graph.node:
        given = {a.name: a for a in node.attribute}
        if node.domain == "ai.onnx.ml" and node.op_type == "TreeEnsemble":
            trees += len(given["tree_roots"].ints)
            nodes += len(given["nodes_featureids"].ints) + len(given["leaf_targetids"].ints)
        elif node.domain == "ai.onnx.ml" and "nodes_treeids" in given:
            trees += len(set(given["nodes_treeids"].ints))
            nodes += len(given["nodes_treeids"].ints)
    return {"trees": trees, "nodes": nodes} if nodes else None


def leaf_tables(ensemble: Ensemble) -> tuple[Array, Array]:
    """What each leaf adds, [leaf, column], and whether it says anything of the column.

    Raises:
        InvalidForest: too many of them.
    """
    if ensemble.leaves * ensemble.columns > _MAX_TABLE:
        raise InvalidForest(f"it has {ensemble.leaves} leaves of {ensemble.columns} columns, which is too much")
    leaf, column, value = ensemble.entries
    said = np.zeros((ensemble.leaves, ensemble.columns), bool)
    said[leaf, column] = True
    table = np.zeros(said.shape, value.dtype)
    if ensemble.aggregate in ("MIN", "MAX"):
        extreme = np.minimum if ensemble.aggregate == "MIN" else np.maximum
        largest = np.finfo(value.dtype).max
        table[...] = largest if ensemble.aggregate == "MIN" else -largest
        extreme.at(table, (leaf, column), value)
    else:
        np.add.at(table, (leaf, column), value)
    return table, said


def speaks_of_all(ensemble: Ensemble, said: Array) -> bool:
    """Whether every row meets a leaf with each column, because all leaves of some tree have it."""
    if said.all():
        return True
    if not len(ensemble.tree_of_leaf):
        return False
    silent = np.zeros((int(ensemble.tree_of_leaf.max()) + 1, said.shape[1]), bool)
    np.logical_or.at(silent, ensemble.tree_of_leaf, ~said)
    return bool((~silent).any(0).all())


def _members(attribute: Attribute, modes: Array, dtype: Any) -> dict[int, Array]:
    """The sets of nodes that ask for membership stand one after the other, each ended by a NaN."""
    asking = np.flatnonzero(modes == "BRANCH_MEMBER")
    given = attribute("membership_values", None)
    values = np.zeros(0, dtype) if given is None else onnx.numpy_helper.to_array(given).astype(dtype)
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) < len(asking):
        raise InvalidForest("its attribute membership_values has fewer sets than there are nodes that ask for one")
    begins = np.r_[0, ends + 1]
    return {int(node): values[begins[i] : ends[i]] for i, node in enumerate(asking)}


class _Keys:
    """Finds nodes by tree and number."""

    def __init__(self, tree: Array, number: Array) -> None:
        self.low, self.span = number.min(initial=0), np.ptp(number) + 1 if len(number) else 1
        if len(tree) and (int(np.ptp(tree)) + 1) * int(self.span) >= 1 << 62:
            raise InvalidForest("its trees or nodes have numbers that are too far apart")
        self.first = tree.min(initial=0)
        keys = self._keys(tree, number)
        self.order = np.argsort(keys, kind="stable")
        self.sorted = keys[self.order]
        if np.any(self.sorted[1:] == self.sorted[:-1]):
            raise InvalidForest("it has two nodes of one number in one tree")

    def _keys(self, tree: Array, number: Array) -> Array:
        keys: Array = (tree - self.first) * self.span + (number - self.low)
        return keys

    def find(self, tree: Array, number: Array) -> Array:
        if len(number) and (number.min() < self.low or number.max() >= self.low + self.span):
            raise InvalidForest("it names nodes that it does not have")
        want = self._keys(tree, number)
        at = np.searchsorted(self.sorted, want)
        if np.any(at >= len(self.sorted)) or np.any(self.sorted[np.minimum(at, len(self.sorted) - 1)] != want):
            raise InvalidForest("it names nodes that it does not have")
        found: Array = self.order[at]
        return found


def _ints(attribute: Attribute, name: str) -> Array:
    return np.asarray(attribute(name, []), np.int64).reshape(-1)


def _numbers(attribute: Attribute, name: str, dtype: Any) -> Array:
    """An attribute that may also be a tensor, for doubles."""
    tensor = attribute(f"{name}_as_tensor", None)
    given = attribute(name, [])
    if tensor is not None:
        return onnx.numpy_helper.to_array(tensor).astype(dtype).reshape(-1)
    return np.asarray(given, np.float32).astype(dtype)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
