"""Forests with random trees, as nodes of ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .case import Array

# In the order of their numbers in TreeEnsemble, version 5.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
# What nodes compare with: few values, so that inputs meet them.
THRESHOLDS = (-1.5, -0.5, -0.0, 0.1, 0.75, 2.0)
_MEMBERS = (1, 2, 7, 40)  # onnxruntime has whole numbers alone


@dataclass
class Leaf:
    """What it adds, by target or class."""

    weights: dict[int, float]


@dataclass
class Node:
    """A question about a feature.

    Attributes:
        gaps_go_yes: where a NaN goes.
    """

    mode: str
    feature: int
    value: float
    gaps_go_yes: bool
    yes: Node | Leaf
    no: Node | Leaf


@dataclass(frozen=True)
class Kind:
    """What a forest is like.

    Attributes:
        modes: of its nodes, by chance.
        targets: or classes; a leaf has weights for some of them.
        positive: whether all weights are.
        per_leaf: the least and the most weights of a leaf.
    """

    trees: int = 4
    depth: int = 4
    features: int = 3
    targets: int = 1
    modes: Sequence[str] = MODES[:1]
    positive: bool = False
    per_leaf: tuple[int, int] = (1, 1)
    seed: int = 0


def grow(kind: Kind) -> list[Node | Leaf]:
    """The roots of a random forest of a kind."""
    rng = np.random.default_rng(kind.seed)

    def tree(depth: int) -> Node | Leaf:
        if depth == 0 or (depth < kind.depth and rng.random() < 0.15):
            count = rng.integers(*kind.per_leaf, endpoint=True)
            chosen = sorted(rng.choice(kind.targets, count, replace=False).tolist())
            weights = rng.random(count) if kind.positive else rng.standard_normal(count)
            return Leaf({target: float(np.float32(weight)) for target, weight in zip(chosen, weights, strict=True)})
        return Node(
            str(rng.choice(kind.modes)),
            int(rng.integers(kind.features)),
            float(rng.choice(THRESHOLDS)),
            bool(rng.integers(2)),
            tree(depth - 1),
            tree(depth - 1),
        )

    return [tree(kind.depth) for _ in range(kind.trees)]


def rows(kind: Kind, count: int, dtype: Any = np.float32) -> Array:
    """Inputs [count, features]: thresholds themselves, a step beside them, infinities, NaN, and others."""
    rng = np.random.default_rng(kind.seed + 1)
    exact = np.array([*THRESHOLDS, *_MEMBERS], dtype)
    infinity = dtype(np.inf)
    values = [*exact, *np.nextafter(exact, infinity), *np.nextafter(exact, -infinity), infinity, -infinity, dtype(0.3)]
    values += [dtype(np.nan)] * 4
    return rng.choice(np.array(values, dtype), (count, kind.features))


def whole_rows(kind: Kind, count: int, dtype: Any) -> Array:
    """Inputs [count, features] of whole numbers, and of NaN where they are floats."""
    rng = np.random.default_rng(kind.seed + 1)
    values = [*range(-3, 4), *_MEMBERS]
    return rng.choice(np.array([*values, *[np.nan] * 3] if np.dtype(dtype).kind == "f" else values).astype(dtype),
                      (count, kind.features))  # fmt: skip


@dataclass
class _Table:
    """The nodes of a forest as ai.onnx.ml 1 to 3 has them: a list an attribute."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    leaves: list[tuple[int, int, int, float]] = field(default_factory=list)  # tree, node, target, weight

    def add(self, tree: int, root: Node | Leaf) -> None:
        pending: list[Node | Leaf] = [root]
        place = 0
        while place < len(pending):
            node = pending[place]
            children = (0, 0)
            if isinstance(node, Node):
                children = (len(pending), len(pending) + 1)
                pending += [node.yes, node.no]
            else:
                self.leaves += [(tree, place, target, weight) for target, weight in node.weights.items()]
            self._put(tree, place, node, children)
            place += 1

    def _put(self, tree: int, place: int, node: Node | Leaf, children: tuple[int, int]) -> None:
        asks = isinstance(node, Node)
        row = {
            "treeids": tree,
            "nodeids": place,
            "modes": node.mode if isinstance(node, Node) else "LEAF",
            "featureids": node.feature if isinstance(node, Node) else 0,
            "values": node.value if isinstance(node, Node) else 0.0,
            "missing_value_tracks_true": int(isinstance(node, Node) and node.gaps_go_yes),
            "truenodeids": children[0] if asks else 0,
            "falsenodeids": children[1] if asks else 0,
        }
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)


def ensemble(kind: Kind, operator: str, dtype: Any = np.float32, **attributes: Any) -> onnx.NodeProto:
    """A TreeEnsembleClassifier or TreeEnsembleRegressor, whose numbers are tensors if they are float64.

    Args:
        attributes: of the operator, as `post_transform` or `classlabels_strings`.
    """
    table = _Table()
    for number, root in enumerate(grow(kind)):
        table.add(number, root)
    trees, nodes, targets, weights = (list(column) for column in zip(*table.leaves, strict=True))
    what = "class" if operator == "TreeEnsembleClassifier" else "target"
    made = {f"nodes_{name}": values for name, values in table.columns.items()}
    made |= {f"{what}_treeids": trees, f"{what}_nodeids": nodes, f"{what}_ids": targets, f"{what}_weights": weights}
    if what == "target":
        made["n_targets"] = kind.targets
    elif not {"classlabels_strings", "classlabels_int64s"} & attributes.keys():
        made["classlabels_int64s"] = list(range(kind.targets))
    if dtype == np.float64:
        for name in ("nodes_values", f"{what}_weights"):
            made[f"{name}_as_tensor"] = numpy_helper.from_array(np.array(made.pop(name), dtype))
    outputs = ["label", "scores"] if what == "class" else ["y"]
    return helper.make_node(operator, ["X"], outputs, domain="ai.onnx.ml", **made, **attributes)


def ensemble_5(kind: Kind, dtype: Any = np.float32, **attributes: Any) -> onnx.NodeProto:
    """A TreeEnsemble of ai.onnx.ml 5; every tree's root must ask something, and a leaf has one weight."""
    questions: list[Node] = []
    leaves: list[Leaf] = []
    columns = [f"nodes_{side}{what}" for side in ("true", "false") for what in ("nodeids", "leafs")]
    links: dict[str, list[int]] = {name: [] for name in columns}
    roots = []

    def put(node: Node) -> int:
        index = len(questions)
        questions.append(node)
        for column in links.values():
            column.append(0)
        for side, child in (("true", node.yes), ("false", node.no)):
            if isinstance(child, Leaf):
                leaves.append(child)
                links[f"nodes_{side}nodeids"][index] = len(leaves) - 1
                links[f"nodes_{side}leafs"][index] = 1
            else:
                links[f"nodes_{side}nodeids"][index] = put(child)
        return index

    for root in grow(kind):
        assert isinstance(root, Node)
        roots.append(put(root))
    members = [value for node in questions if node.mode == "BRANCH_MEMBER" for value in (*_MEMBERS, np.nan)]
    made: dict[str, Any] = {
        "n_targets": kind.targets,
        "tree_roots": roots,
        "nodes_modes": _tensor([MODES.index(node.mode) for node in questions], np.uint8),
        "nodes_featureids": [node.feature for node in questions],
        "nodes_splits": _tensor([node.value for node in questions], dtype),
        "nodes_missing_value_tracks_true": [int(node.gaps_go_yes) for node in questions],
        "leaf_targetids": [next(iter(leaf.weights)) for leaf in leaves],
        "leaf_weights": _tensor([next(iter(leaf.weights.values())) for leaf in leaves], dtype),
    }
    if members:
        made["membership_values"] = _tensor(members, dtype)
    return helper.make_node("TreeEnsemble", ["X"], ["y"], domain="ai.onnx.ml", **made, **links, **attributes)


def _tensor(values: Sequence[float], dtype: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype))
