"""Models that are made by hand: what exporters write rarely or never, and unusual inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .case import Array, Case, Sample, Scale
from .forest import AGGREGATES, MODES, TRANSFORMS, Kind, ensemble, ensemble_5, rows, whole_rows
from .reference import run_onnxruntime

_WORDS = ("no", "perhaps", "yes")


def cases() -> list[Case]:
    return [*_regressors(), *_classifiers(), *_version_5(), *_sizes()]


def _regressors() -> list[Case]:
    plain = Kind()
    three = replace(plain, targets=3, per_leaf=(3, 3), seed=1)
    return [
        *(_trees(f"{mode}", replace(plain, modes=(mode,))) for mode in MODES[:6]),
        _trees("all modes", replace(plain, modes=MODES[:6], trees=20, depth=6)),
        *(_trees(f"{kind}", plain, aggregate_function=kind) for kind in AGGREGATES),
        *(_trees(f"three numbers, {kind}", three, aggregate_function=kind) for kind in AGGREGATES),
        *(_trees(f"three numbers, {kind}", three, post_transform=kind) for kind in TRANSFORMS[1:4]),
        *(_trees(f"{kind}", plain, post_transform=kind) for kind in TRANSFORMS[1:4]),
        # It takes numbers between 0 and 1.
        _trees("PROBIT", replace(plain, trees=1, positive=True), post_transform="PROBIT"),
        *(
            _trees(f"absent targets, {kind}", replace(three, per_leaf=(1, 3)), aggregate_function=kind)
            for kind in AGGREGATES
        ),
        _trees("base values", three, base_values=[0.5, -1.25, 3.0]),
        _trees("base values, average", three, base_values=[0.5, -1.25, 3.0], aggregate_function="AVERAGE"),
        _trees("trees of one leaf", replace(three, depth=0)),
        _trees("one tree of depth 12", replace(plain, trees=1, depth=12, features=8)),
        _trees("float64", replace(plain, trees=9), dtype=np.float64),
    ]


def _classifiers() -> list[Case]:
    three = Kind(targets=3, per_leaf=(3, 3), seed=2)
    two = Kind(targets=2, per_leaf=(2, 2), seed=3)
    # Classes of one weight: the other's score follows from it.
    single, positive = Kind(seed=4), Kind(seed=4, trees=1, positive=True)
    labels = {"classlabels_int64s": [7, -2]}
    return [
        *(_classifier(f"{kind}", three, post_transform=kind) for kind in TRANSFORMS[:4]),
        *(_classifier(f"two classes, {kind}", two, post_transform=kind) for kind in TRANSFORMS[:4]),
        *(_classifier(f"two of one weight, {kind}", single, post_transform=kind, **labels)
          for kind in TRANSFORMS[:4]),
        *(_classifier(f"two of one positive weight, {kind}", positive, post_transform=kind, **labels)
          for kind in TRANSFORMS[:4]),
        # PROBIT takes numbers between 0 and 1.
        _classifier("PROBIT", replace(three, trees=1, positive=True), post_transform="PROBIT"),
        _classifier("names", three, classlabels_strings=_WORDS),
        _classifier("two names of one weight", single, classlabels_strings=_WORDS[:2]),
        _classifier("base values", three, base_values=[0.25, -0.5, 0.75]),
        _classifier("one class", Kind(seed=5), classlabels_int64s=[3]),
        _classifier("float64", three, dtype=np.float64),
        _classifier("int64", three, given=np.int64),
        _classifier("int32", three, given=np.int32),
        _classifier("gaps, all modes", replace(three, modes=MODES[:6], trees=20)),
    ]  # fmt: skip


def _version_5() -> list[Case]:
    plain, three = Kind(seed=6), Kind(trees=24, targets=3, seed=7)
    return [
        *(_trees_5(mode, replace(plain, modes=(mode,))) for mode in MODES[:6]),
        _trees_5("BRANCH_MEMBER", replace(plain, modes=MODES[-1:]), ask=whole_rows),
        _trees_5("all modes", replace(plain, modes=MODES, trees=20, depth=6), ask=whole_rows),
        *(_trees_5(kind, three, aggregate_function=number) for number, kind in enumerate(AGGREGATES)),
        _trees_5("SOFTMAX", three, by_standard=_softmax, post_transform=TRANSFORMS.index("SOFTMAX")),
        _trees_5("LOGISTIC", three, by_standard=_logistic, post_transform=TRANSFORMS.index("LOGISTIC")),
        _trees_5("SOFTMAX_ZERO", three, post_transform=TRANSFORMS.index("SOFTMAX_ZERO")),
        _trees_5("PROBIT", replace(three, trees=1, positive=True), post_transform=TRANSFORMS.index("PROBIT")),
        _trees_5("float64", replace(plain, modes=MODES[:6]), dtype=np.float64),
    ]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _sizes() -> list[Case]:
    plain = Kind(features=4, seed=8)
    return [
        _trees("one feature", replace(plain, features=1)),
        _trees("1,000 features", replace(plain, features=1000, depth=8)),
        _trees("one row", plain, count=1),
        _trees("no rows", plain, count=0),
        _classifier("no rows", replace(plain, targets=3), count=0),
        _trees("many rows", plain, count=None),
        _classifier("many rows", replace(plain, targets=3), count=None),
        _line("LinearRegressor by hand, many rows", 20, count=None),
        _line("LinearRegressor by hand, 1,000 features", 1000),
        _line("LinearRegressor by hand, one feature", 1),
        _line("LinearRegressor by hand, no rows", 4, count=0),
    ]


def _trees(name: str, kind: Kind, dtype: Any = np.float32, count: int | None = -1, **attributes: Any) -> Case:
    """A TreeEnsembleRegressor.

    Args:
        dtype: of its numbers and its input.
        count: of rows; -1 for as many as usual, None for many.
    """

    def make(scale: Scale) -> Sample:
        node = ensemble(kind, "TreeEnsembleRegressor", dtype, **attributes)
        x = rows(kind, _count(scale, count), dtype)
        return Sample(model_of([node], x, {"y": TensorProto.FLOAT}), {"X": x})

    return Case(f"TreeEnsembleRegressor by hand: {name}", "by hand", make)


def _classifier(
    name: str, kind: Kind, dtype: Any = np.float32, given: Any = None, count: int | None = -1, **attributes: Any
) -> Case:
    """A TreeEnsembleClassifier.

    Args:
        given: another type for the input, of whole numbers.
    """
    label = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64

    def make(scale: Scale) -> Sample:
        node = ensemble(kind, "TreeEnsembleClassifier", dtype, **attributes)
        x = rows(kind, _count(scale, count), dtype) if given is None else whole_rows(kind, scale.rows, given)
        return Sample(model_of([node], x, {"label": label, "scores": TensorProto.FLOAT}), {"X": x})

    return Case(f"TreeEnsembleClassifier by hand: {name}", "by hand", make)


def _trees_5(
    name: str,
    kind: Kind,
    dtype: Any = np.float32,
    ask: Callable[[Kind, int, Any], Array] = rows,
    by_standard: Callable[[Array], Array] | None = None,
    **attributes: Any,
) -> Case:
    """A TreeEnsemble.

    Args:
        ask: makes inputs; for set membership, where onnxruntime cuts fractions off, whole ones.
        by_standard: the post transform, where onnxruntime has another of this number.
    """

    def make(scale: Scale) -> Sample:
        x = ask(kind, scale.rows, dtype)
        outputs = {"y": _elem_type(x)}
        model = model_of([ensemble_5(kind, dtype, **attributes)], x, outputs, 5)
        if by_standard is None:
            return Sample(model, {"X": x})
        sums = run_onnxruntime(model_of([ensemble_5(kind, dtype)], x, outputs, 5), {"X": x})
        return Sample(model, {"X": x}, {"y": by_standard(sums["y"])})

    return Case(f"TreeEnsemble by hand: {name}", "by hand", make)


def _line(name: str, features: int, count: int | None = -1) -> Case:
    def make(scale: Scale) -> Sample:
        rng = np.random.default_rng(9)
        settings: dict[str, Any] = {"coefficients": rng.standard_normal(2 * features).tolist(), "targets": 2}
        node = helper.make_node(
            "LinearRegressor", ["X"], ["y"], domain="ai.onnx.ml", intercepts=[0.5, -1.0], **settings
        )
        x = rng.standard_normal((_count(scale, count), features)).astype(np.float32)
        return Sample(model_of([node], x, {"y": TensorProto.FLOAT}), {"X": x})

    return Case(name, "by hand", make)


def _count(scale: Scale, count: int | None) -> int:
    return scale.many if count is None else scale.rows if count < 0 else count


def model_of(nodes: Sequence[onnx.NodeProto], x: Array, outputs: dict[str, int], version: int = 3) -> onnx.ModelProto:
    """A model of one input, `X` of any number of rows, whose outputs' shapes are not given.

    Args:
        outputs: element types.
        version: of ai.onnx.ml.
    """
    value = helper.make_tensor_value_info
    given = value("X", _elem_type(x), [None, *x.shape[1:]])
    made = [value(name, kind, None) for name, kind in outputs.items()]
    graph = helper.make_graph(list(nodes), "by_hand", [given], made)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _elem_type(x: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(x.dtype))
