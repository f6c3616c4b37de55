"""SVMClassifier and SVMRegressor of ai.onnx.ml, as onnxruntime computes them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from ..domains import PROGRAMS
from ..programs import type_attributes
from .body import FLOAT, Body, Call, Refused
from .distances import squared_distances
from .post_transform import post_transform

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_LEAST = 1e-7  # of a pair's probability


def _floats(call: Call, name: str) -> Floats:
    return np.asarray(call.attribute(name, ()), np.float32)


def _rows(call: Call, features: int) -> str:
    """X [N, features] or [features] → float32 [N, features]."""
    shape = call.shape("X")
    if len(shape) not in (1, 2) or shape[-1] != features:
        raise Refused(f"its input has the shape {list(shape)}, its support vectors have {features} elements")
    return call.rows()


def _sums(call: Call, vectors: Floats, coefficients: Floats) -> str:
    """float32 [N, targets]: the kernel function of each row and each of `vectors` [V, features], times coefficients.

    Args:
        coefficients: [V, targets].
    """
    kind, params = call.attribute("kernel_type", "LINEAR"), _floats(call, "kernel_params")
    gamma, shift, degree = params.tolist() if params.size else (0.0, 0.0, 0.0)
    x = _rows(call, vectors.shape[1])
    if kind == "LINEAR":  # the vectors of a target are one
        merged = vectors.T.astype(np.float64) @ coefficients.astype(np.float64)
        return call.op("MatMul", x, call.tensor(merged.astype(np.float32)))
    order = _interleaved(coefficients)
    columns = call.tensor(np.ascontiguousarray(vectors[order].T))
    if kind == "RBF":
        squares = squared_distances(call, x, columns, (call.count_rows(), len(vectors)), FLOAT)
        y = call.op("Exp", call.op("Mul", squares, call.number(-gamma)))
    elif kind in ("POLY", "SIGMOID"):
        y = call.op("Mul", call.op("MatMul", x, columns), call.number(gamma))
        y = call.op("Add", y, call.number(shift)) if shift else y
        if kind == "SIGMOID":
            y = call.op("Tanh", y)
        else:
            y = _power(call, y, int(degree)) if degree in range(1, 9) else call.op("Pow", y, call.number(degree))
    else:
        raise Refused(f"its kernel_type {kind!r} is none of the standard's")
    return call.op("MatMul", y, call.tensor(coefficients[order]))


def _interleaved(coefficients: Floats) -> Integers:
    """An order in which vectors whose coefficients have other signs alternate, so that sums stay small on the way."""
    _, groups, sizes = np.unique(np.sign(coefficients), axis=0, return_inverse=True, return_counts=True)
    groups = groups.reshape(-1)
    place = np.zeros(len(groups))
    for group, size in enumerate(sizes):
        place[groups == group] = (np.arange(size) + 0.5) / size
    return np.argsort(place, kind="stable")


def _power(call: Call, y: str, degree: int) -> str:
    """By multiplications, half the power twice."""
    if degree == 1:
        return y
    half = _power(call, y, degree // 2)
    square = call.op("Mul", half, half)
    return call.op("Mul", square, y) if degree % 2 else square


def _linear(call: Call, targets: int, rho: float) -> str:
    """[N, targets] of a model that has coefficients and no support vectors."""
    weights = _floats(call, "coefficients")
    for unused in ("kernel_type", "kernel_params", "support_vectors", "vectors_per_class"):
        call.attribute(unused, None)  # what a linear model says of them, onnxruntime does not ask
    if weights.size == 0 or weights.size % targets:
        raise Refused(f"it has {weights.size} coefficients for {targets} classes")
    weights = weights.reshape(targets, -1)
    y = call.op("MatMul", _rows(call, weights.shape[1]), call.tensor(np.ascontiguousarray(weights.T)))
    return call.op("Add", y, call.number(rho)) if rho else y


def _vectors(call: Call, count: int) -> Floats:
    vectors = _floats(call, "support_vectors")
    if vectors.size == 0 or vectors.size % count:
        raise Refused(f"its support_vectors are {vectors.size} numbers, which do not make {count} vectors")
    return vectors.reshape(count, -1)


def _regressor(call: Call) -> None:
    call.only(post_transform="NONE")  # onnxruntime ignores it, onnx's reference refuses it
    count, rho = call.attribute("n_supports", 0), _floats(call, "rho")
    if not rho.size:
        raise Refused("it has no rho")
    if count > 0:
        coefficients = _floats(call, "coefficients")
        if coefficients.size != count:
            raise Refused(f"it has {coefficients.size} coefficients for {count} support vectors")
        y = _sums(call, _vectors(call, count), coefficients.reshape(-1, 1))
        y = call.op("Add", y, call.number(float(rho[0])))
    else:
        call.attribute("support_vectors", None)
        y = _linear(call, 1, float(rho[0]))
    if call.attribute("one_class", 0):
        above = call.op("Greater", y, call.number(0))
        call.let("Y", "Where", above, call.number(1), call.number(-1))
    else:
        call.let("Y", "Identity", y)


def _classifier(call: Call) -> None:
    labels, kind = call.labels(), call.attribute("post_transform", "NONE")
    supports = np.asarray(call.attribute("vectors_per_class", ()), np.int64)
    slopes, shifts, rho = (_floats(call, name) for name in ("prob_a", "prob_b", "rho"))
    if not len(labels) or not rho.size:
        raise Refused("it has no class labels" if rho.size else "it has no rho")
    if supports.sum() == 0:
        _linear_classifier(call, labels, kind, float(rho[0]), bool(slopes.size))
        return
    classes = len(labels)
    pairs = list(combinations(range(classes), 2))
    if classes < 2 or len(supports) != classes:
        raise Refused(f"it has support vectors of {len(supports)} classes and {classes} labels")
    if rho.size < len(pairs) or slopes.size != shifts.size or 0 < slopes.size < len(pairs):
        raise Refused(f"its rho, prob_a or prob_b is too short for {len(pairs)} pairs of classes")
    scores = _sums(call, _vectors(call, int(supports.sum())), _pairwise(call, supports))
    scores = call.op("Add", scores, call.tensor(rho[: len(pairs)]))
    _vote(call, scores, labels, pairs)
    if slopes.size:
        logits = call.op("Mul", scores, call.tensor(-slopes[: len(pairs)]))
        logits = call.op("Sub", logits, call.tensor(shifts[: len(pairs)]))
        bounds = (call.number(_LEAST), call.number(float(np.float32(1) - np.float32(_LEAST))))
        sure = call.op("Clip", call.op("Sigmoid", logits), *bounds)
        types = type_attributes((FLOAT, (call.count_rows(), classes)))
        chances = call.own(PROGRAMS, "Coupling", [sure], types)
        call.let("Z", "Identity", post_transform(call, chances, kind, classes))
        return
    if classes == 2 and kind == "PROBIT":
        raise Refused("its PROBIT of one score for two classes is not defined: onnxruntime leaves half of it unset")
    call.let("Z", "Identity", post_transform(call, scores, kind, len(pairs), 2 if kind in ("NONE", "LOGISTIC") else 0))


def _pairwise(call: Call, supports: Integers) -> Floats:
    """[vectors, pairs]: what each support vector adds to the score of each pair of classes.

    A vector has a coefficient against each other class; row r of the attribute has those against class r, or r + 1
    for vectors of the classes up to r.
    """
    vectors, classes = int(supports.sum()), len(supports)
    given = _floats(call, "coefficients")
    if given.size < (classes - 1) * vectors:
        raise Refused(f"it has {given.size} coefficients for {classes} classes and {vectors} support vectors")
    rows = given[: (classes - 1) * vectors].reshape(classes - 1, vectors)
    ends = np.cumsum(supports)
    pairs = list(combinations(range(classes), 2))
    made = np.zeros((vectors, len(pairs)), np.float32)
    for column, (i, j) in enumerate(pairs):
        first, second = (slice(ends[k] - supports[k], ends[k]) for k in (i, j))
        made[first, column] = rows[j - 1, first]
        made[second, column] = rows[i, second]
    return made


def _vote(call: Call, scores: str, labels: Integers, pairs: list[tuple[int, int]]) -> None:
    """The label of the class that wins most pairs; of several, the first."""
    wins = call.op("Greater", scores, call.number(0))
    if len(pairs) == 1:
        first = call.op("Squeeze", wins, call.ints(1))
        call.let("Y", "Where", first, *(call.tensor(np.asarray(label)) for label in labels))
        return
    # For the first class of a pair if it wins, else for the second: the second's vote, and what a win changes.
    lost, change = np.zeros(len(labels), np.float32), np.zeros((len(pairs), len(labels)), np.float32)
    for row, (i, j) in enumerate(pairs):
        lost[j] += 1
        change[row, [i, j]] = 1, -1
    votes = call.op("Add", call.op("MatMul", call.cast(wins, FLOAT), call.tensor(change)), call.tensor(lost))
    call.let("Y", "Gather", call.tensor(labels), call.op("ArgMax <axis = 1, keepdims = 0>", votes))


def _linear_classifier(call: Call, labels: Integers, kind: str, rho: float, chances: bool) -> None:
    """The label of the highest score; of two classes without probabilities, the second one's from a bound on."""
    call.attribute("prob_b", None)
    scores = _linear(call, len(labels), rho)
    best = call.op("ArgMax <axis = 1, keepdims = 0>", scores)
    label = call.op("Gather", call.tensor(labels), best)
    if len(labels) == 2 and not chances:
        most = call.reduce("ReduceMax", scores, [1], keep=0)
        positive = bool((_floats(call, "coefficients") >= 0).all())
        above = call.op(*("GreaterOrEqual", most, call.number(0.5)) if positive else ("Greater", most, call.number(0)))
        label = call.op("Where", above, call.tensor(labels[1]), label)
    call.let("Y", "Identity", label)
    call.let("Z", "Identity", post_transform(call, scores, kind, len(labels)))


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "SVMClassifier"): Body("X", "Y Z", _classifier),
    (_ML, "SVMRegressor"): Body("X", "Y", _regressor),
}
