"""From trained estimators to ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from .case import Case, Sample, Scale
from .data import Data

Make = Callable[[Scale], Any]
_OPSETS = {"": 21, "ai.onnx.ml": 3}  # what exporters write today; the trees of ai.onnx.ml 5 are made by hand


def sklearn_case(
    name: str,
    make: Make,
    data: Callable[[], Data],
    options: dict[str, Any] | None = None,
    dtype: Any = np.float32,
    library: str = "scikit-learn",
) -> Case:
    """A case of an estimator that is trained on `data` and asked about its test rows.

    Args:
        make: the estimator, untrained.
        options: of skl2onnx for the estimator; by default classifiers give arrays in place of a ZipMap.
        dtype: of the model's input.
    """

    def build(scale: Scale) -> Sample:
        known = data()
        estimator = make(scale)
        with quiet():
            estimator.fit(known.x, known.y)
        return Sample(convert(estimator, known.x.astype(dtype), options), {"X": known.test[: scale.rows].astype(dtype)})

    return Case(name, library, build)


def convert(estimator: Any, x: Any, options: dict[str, Any] | None = None) -> onnx.ModelProto:
    """What skl2onnx makes of a trained estimator.

    Args:
        x: rows that it may be asked about, [N, F]; their type becomes the input's.
    """
    from skl2onnx import to_onnx
    from sklearn.base import is_classifier

    if options is None and is_classifier(estimator):
        options = {"zipmap": False}
    with quiet():
        return to_onnx(
            estimator, x[:1], options={id(estimator): options} if options else None, target_opset=_OPSETS
        )


def quiet() -> Any:
    """Estimators that stop early say so; it does not matter here."""
    return warnings.catch_warnings(action="ignore")
