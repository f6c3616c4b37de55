"""Tree ensembles of ai.onnx.ml: the walk through the trees is one operator, what is made of its sums are standard ones.

onnxruntime is the measure of labels and scores: with two classes, whose labels depend on the sign or the size of one
score alone, and where leaves say nothing of a class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ..domains import PROGRAMS
from ..forest import tables_of
from ..forest_nodes import Ensemble, InvalidForest, leaf_tables, read_ensemble, read_ensemble_of_5
from ..programs import type_attributes
from .body import FLOAT, Body, Call, Refused
from .post_transform import post_transform

_DOUBLE = onnx.TensorProto.DOUBLE


def _data(call: Call) -> tuple[str, int]:
    """The rows as floats [N, F], and their type."""
    elem_type = call.elem("X")
    kind = _DOUBLE if elem_type == _DOUBLE else FLOAT
    x = "X" if elem_type == kind else call.cast("X", kind)
    shape = call.shape("X")
    if len(shape) == 1:
        return call.op("Unsqueeze", x, call.ints(0)), kind
    if len(shape) != 2:
        raise Refused(f"its input has {len(shape)} dimensions, not 2")
    return x, kind


def _walk(call: Call, ensemble: Ensemble, leaves: np.ndarray[Any, Any], x: str, elem_type: int) -> str:
    """[N, F] → [N, columns of `leaves`]: of the leaves that each row reaches."""
    shape = call.shape("X")
    features = shape[-1]
    if ensemble.feature.max(initial=0) >= max(features, 1):
        raise Refused(f"it asks for feature {ensemble.feature.max()}, its input has {features}")
    tables = tables_of(ensemble, leaves, features)
    aggregate = "SUM" if ensemble.aggregate == "AVERAGE" else ensemble.aggregate
    rows = shape[0] if len(shape) == 2 else 1
    words, thresholds = tables.words, tables.thresholds
    if words.dtype == np.uint32 and thresholds.dtype == np.float32:
        parts = [np.stack([words, thresholds.view(np.uint32)], 1)]
    else:
        parts = [words, thresholds]
    attributes = {
        "feature_bits": tables.feature_bits, "mixed": int(tables.mixed), "shallow": int(tables.shallow),
        "aggregate": aggregate, **type_attributes((elem_type, (rows, leaves.shape[1]))),
    }  # fmt: skip
    constants = [call.tensor(np.ascontiguousarray(part)) for part in (*parts, tables.roots, tables.leaves)]
    return call.own(PROGRAMS, "Forest", [x, *constants], attributes)


def _added(call: Call, scores: str, base: np.ndarray[Any, Any]) -> str:
    return call.op("Add", scores, call.tensor(base)) if base.any() else scores


def _base(call: Call, columns: int, dtype: Any) -> np.ndarray[Any, Any]:
    tensor = call.attribute("base_values_as_tensor", None)
    values = call.attribute("base_values", ()) if tensor is None else onnx.numpy_helper.to_array(tensor)
    base = np.asarray(values, np.float32 if tensor is None else None).astype(dtype).reshape(-1)
    if len(base) not in (0, 1, columns) or (len(base) == 1 and columns > 2):
        raise Refused(f"it has {len(base)} base values for {columns} columns")
    return base


def _float(call: Call, scores: str, elem_type: int) -> str:
    return scores if elem_type == FLOAT else call.cast(scores, FLOAT)


def _regressor(call: Call) -> None:
    _refuse_invalid(_regressor_body, call)


def _regressor_body(call: Call) -> None:
    x, elem_type = _data(call)
    dtype, targets = _dtype(elem_type), call.attribute("n_targets", 1)
    ensemble = read_ensemble(call.attribute, "target", targets, dtype)
    base = _base(call, targets, dtype)
    base = base if len(base) == targets else base[:0]
    scores = _aggregated(call, ensemble, x, elem_type)
    scores = _float(call, _added(call, scores, base), elem_type)
    call.let("Y", "Identity", post_transform(call, scores, call.attribute("post_transform", "NONE"), targets))


def _ensemble_of_5(call: Call) -> None:
    _refuse_invalid(_ensemble_of_5_body, call)


def _ensemble_of_5_body(call: Call) -> None:
    x, elem_type = _data(call)
    ensemble, transform = read_ensemble_of_5(call.attribute)
    if ensemble.value.dtype != _dtype(elem_type):
        x, elem_type = call.cast(x, _DOUBLE), _DOUBLE  # halves and floats are doubles too
    scores = _aggregated(call, ensemble, x, elem_type)
    scores = post_transform(call, scores, transform, ensemble.columns)
    call.let("Y", f"Cast <to = {call.elem('X')}>", scores)


def _aggregated(call: Call, ensemble: Ensemble, x: str, elem_type: int) -> str:
    leaves, said = leaf_tables(ensemble)
    scores = _walk(call, ensemble, leaves, x, elem_type)
    if ensemble.aggregate == "AVERAGE":
        return call.op("Div", scores, call.number(len(ensemble.roots), elem_type))
    if ensemble.aggregate != "SUM" and not said.all():  # columns of which no leaf said anything
        return call.op("Where", call.op("IsInf", scores), call.number(0, elem_type), scores)
    return scores


def _classifier(call: Call) -> None:
    _refuse_invalid(_classifier_body, call)


def _classifier_body(call: Call) -> None:
    x, elem_type = _data(call)
    labels, dtype = call.labels(), _dtype(elem_type)
    classes = len(labels)
    if not classes:
        raise Refused("it has no labels")
    ensemble = read_ensemble(call.attribute, "class", classes, dtype)
    base, kind = _base(call, classes, dtype), call.attribute("post_transform", "NONE")
    if classes == 2 and len(set(ensemble.entries[1].tolist())) < 2:
        _one_score(call, ensemble, x, elem_type, labels, base, kind)
    elif classes == 2:
        _two_scores(call, ensemble, x, elem_type, labels, base, kind)
    else:
        _many_scores(call, ensemble, x, elem_type, labels, base, kind)


def _many_scores(call: Call, ensemble: Ensemble, x: str, elem_type: int, labels: Any, base: Any, kind: str) -> None:
    """The label of the largest score among the classes that a leaf spoke of; one class is a question of the sign."""
    classes = len(labels)
    leaves, said = leaf_tables(ensemble)
    sums = _walk(call, ensemble, leaves, x, elem_type)
    scores = _added(call, sums, base)
    if classes == 1:
        positive = call.op("Squeeze", call.op("Greater", scores, call.number(0, elem_type)), call.ints(1))
        call.let("Y", f"Cast <to = {onnx.TensorProto.INT64}>", positive)
    else:
        candidates = scores
        if not len(base) and not _speaks_of_all(ensemble, said) and ensemble.entries[2].min(initial=1) <= 0:
            counts = _walk(call, ensemble, said.astype(leaves.dtype), x, elem_type)
            nothing = call.op("Greater", call.number(0.5, elem_type), counts)
            candidates = call.op("Where", nothing, call.number(-np.inf, elem_type), scores)
        call.let("Y", "Gather", call.tensor(labels), call.op("ArgMax <axis = 1, keepdims = 0>", candidates))
    call.let("Z", "Identity", post_transform(call, _float(call, scores, elem_type), kind, classes))


def _speaks_of_all(ensemble: Ensemble, said: np.ndarray[Any, Any]) -> bool:
    """Whether every row meets a leaf with each class, because all leaves of some tree have it."""
    trees = int(ensemble.tree_of_leaf.max(initial=-1)) + 1
    silent = np.zeros((trees, said.shape[1]), bool)
    np.logical_or.at(silent, ensemble.tree_of_leaf, ~said)
    return bool((~silent).any(0).all())


def _one_score(call: Call, ensemble: Ensemble, x: str, elem_type: int, labels: Any, base: Any, kind: str) -> None:
    """Two classes, and leaves that speak of one of them."""
    column = int(ensemble.entries[1].max(initial=0))
    leaves = leaf_tables(ensemble)[0][:, column : column + 1]
    score = _walk(call, ensemble, leaves, x, elem_type)
    mixed = bool((ensemble.entries[2] < 0).any())
    if column == 0:
        score = _added(call, score, base[:1])
    elif len(base) == 2:
        score = call.op("Add", call.op("Mul", score, call.number(0, elem_type)), call.tensor(base[1:]))
    _positive(call, score, labels, 0.0 if mixed else 0.5, elem_type)
    score = _float(call, score, elem_type)
    if column == 0 and len(base) < 2:
        if kind == "PROBIT":
            raise Refused("its PROBIT of one score for two classes is not defined: onnxruntime leaves half of it unset")
        second = 2 if mixed or kind == "LOGISTIC" else 0
        call.let("Z", "Identity", post_transform(call, score, kind, 1, second))
    else:
        zero = call.op("Mul", score, call.number(0))
        pair = [score, zero] if column == 0 else [zero, score]
        call.let("Z", "Identity", post_transform(call, call.op("Concat <axis = 1>", *pair), kind, 2))


def _two_scores(call: Call, ensemble: Ensemble, x: str, elem_type: int, labels: Any, base: Any, kind: str) -> None:
    """The sign of the second score decides; where no leaf spoke of the second class, that of the first."""
    leaves, said = leaf_tables(ensemble)
    sums = _walk(call, ensemble, leaves, x, elem_type)
    first, second = call.ops(2, "Split <axis = 1, num_outputs = 2>" if call.opset >= 18 else "Split <axis = 1>", sums)
    if len(base) == 1:
        first = _added(call, first, base)
    alone_first, alone_second = call.op("Neg", first), first
    if len(base) == 2:
        alone_first, alone_second = _added(call, first, base[:1]), call.op("Mul", first, call.number(0, elem_type))
        second = _added(call, first, base[1:])
        first = call.op("Neg", second)
    deciding = second
    if not _speaks_of_all(ensemble, said):
        counts = _walk(call, ensemble, said[:, 1:].astype(leaves.dtype), x, elem_type)
        alone = call.op("Greater", call.number(0.5, elem_type), counts)
        deciding = call.op("Where", alone, alone_first if len(base) == 2 else alone_second, second)
        if kind not in ("NONE", "LOGISTIC"):
            raise Refused(f"its {kind} with leaves that speak of one class only is not supported")
        first = call.op("Where", alone, alone_first, first)
        second = call.op("Where", alone, alone_second, second)
    _positive(call, deciding, labels, 0.0, elem_type)
    both = _float(call, call.op("Concat <axis = 1>", first, second), elem_type)
    call.let("Z", "Identity", post_transform(call, both, kind, 2))


def _positive(call: Call, score: str, labels: Any, bound: float, elem_type: int) -> None:
    positive = call.op("Squeeze", call.op("Greater", score, call.number(bound, elem_type)), call.ints(1))
    call.let("Y", "Where", positive, *(call.tensor(np.asarray(label)) for label in (labels[1], labels[0])))


def _dtype(elem_type: int) -> Any:
    return np.dtype(np.float64 if elem_type == _DOUBLE else np.float32)


def _refuse_invalid(write: Any, call: Call) -> None:
    try:
        write(call)
    except InvalidForest as error:
        raise Refused(str(error)) from error


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "TreeEnsemble"): Body("X", "Y", _ensemble_of_5),
    (_ML, "TreeEnsembleClassifier"): Body("X", "Y Z", _classifier),
    (_ML, "TreeEnsembleRegressor"): Body("X", "Y", _regressor),
}
