"""Tree ensembles of ai.onnx.ml: the walk through the trees is one operator, what is made of its sums are standard ones.

onnxruntime is the measure of labels and scores: with two classes, whose labels depend on the sign or the size of one
score alone, and where leaves say nothing of a class.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from ..domains import PROGRAMS
from ..forest import tables_of
from ..forest_nodes import Array, Ensemble, InvalidForest, leaf_tables, read_ensemble, read_ensemble_of_5, speaks_of_all
from ..programs import type_attributes
from .body import FLOAT, Body, Call, Refused
from .post_transform import post_transform

_RECENT: OrderedDict[bytes, tuple[Any, frozenset[str]]] = OrderedDict()
_MOST_RECENT = 8
_DOUBLE = onnx.TensorProto.DOUBLE


def _refusing(write: Callable[[Call], None]) -> Callable[[Call], None]:
    """A body that refuses invalid forests."""

    def refusing(call: Call) -> None:
        try:
            write(call)
        except InvalidForest as error:
            raise Refused(str(error)) from error

    return refusing


def _data(call: Call) -> tuple[str, int]:
    """The rows as floats [N, F], and their type."""
    elem_type = _DOUBLE if call.elem("X") == _DOUBLE else FLOAT
    return call.rows(elem_type), elem_type


def _walk(call: Call, ensemble: Ensemble, leaves: Array, x: str, elem_type: int) -> str:
    """[N, F] → [N, columns of `leaves`]: of the leaves that each row reaches."""
    features = call.shape("X")[-1]
    if ensemble.feature.max(initial=0) >= max(features, 1):
        raise Refused(f"it asks for feature {ensemble.feature.max()}, its input has {features}")
    tables = _once(call, (leaves.tobytes(), str(leaves.shape), features), lambda: tables_of(ensemble, leaves, features))
    aggregate = "SUM" if ensemble.aggregate == "AVERAGE" else ensemble.aggregate
    words, thresholds = tables.words, tables.thresholds
    if words.dtype == np.uint32 and thresholds.dtype == np.float32:
        parts = [np.stack([words, thresholds.view(np.uint32)], 1)]
    else:
        parts = [words, thresholds]
    attributes = {
        "feature_bits": tables.feature_bits, "mixed": int(tables.mixed), "shallow": int(tables.shallow),
        "aggregate": aggregate, **type_attributes((elem_type, (call.count_rows(), leaves.shape[1]))),
    }  # fmt: skip
    constants = [call.tensor(np.ascontiguousarray(part)) for part in (*parts, tables.roots, tables.leaves)]
    return call.own(PROGRAMS, "Forest", [x, *constants], attributes)


def _once(call: Call, what: Sequence[Any], make: Callable[[], Any]) -> Any:
    """What `make` makes of the node; remembered, since a model is prepared again for each number of rows."""
    digest = hashlib.sha256(call.node.SerializeToString(deterministic=True))
    for part in what:
        digest.update(part if isinstance(part, bytes) else f"{part} ".encode())
    key = digest.digest()
    if key not in _RECENT:
        before, call.read = call.read, set()
        _RECENT[key] = make(), frozenset(call.read)
        call.read |= before
    while len(_RECENT) > _MOST_RECENT:
        _RECENT.popitem(last=False)
    _RECENT.move_to_end(key)
    made, read = _RECENT[key]
    call.read |= read
    return made


def _added(call: Call, scores: str, base: Array) -> str:
    return call.op("Add", scores, call.tensor(base)) if base.any() else scores


def _base(call: Call, columns: int, dtype: Any) -> Array:
    tensor = call.attribute("base_values_as_tensor", None)
    values = call.attribute("base_values", ()) if tensor is None else onnx.numpy_helper.to_array(tensor)
    base = np.asarray(values, np.float32 if tensor is None else None).astype(dtype).reshape(-1)
    if len(base) not in (0, 1, columns) or (len(base) == 1 and columns > 2):
        raise Refused(f"it has {len(base)} base values for {columns} columns")
    return base


def _float(call: Call, scores: str, elem_type: int) -> str:
    return scores if elem_type == FLOAT else call.cast(scores, FLOAT)


@_refusing
def _regressor(call: Call) -> None:
    x, elem_type = _data(call)
    dtype, targets = _dtype(elem_type), call.attribute("n_targets", 1)
    ensemble = _once(call, ("nodes", dtype.name), lambda: read_ensemble(call.attribute, "target", targets, dtype))
    base = _base(call, targets, dtype)
    scores = _aggregated(call, ensemble, x, elem_type, base if len(base) == targets else base[:0])
    scores = _float(call, scores, elem_type)
    call.let("Y", "Identity", post_transform(call, scores, call.attribute("post_transform", "NONE"), targets))


@_refusing
def _ensemble_of_5(call: Call) -> None:
    x, elem_type = _data(call)
    ensemble, transform = _once(call, ("nodes",), lambda: read_ensemble_of_5(call.attribute))
    if ensemble.value.dtype != _dtype(elem_type):
        x, elem_type = call.cast(x, _DOUBLE), _DOUBLE  # halves and floats are doubles too
    scores = _aggregated(call, ensemble, x, elem_type, np.zeros(0))
    scores = post_transform(call, scores, transform, ensemble.columns)
    call.let("Y", f"Cast <to = {call.elem('X')}>", scores)


def _aggregated(call: Call, ensemble: Ensemble, x: str, elem_type: int, base: Array) -> str:
    """[N, F] → [N, targets]: 0, without a base value, where no leaf said anything of a target."""
    leaves, said = leaf_tables(ensemble)
    scores = _walk(call, ensemble, leaves, x, elem_type)
    if ensemble.aggregate == "AVERAGE":
        scores = call.op("Div", scores, call.number(len(ensemble.roots), elem_type))
    made = _added(call, scores, base)
    silent = ensemble.columns > 1 and not speaks_of_all(ensemble, said)
    if not silent or (ensemble.aggregate in ("AVERAGE", "SUM") and not base.any()):
        return made
    return call.op("Where", _silent(call, ensemble, said, x, elem_type), call.number(0, elem_type), made)


def _silent(call: Call, ensemble: Ensemble, said: Array, x: str, elem_type: int) -> str:
    """Of which columns no leaf that a row reaches says anything."""
    counts = _walk(call, replace(ensemble, aggregate="SUM"), said.astype(_dtype(elem_type)), x, elem_type)
    return call.op("Greater", call.number(0.5, elem_type), counts)


@_refusing
def _classifier(call: Call) -> None:
    x, elem_type = _data(call)
    labels, dtype = call.labels(), _dtype(elem_type)
    classes = len(labels)
    if not classes:
        raise Refused("it has no labels")
    ensemble = _once(call, ("nodes", dtype.name), lambda: read_ensemble(call.attribute, "class", classes, dtype))
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
        if not len(base) and not speaks_of_all(ensemble, said) and ensemble.entries[2].min(initial=1) <= 0:
            silent = _silent(call, ensemble, said, x, elem_type)
            candidates = call.op("Where", silent, call.tensor(np.asarray(-np.inf, leaves.dtype)), scores)
        call.let("Y", "Gather", call.tensor(labels), call.op("ArgMax <axis = 1, keepdims = 0>", candidates))
    call.let("Z", "Identity", post_transform(call, _float(call, scores, elem_type), kind, classes))


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
    alone = [call.op("Neg", first), first]
    deciding_alone = first
    if len(base) == 2:
        alone = [_added(call, first, base[:1]), call.op("Mul", first, call.number(0, elem_type))]
        deciding_alone = alone[0]
        second = _added(call, first, base[1:])
        first = call.op("Neg", second)
    both = _float(call, call.op("Concat <axis = 1>", first, second), elem_type)
    scores = post_transform(call, both, kind, 2)
    if not speaks_of_all(ensemble, said):
        silent = _silent(call, ensemble, said[:, 1:], x, elem_type)
        second = call.op("Where", silent, deciding_alone, second)
        one = _float(call, call.op("Concat <axis = 1>", *alone), elem_type)
        if kind == "PROBIT":
            raise Refused("its PROBIT with leaves that speak of one class only is not defined")
        if kind == "LOGISTIC" or len(base) == 2:
            one = post_transform(call, one, kind, 2)
        scores = call.op("Where", silent, one, scores)
    _positive(call, second, labels, 0.0, elem_type)
    call.let("Z", "Identity", scores)


def _positive(call: Call, score: str, labels: Any, bound: float, elem_type: int) -> None:
    positive = call.op("Squeeze", call.op("Greater", score, call.number(bound, elem_type)), call.ints(1))
    call.let("Y", "Where", positive, *(call.tensor(np.asarray(label)) for label in (labels[1], labels[0])))


def _dtype(elem_type: int) -> Any:
    return np.dtype(np.float64 if elem_type == _DOUBLE else np.float32)


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "TreeEnsemble"): Body("X", "Y", _ensemble_of_5),
    (_ML, "TreeEnsembleClassifier"): Body("X", "Y Z", _classifier),
    (_ML, "TreeEnsembleRegressor"): Body("X", "Y", _regressor),
}
