"""Forests over numbers of rows, trees and columns, and with paths of different lengths, against onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from compiler.verify.reference import run_reference
from scripts.classical.forest import MODES, Kind, ensemble, rows
from tests.kernels.grid import DOMAINS, OPSET, Case

_DTYPES = (np.float32, np.float64)
_PLAIN = Kind(trees=5, features=4)


def _forest(name: str, kind: Kind, count: int, dtype: Any = np.float32, **attributes: Any) -> Case:
    node = ensemble(kind, "TreeEnsembleRegressor", dtype, **attributes)
    return _case(name, node, rows(kind, count, dtype))


def _case(name: str, node: onnx.NodeProto, x: Any) -> Case:
    node.input[0], node.output[0] = "x", "y"
    value = helper.make_tensor_value_info
    inputs = [value("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)]
    graph = helper.make_graph([node], "one", inputs, [value("y", onnx.TensorProto.FLOAT, None)])
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, v) for d, v in DOMAINS.items())]
    _, results = run_reference(helper.make_model(graph, opset_imports=imports, ir_version=10), {"x": x})
    return Case(name, [node], {"x": x}, expected=(results["y"],), tolerance=1e-6)


def _vine(count: int) -> Case:
    """A tree that is one long path, on which most rows stop early."""
    depth = 40
    at: dict[str, list[Any]] = {
        "nodes_values": [],
        "nodes_modes": [],
        "nodes_truenodeids": [],
        "nodes_falsenodeids": [],
    }
    for level in range(depth):
        at["nodes_values"] += [-3.0 + level / 8, 0.0]
        at["nodes_modes"] += ["BRANCH_LEQ", "LEAF"]
        at["nodes_truenodeids"] += [2 * level + 1, 0]
        at["nodes_falsenodeids"] += [2 * level + 2, 0]
    for name, last in (("values", 0.0), ("modes", "LEAF"), ("truenodeids", 0), ("falsenodeids", 0)):
        at[f"nodes_{name}"].append(last)
    nodes = 2 * depth + 1
    leaves = [n for n in range(nodes) if at["nodes_modes"][n] == "LEAF"]
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0] * nodes,
        nodes_nodeids=list(range(nodes)), nodes_featureids=[0] * nodes, **at, target_treeids=[0] * len(leaves),
        target_nodeids=leaves, target_ids=[0] * len(leaves), target_weights=[float(n) for n in leaves],
    )  # fmt: skip
    x = np.random.default_rng(3).uniform(-3.5, 2.5, (count, 1)).astype(np.float32)
    return _case(f"vine_{count}", node, x)


def forests() -> list[Case]:
    cases = [_forest(f"rows_{count}", _PLAIN, count) for count in (1, 2, 15, 16, 17, 31, 64, 100, 300)]
    cases += [_forest(f"trees_{n}_{c}", replace(_PLAIN, trees=n), c) for n in (1, 15, 16, 17, 40) for c in (1, 33)]
    cases += [
        _forest(f"columns_{n}_{c}", replace(_PLAIN, trees=20, targets=n, per_leaf=(n, n)), c)
        for n in (2, 3, 10, 33)
        for c in (1, 19)
    ]
    cases += [_forest(f"features_{n}", replace(_PLAIN, features=n, depth=7), 18) for n in (1, 2, 5, 300)]
    cases.append(_forest("words_of_64_bits", replace(_PLAIN, features=1 << 21, trees=20, depth=8), 1))
    cases += [_forest(f"{mode}_{c}", replace(_PLAIN, modes=(mode,)), c) for mode in MODES[:6] for c in (1, 40)]
    cases += [_forest(f"all_modes_{c}", replace(_PLAIN, modes=MODES[:6], trees=30), c) for c in (3, 50)]
    cases += [_forest(f"float64_{c}", replace(_PLAIN, modes=MODES[:6]), c, np.float64) for c in (1, 40)]
    cases += [
        _forest(f"halves_{np.dtype(d)}_{c}", replace(_PLAIN, modes=MODES[:1]), c, d) for d in _DTYPES for c in (1, 40)
    ]
    cases += [
        _forest(f"{function}_{c}", replace(_PLAIN, targets=3), c, aggregate_function=function)
        for function in ("AVERAGE", "MIN", "MAX")
        for c in (1, 20)
    ]
    return cases + [_vine(count) for count in (1, 16, 50)]


FAMILIES = {"forests": forests}
