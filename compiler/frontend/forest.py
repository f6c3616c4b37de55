"""Tree ensembles as tables: their nodes as comparisons with one meaning, equal parts of them shared.

Every mode of a node, with its way of taking missing values, becomes "the feature, or its negative, is at most a
threshold", which is false of a NaN: `x < t` is `x <= t'` of the next smaller float, `x > t` is `-x <= -t''`. Equality
and membership become searches among intervals. No decision changes, whatever the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .forest_nodes import Ensemble, InvalidForest

Array = np.ndarray[Any, Any]

LEAF_BITS = 22  # of a NaN in float32 beside its mark, see operators/forest.py
_QUIET = {"float32": (np.uint32, 0x7FC00000), "float64": (np.uint64, 0x7FF8000000000000)}
_SHALLOW = 1.5  # the longest path, measured by the mean one


@dataclass(frozen=True)
class Tests:
    """Nodes with one comparison each.

    Attributes:
        feature, flip, threshold: `(-x if flip else x) <= threshold`.
        high, low: the nodes that follow if that is so and if not; leaf number i is ~i.
        weight: how often it is passed, as far as the file says, else 0.
        roots: of the trees.
    """

    feature: Array
    flip: Array
    threshold: Array
    high: Array
    low: Array
    weight: Array
    roots: Array


@dataclass(frozen=True)
class Tables:
    """See operators/forest.py; `depth` is that of the deepest tree."""

    words: Array
    thresholds: Array
    roots: Array
    leaves: Array
    feature_bits: int
    mixed: bool
    shallow: bool


def tables_of(ensemble: Ensemble, leaves: Array, features: int) -> Tables:
    """The tables of an ensemble.

    Args:
        leaves: [leaf, column], what each leaf of the ensemble stands for.
        features: columns of the data.

    Raises:
        InvalidForest: its nodes are no trees, or there are too many.
    """
    distinct, names = np.unique(leaves, axis=0, return_inverse=True)
    if len(distinct) > 1 << LEAF_BITS:
        raise InvalidForest(f"it has {len(distinct)} different leaves, more than 2^{LEAF_BITS}")
    names = names.reshape(-1)

    def named(refs: Array) -> Array:
        return np.where(refs < 0, ~_at(names, ~refs), refs)

    tests = tests_of(ensemble)
    tests = replace(tests, high=named(tests.high), low=named(tests.low), roots=named(tests.roots))
    tests = replace(tests, threshold=_narrowest(tests.threshold, ("float32",)))
    return _packed(_shared(tests), _narrowest(distinct, ("int8", "int16", "float32")), features)


def _narrowest(values: Array, dtypes: Sequence[str]) -> Array:
    """The values in the first of these types that holds all of them exactly, or as they are."""
    for dtype in dtypes:
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = values.astype(dtype)
        if np.array_equal(narrow.astype(values.dtype), values, equal_nan=True):
            return narrow
    return values


def tests_of(e: Ensemble) -> Tests:
    """One comparison a node, in the same order; nodes that need several get further ones at the end."""
    t, mode, tracks = e.value, e.mode, e.tracks
    with np.errstate(over="ignore"):
        least, most = np.nextafter(t, t.dtype.type(-np.inf)), np.nextafter(t, t.dtype.type(np.inf))
    never = t.dtype.type(np.nan)
    least, most = np.where(t == -np.inf, never, least), np.where(t == np.inf, never, most)
    # A missing value takes the low side. Where it belongs to the true one, that is the low one: the opposite is tested.
    below = np.isin(mode, ("BRANCH_LEQ", "BRANCH_LT"))
    closed = np.isin(mode, ("BRANCH_LEQ", "BRANCH_GTE"))
    flip = below == tracks
    inside = np.where(closed != tracks, t, np.where(flip, most, least))
    threshold = np.where(flip, -inside, inside)
    high, low = np.where(tracks, e.false, e.true), np.where(tracks, e.true, e.false)
    tests = Tests(e.feature.copy(), flip, threshold, high, low, e.weight.copy(), e.roots)
    further: list[tuple[Any, ...]] = []

    def put(node: int | None, *test: Any) -> int:
        """A comparison in the place of a node or at the end: feature, threshold, high, low."""
        feature, bound, yes, no = test
        if node is None:
            further.append((feature, False, bound, yes, no, 0.0))
            return len(e.feature) + len(further) - 1
        tests.feature[node], tests.flip[node], tests.threshold[node] = feature, False, bound
        tests.high[node], tests.low[node] = yes, no
        return node

    for node in np.flatnonzero(np.isnan(t) | ~np.isin(mode, ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"))):
        feature, yes, no = int(e.feature[node]), int(e.true[node]), int(e.false[node])
        members = e.members.get(int(node), t[node : node + 1])
        members = np.unique(members[~np.isnan(members)])
        if mode[node] == "BRANCH_NEQ":
            yes, no = no, yes
        elif not np.isin(mode[node], ("BRANCH_EQ", "BRANCH_MEMBER")):
            members = members[:0]
        missing = int(e.true[node]) if tracks[node] or mode[node] == "BRANCH_NEQ" else int(e.false[node])
        _search(put, int(node), feature, members, yes, no, missing)
    parts = (tests.feature, tests.flip, tests.threshold, tests.high, tests.low, tests.weight)
    added = list(zip(*further, strict=True)) or [()] * len(parts)
    joined = [np.concatenate([part, np.asarray(new, part.dtype)]) for part, new in zip(parts, added, strict=True)]
    return Tests(joined[0], joined[1], joined[2], joined[3], joined[4], joined[5], tests.roots)


def _search(put: Any, node: int, feature: int, members: Array, yes: int, no: int, missing: int) -> None:
    """`yes` if the feature is one of the members, which are sorted, else `no`."""
    infinite = np.inf if not len(members) else members.dtype.type(np.inf)

    def find(place: int | None, first: int, last: int) -> int:
        if last - first == 1:
            below = np.nextafter(members[first], -infinite)
            inner = yes if members[first] == -np.inf else put(None, feature, below, no, yes)
            return int(put(place, feature, members[first], inner, no))
        middle = (first + last) // 2
        left, right = find(None, first, middle), find(None, middle, last)
        return int(put(place, feature, members[middle - 1], left, right))

    if not len(members):
        put(node, feature, infinite, no, missing)
    elif missing == no:  # what is in no interval, as a NaN
        find(node, 0, len(members))
    else:
        put(node, feature, infinite, find(None, 0, len(members)), missing)


def _heights(tests: Tests) -> Array:
    """The longest path from each node to a leaf, at least 1."""
    height = np.ones(len(tests.feature), np.int64)
    for _ in range(len(height) + 1):
        below = [np.where(refs < 0, 0, _at(height, refs)) for refs in (tests.high, tests.low)]
        now = 1 + np.maximum(*below) if len(height) else height
        if np.array_equal(now, height):
            return height
        height = now
        if height.max() > len(height):
            break
    raise InvalidForest("its nodes form a cycle")


def _shared(tests: Tests) -> Tests:
    """The same without nodes that are equal to others, with all that follows them."""
    height = _heights(tests)
    name = np.arange(len(height))
    same = tests.threshold.view(f"u{tests.threshold.itemsize}")
    for level in range(1, int(height.max(initial=0)) + 1):
        nodes = np.flatnonzero(height == level)
        high, low = (np.where(r < 0, r, _at(name, r)) for r in (tests.high[nodes], tests.low[nodes]))
        key = [tests.feature[nodes], tests.flip[nodes], same[nodes].astype(np.uint64).view(np.int64), high, low]
        _, first, inverse = np.unique(np.stack(key, 1).astype(np.int64), axis=0, return_index=True, return_inverse=True)
        name[nodes] = nodes[first[inverse.reshape(-1)]]

    def moved(refs: Array) -> Array:
        return np.where(refs < 0, refs, _at(name, refs))

    weight = np.bincount(name, tests.weight, len(name)) if len(name) else tests.weight
    return Tests(
        tests.feature, tests.flip, tests.threshold, moved(tests.high), moved(tests.low), weight, moved(tests.roots)
    )


def _at(values: Array, places: Array) -> Array:
    """The values there; something where a place is below zero."""
    return values[np.maximum(places, 0)] if len(values) else np.zeros(places.shape, values.dtype)


def _packed(tests: Tests, leaves: Array, features: int) -> Tables:
    """Tree by tree, a place for the root and then pairs of nodes, those that are passed more often first."""
    pair_of = np.full(len(tests.feature), -1, np.int64)  # where the followers of a node stand, once they have a place
    roots, used = np.empty((len(tests.roots), 2), np.int32), 0
    lengths: list[float] = []
    content: list[Any] = []
    for tree, root in enumerate(tests.roots):
        nodes, depth, length = _reached(tests, int(root), pair_of)
        roots[tree] = used, depth
        lengths.append(length)
        pair_of[nodes] = used + 1 + 2 * np.arange(len(nodes))
        used += 1 + 2 * len(nodes)
        content += [[root], np.stack([tests.low[nodes], tests.high[nodes]], 1).reshape(-1)]
    there = np.concatenate(content)
    mixed = bool(np.any(tests.flip[pair_of >= 0]))
    feature_bits = max(features - 1, 1).bit_length()
    bits = feature_bits + mixed
    leaf = there < 0
    integer, quiet = _QUIET[tests.threshold.dtype.name]
    inner = _at(pair_of << bits | tests.flip.astype(np.int64) << feature_bits | tests.feature, there)
    words = np.where(leaf, np.arange(used) << bits, inner)
    numbers = quiet | np.where(leaf, ~there, 0).astype(integer)
    thresholds = np.where(leaf, numbers, _at(tests.threshold.view(integer), there)).astype(integer)
    return Tables(
        words.astype(np.uint32 if used << bits < 1 << 32 else np.uint64),
        thresholds.view(tests.threshold.dtype),
        roots,
        leaves,
        feature_bits,
        mixed,
        bool(roots[:, 1].max(initial=0) > _SHALLOW * np.mean(lengths or [0]) + 1),
    )


def _reached(tests: Tests, root: int, pair_of: Array) -> tuple[Array, int, float]:
    """A tree's nodes whose followers have no place yet; its depth; the mean length of its paths."""
    level = np.asarray([root] if root >= 0 else [], np.int64)
    found, weights, depth, leaves, total = [], [], 0, int(root < 0), 0
    while len(level):
        depth += 1
        fresh = np.unique(level[pair_of[level] < 0])
        found.append(fresh)
        known = tests.weight[fresh]
        weights.append(np.where(known > 0, known, 0.0) if tests.weight.any() else np.full(len(fresh), 2.0**-depth))
        following = np.concatenate([tests.low[level], tests.high[level]])
        ended = int(np.sum(following < 0))
        leaves, total = leaves + ended, total + ended * depth
        level = np.unique(following[following >= 0])
    if not found:
        return np.zeros(0, np.int64), 0, 0.0
    nodes, weight = np.concatenate(found), np.concatenate(weights)
    nodes, first = np.unique(nodes, return_index=True)
    return nodes[np.argsort(-weight[first], kind="stable")], depth, total / max(leaves, 1)
