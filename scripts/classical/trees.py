"""Trees and forests of scikit-learn, XGBoost and LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from sklearn import ensemble, tree

from .case import Case, Sample, Scale
from .data import SEED, Data, load, texts, two_classes_at_once, two_numbers, with_gaps
from .export import Make, quiet, sklearn_case

_WINES = ("barolo", "grignolino", "barbera")


def cases() -> list[Case]:
    return [*_scikit_learn(), *_boosted()]


def _scikit_learn() -> list[Case]:
    forest, regressor = ensemble.RandomForestClassifier, ensemble.RandomForestRegressor

    def of(kind: Callable[..., Any], **settings: Any) -> Make:
        return lambda scale: kind(n_estimators=scale.trees, random_state=SEED, **settings)

    digits, wine, diabetes, cancer = (partial(load, name) for name in ("digits", "wine", "diabetes", "breast_cancer"))
    return [
        sklearn_case("DecisionTreeClassifier", lambda _: tree.DecisionTreeClassifier(random_state=SEED), digits),
        sklearn_case("DecisionTreeRegressor", lambda _: tree.DecisionTreeRegressor(random_state=SEED), diabetes),
        sklearn_case("ExtraTreeClassifier", lambda _: tree.ExtraTreeClassifier(random_state=SEED), wine),
        sklearn_case("RandomForestClassifier", of(forest), digits),
        sklearn_case("RandomForestClassifier, two classes", of(forest, max_depth=4), cancer),
        sklearn_case("RandomForestClassifier, names", of(forest), lambda: texts(wine(), _WINES)),
        sklearn_case("RandomForestClassifier, ZipMap", of(forest), wine, {"zipmap": True}),
        sklearn_case("RandomForestClassifier, names, ZipMap", of(forest), lambda: texts(wine(), _WINES), {}),
        sklearn_case("RandomForestClassifier, columns", of(forest), wine, {"zipmap": "columns"}),
        sklearn_case("RandomForestClassifier, two questions", of(forest), two_classes_at_once, any_rows=False),
        sklearn_case("RandomForestClassifier, float64", of(forest), wine, dtype=np.float64),
        sklearn_case("RandomForestRegressor", of(regressor), diabetes),
        sklearn_case("RandomForestRegressor, two numbers", of(regressor), two_numbers),
        sklearn_case("ExtraTreesClassifier", of(ensemble.ExtraTreesClassifier), digits),
        sklearn_case("ExtraTreesRegressor", of(ensemble.ExtraTreesRegressor), diabetes),
        sklearn_case("GradientBoostingClassifier", of(ensemble.GradientBoostingClassifier), wine),
        sklearn_case("GradientBoostingClassifier, two classes", of(ensemble.GradientBoostingClassifier), cancer),
        sklearn_case("GradientBoostingRegressor", of(ensemble.GradientBoostingRegressor), diabetes),
        _histograms("HistGradientBoostingClassifier", ensemble.HistGradientBoostingClassifier, wine),
        _histograms("HistGradientBoostingClassifier, two classes", ensemble.HistGradientBoostingClassifier, cancer),
        _histograms("HistGradientBoostingRegressor", ensemble.HistGradientBoostingRegressor, diabetes),
        _histograms(
            "HistGradientBoostingRegressor, gaps",
            ensemble.HistGradientBoostingRegressor,
            lambda: with_gaps(load("diabetes")),
        ),
        sklearn_case("IsolationForest", of(ensemble.IsolationForest), cancer),
    ]


def _histograms(name: str, kind: Callable[..., Any], data: Callable[[], Data]) -> Case:
    return sklearn_case(name, lambda scale: kind(max_iter=scale.trees, random_state=SEED), data)


def _boosted() -> list[Case]:
    """Exported by onnxmltools."""
    cancer, wine, diabetes = (partial(load, name) for name in ("breast_cancer", "wine", "diabetes"))
    return [
        _xgboost("XGBClassifier, two classes", "XGBClassifier", cancer),
        _xgboost("XGBClassifier", "XGBClassifier", wine),
        _xgboost("XGBRegressor", "XGBRegressor", diabetes),
        _xgboost("XGBRegressor, gaps", "XGBRegressor", lambda: with_gaps(load("diabetes"))),
        _xgboost("XGBRegressor, Poisson", "XGBRegressor", diabetes, objective="count:poisson"),
        _xgboost("XGBRFClassifier", "XGBRFClassifier", wine),
        _lightgbm("LGBMClassifier, two classes", "LGBMClassifier", cancer),
        _lightgbm("LGBMClassifier", "LGBMClassifier", wine),
        _lightgbm("LGBMClassifier, ZipMap", "LGBMClassifier", wine, zipmap=True),
        _lightgbm("LGBMRegressor", "LGBMRegressor", diabetes),
        _lightgbm("LGBMRegressor, gaps", "LGBMRegressor", lambda: with_gaps(load("diabetes"))),
        _lightgbm("LGBMRegressor, DART", "LGBMRegressor", diabetes, boosting_type="dart"),
    ]


def _xgboost(name: str, kind: str, data: Callable[[], Data], **settings: Any) -> Case:
    def build(scale: Scale) -> Sample:
        import xgboost
        from onnxmltools import convert_xgboost

        known = data()
        estimator = getattr(xgboost, kind)(
            n_estimators=scale.trees, max_depth=4, random_state=SEED, n_jobs=1, **settings
        )
        estimator.fit(known.x, known.y)
        with quiet():
            model = convert_xgboost(estimator, initial_types=_input_of(known), target_opset=15)
        return Sample(model, {"X": known.test[: scale.rows]})

    return Case(name, "xgboost", build)


def _lightgbm(name: str, kind: str, data: Callable[[], Data], zipmap: bool = False, **settings: Any) -> Case:
    def build(scale: Scale) -> Sample:
        import lightgbm
        from onnxmltools import convert_lightgbm

        known = data()
        settings_of_all = {"n_estimators": scale.trees, "random_state": SEED, "n_jobs": 1, "verbose": -1}
        estimator = getattr(lightgbm, kind)(**settings_of_all, **settings)
        estimator.fit(known.x, known.y)
        with quiet():
            model: onnx.ModelProto = convert_lightgbm(
                estimator, initial_types=_input_of(known), target_opset=15, zipmap=zipmap
            )
        return Sample(model, {"X": known.test[: scale.rows]})

    return Case(name, "lightgbm", build)


def _input_of(data: Data) -> list[tuple[str, Any]]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("X", FloatTensorType([None, data.x.shape[1]]))]
