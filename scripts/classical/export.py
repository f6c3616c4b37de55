"""From trained estimators to ONNX."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

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
    any_rows: bool = True,
) -> Case:
    """A case of an estimator that is trained on `data` and asked about its test rows.

    Args:
        make: the estimator, untrained.
        options: of skl2onnx for the estimator; by default classifiers give arrays in place of a ZipMap.
        dtype: of the model's input.
        any_rows: see `Case`.
    """

    def build(scale: Scale) -> Sample:
        known = data()
        estimator = make(scale)
        with quiet():
            estimator.fit(known.x, known.y)
        return Sample(convert(estimator, known.x.astype(dtype), options), {"X": known.test[: scale.rows].astype(dtype)})

    return Case(name, "scikit-learn", build, any_rows)


def convert(estimator: Any, x: Any, options: dict[str, Any] | None = None) -> onnx.ModelProto:
    """What skl2onnx makes of a trained estimator.

    Args:
        x: rows that it may be asked about, [N, F]; their type becomes the input's.
    """
    from skl2onnx import to_onnx
    from sklearn.base import is_classifier

    def export(options: dict[str, Any]) -> onnx.ModelProto:
        with quiet(), _plain_attributes():
            return to_onnx(estimator, x[:1], options={id(estimator): options}, target_opset=_OPSETS)

    if options is not None or not is_classifier(estimator):
        return export(options or {})
    try:
        return export({"zipmap": False})
    except NameError:  # it has labels alone
        return export({})


def quiet() -> Any:
    """Estimators that stop early say so; it does not matter here."""
    return warnings.catch_warnings(action="ignore")


@contextlib.contextmanager
def _plain_attributes() -> Iterator[None]:
    """Lets skl2onnx write attributes that NumPy holds: it fails on those of histogram boosting."""
    from skl2onnx.common._container import ModelComponentContainer

    original = ModelComponentContainer.add_node

    def add_node(self: Any, *args: Any, **attributes: Any) -> None:
        original(self, *args, **{name: _plain(value) for name, value in attributes.items()})

    with mock.patch.object(ModelComponentContainer, "add_node", add_node):
        yield


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return int(value)
    return value.item() if isinstance(value, np.generic) else value
