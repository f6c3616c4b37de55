"""Support vector machines, distances and what follows them, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from compiler.verify.reference import run_reference
from tests.kernels.grid import DOMAINS, OPSET, Array, Case, floats, rng_of

_ML = "ai.onnx.ml"
_TOLERANCE = 1e-5


def _case(name: str, node: onnx.NodeProto, x: Array, **outputs: str) -> Case:
    """A case of one node over input `x`; `outputs` are their types."""
    found = [
        helper.make_tensor_value_info(o, helper.np_dtype_to_tensor_dtype(np.dtype(t)), None) for o, t in outputs.items()
    ]
    inputs = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)]
    graph = helper.make_graph([node], "one", inputs, found)
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, v) for d, v in DOMAINS.items())]
    source, results = run_reference(helper.make_model(graph, opset_imports=imports, ir_version=10), {"x": x})
    assert source.startswith("onnxruntime"), source
    expected = tuple(results[o] for o in outputs)
    return Case(name, [node], {"x": x}, outputs=tuple(outputs), expected=expected, tolerance=_TOLERANCE)


def _classifier(
    name: str,
    supports: tuple[int, ...],
    kernel: str = "RBF",
    rows: int = 5,
    features: int = 6,
    chances: bool = False,
    degree: float = 3,
    x: Array | None = None,
    **attributes: Any,
) -> Case:
    """A classifier with so many support vectors of each class; its labels are in no order."""
    rng, classes, vectors = rng_of(name), len(supports), sum(supports)
    pairs = classes * (classes - 1) // 2
    given: dict[str, Any] = {
        "classlabels_ints": rng.permutation(classes * 7)[:classes].tolist(),
        "coefficients": rng.uniform(-1, 1, (classes - 1) * vectors).tolist(),
        "kernel_params": [0.17, 0.3, degree],
        "kernel_type": kernel,
        "rho": rng.uniform(-0.1, 0.1, pairs).tolist(),
        "support_vectors": rng.standard_normal(vectors * features).tolist(),
        "vectors_per_class": list(supports),
    }
    if chances:
        given |= {"prob_a": rng.uniform(-3, -1, pairs).tolist(), "prob_b": rng.uniform(-0.2, 0.2, pairs).tolist()}
    node = helper.make_node("SVMClassifier", ["x"], ["y", "z"], domain=_ML, **(given | attributes))
    x = rng.standard_normal((rows, features)).astype("float32") if x is None else x
    return _case(name, node, x, y="int64", z="float32")


def classifiers() -> list[Case]:
    sizes = {2: (9, 20), 3: (1, 30, 4), 10: (3, 5, 1, 2, 7, 4, 6, 3, 2, 5)}
    cases = [
        _classifier(f"svc_{classes}_{chances}_{rows}", supports, chances=chances, rows=rows)
        for classes, supports in sizes.items()
        for chances, rows in ((False, 17), (True, 9), (True, 1))
    ]
    cases += [_classifier(f"svc_{kernel}", sizes[3], kernel) for kernel in ("LINEAR", "POLY", "SIGMOID")]
    cases += [_classifier(f"svc_poly_{degree}", sizes[2], "POLY", degree=degree) for degree in (1, 2, 5)]
    kinds = ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    cases += [_classifier(f"svc_{k}_{c}", sizes[c], post_transform=k) for k in kinds for c in (2, 3)]
    cases += [_classifier(f"svc_chances_{k}", sizes[3], chances=True, post_transform=k) for k in (*kinds, "PROBIT")]
    cases.append(_classifier("svc_without_vectors_of_a_class", (5, 0, 8), chances=True))
    for dtype in ("float64", "int64", "int32"):
        cases.append(_classifier(f"svc_{dtype}", sizes[3], x=np.asarray(rng_of(dtype).normal(0, 3, (4, 6)), dtype)))
    cases.append(_classifier("svc_one_row_of_one_dimension", sizes[3], x=floats("row", 6)))
    return cases


def linear_classifiers() -> list[Case]:
    """Coefficients without support vectors, as of liblinear."""
    cases = []
    for classes, least, chances in ((1, -1, False), (2, -1, False), (2, 0, False), (2, -1, True), (3, -1, False)):
        name = f"linear_{classes}_{least}_{chances}"
        rng = rng_of(name)
        attributes: dict[str, Any] = {
            "classlabels_ints": [11, 5, 8][:classes],
            "coefficients": rng.uniform(least, 1, classes * 4).tolist(),
            "kernel_params": [0.1, 0.0, 3.0],
            "rho": [0.05],
        }
        attributes |= {"prob_a": [-1.0] * classes, "prob_b": [0.0] * classes} if chances else {}
        for kind in ("NONE", "SOFTMAX"):
            node = helper.make_node("SVMClassifier", ["x"], ["y", "z"], domain=_ML, post_transform=kind, **attributes)
            cases.append(_case(f"{name}_{kind}", node, floats(name, 31, 4), y="int64", z="float32"))
    return cases


def regressors() -> list[Case]:
    cases = []
    for kernel, vectors, one_class in (
        ("RBF", 50, 0),
        ("RBF", 3, 1),
        ("POLY", 8, 0),
        ("SIGMOID", 8, 0),
        ("LINEAR", 8, 0),
        ("LINEAR", 0, 0),
        ("LINEAR", 0, 1),
    ):
        name = f"svr_{kernel}_{vectors}_{one_class}"
        rng = rng_of(name)
        attributes: dict[str, Any] = {
            "coefficients": rng.uniform(-1, 1, vectors or 5).tolist(),
            "kernel_params": [0.2, 0.1, 3.0],
            "kernel_type": kernel,
            "n_supports": vectors,
            "one_class": one_class,
            "rho": [-0.1],
        }
        if vectors:
            attributes["support_vectors"] = rng.standard_normal(vectors * 5).tolist()
        node = helper.make_node("SVMRegressor", ["x"], ["y"], domain=_ML, **attributes)
        cases.append(_case(name, node, floats(name, 13, 5), y="float32"))
    return cases


def _distances(x: Array, points: Array, power: int) -> Array:
    return (np.abs(x[:, None].astype("float64") - points[None]) ** power).sum(2)


def _scan(rows: int, features: int, power: int, dtype: str) -> onnx.NodeProto:
    """What skl2onnx makes of a metric."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    info = helper.make_tensor_value_info
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    exponent = helper.make_tensor("exponent", kind, [1], [power])
    nodes = [
        helper.make_node("Identity", ["all"], ["all_out"]),
        helper.make_node("Sub", ["all", "one"], ["difference"]),
    ]
    if power == 2:
        nodes.append(helper.make_node("ReduceSumSquare", ["difference", "axes"], ["sum"], keepdims=0))
    else:
        nodes.append(helper.make_node("Abs", ["difference"], ["size"]))
        if power > 1:
            nodes.append(helper.make_node("Pow", ["size", "exponent"], ["power"]))
        nodes.append(helper.make_node("ReduceSum", ["power" if power > 1 else "size", "axes"], ["sum"], keepdims=0))
    inputs = [info("all", kind, [rows, features]), info("one", kind, [features])]
    outputs = [info("all_out", kind, [rows, features]), info("sum", kind, [rows])]
    body = helper.make_graph(nodes, "body", inputs, outputs, [axes, exponent])
    return helper.make_node("Scan", ["x", "points"], ["unused", "turned"], num_scan_inputs=1, body=body)


def distances() -> list[Case]:
    """Of odd sizes; with points that are constant and with points that are not."""
    cases = []
    for rows, points, features, power, dtype in (
        (1, 1, 1, 2, "float32"),
        (1, 70, 3, 2, "float32"),
        (13, 33, 17, 2, "float32"),
        (64, 100, 5, 1, "float32"),
        (7, 20, 6, 3, "float32"),
        (5, 19, 4, 4, "float32"),
        (6, 21, 9, 2, "float64"),
        (3, 40, 2, 1, "float64"),
    ):
        name = f"distances_{rows}x{points}x{features}_{power}_{dtype}"
        # Far from zero, where x² + p² - 2xp would have no digit left.
        x, p = (floats(f"{name}{i}", n, features, dtype=dtype) + 100 for i, n in enumerate((rows, points)))
        nodes = [_scan(rows, features, power, dtype), helper.make_node("Transpose", ["turned"], ["y"], perm=[1, 0])]
        expected = (_distances(x, p, power).astype(dtype),)
        for constant in (True, False):
            inputs, constants = ({"x": x}, {"points": p}) if constant else ({"x": x, "points": p}, {})
            tolerance = 1e-6 if dtype == "float32" else 1e-12
            cases.append(Case(f"{name}_{constant}", nodes, inputs, constants, ("y",), expected, tolerance))
    x, p = floats("cdist_x", 9, 11), floats("cdist_p", 18, 11)
    for metric in ("sqeuclidean", "euclidean"):
        node = helper.make_node("CDist", ["x", "points"], ["y"], domain="com.microsoft", metric=metric)
        squares = _distances(x, p, 2)
        expected = (np.asarray(squares if metric == "sqeuclidean" else np.sqrt(squares), "float32"),)
        cases.append(Case(f"cdist_{metric}", [node], {"x": x}, {"points": p}, ("y",), expected, _TOLERANCE))
    return cases


FAMILIES = {
    "svm_classifier": classifiers,
    "svm_linear": linear_classifiers,
    "svm_regressor": regressors,
    "distances": distances,
}
