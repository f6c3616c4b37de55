"""Several steps, and inputs of several kinds."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn import (
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)

from .case import Case, Sample, Scale
from .data import SEED, categories, load, with_gaps
from .export import quiet, sklearn_case


def cases() -> list[Case]:
    wine, digits, diabetes = (partial(load, name) for name in ("wine", "digits", "diabetes"))
    line, scaler = pipeline.make_pipeline, preprocessing.StandardScaler
    logistic = linear_model.LogisticRegression

    def union() -> pipeline.FeatureUnion:
        return pipeline.FeatureUnion([("pca", decomposition.PCA(3)), ("best", feature_selection.SelectKBest(k=3))])

    def network() -> neural_network.MLPClassifier:
        return neural_network.MLPClassifier((16,), max_iter=40, random_state=SEED)

    def filled() -> impute.SimpleImputer:
        return impute.SimpleImputer(strategy="median")

    return [
        sklearn_case("Pipeline: scaler, logistic", lambda _: line(scaler(), logistic()), wine),
        sklearn_case("Pipeline: scaler, SVC", lambda _: line(scaler(), svm.SVC()), wine),
        sklearn_case("Pipeline: scaler, neighbours", lambda _: line(scaler(), neighbors.KNeighborsClassifier()), wine),
        sklearn_case("Pipeline: scaler, network", lambda _: line(scaler(), network()), digits),
        sklearn_case("Pipeline: PCA, logistic", lambda _: line(decomposition.PCA(10), logistic()), digits),
        sklearn_case("Pipeline: imputer, forest", lambda scale: line(filled(), _forest(scale)), _gaps),
        sklearn_case(
            "Pipeline: polynomials, ridge",
            lambda _: line(preprocessing.PolynomialFeatures(), scaler(), linear_model.Ridge()), diabetes,
        ),
        sklearn_case("FeatureUnion", lambda _: union(), wine),
        sklearn_case("Pipeline: union, logistic", lambda _: line(scaler(), union(), logistic()), wine),
        Case("ColumnTransformer: texts and numbers", "scikit-learn", _columns),
    ]  # fmt: skip


def _gaps() -> object:
    return with_gaps(load("wine"))


def _forest(scale: Scale) -> ensemble.RandomForestClassifier:
    return ensemble.RandomForestClassifier(scale.trees, random_state=SEED)


def _columns(scale: Scale) -> Sample:
    """A table as people have it: an input of texts, one of numbers, names for classes."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    words, _ = categories()
    numbers = np.random.default_rng(SEED).standard_normal((len(words), 2)).astype(np.float32)
    table = np.concatenate([words[:, :2].astype(object), numbers.astype(object)], 1)
    wanted = np.where((words[:, 0] == "red") ^ (numbers[:, 0] > 0), "buy", "leave")
    steps = compose.ColumnTransformer([
        ("words", preprocessing.OneHotEncoder(handle_unknown="ignore"), [0, 1]),
        ("numbers", preprocessing.StandardScaler(), [2, 3]),
    ])  # fmt: skip
    estimator = pipeline.make_pipeline(steps, linear_model.LogisticRegression()).fit(table, wanted)
    types = [("words", StringTensorType([None, 2])), ("numbers", FloatTensorType([None, 2]))]
    with quiet():
        model = convert_sklearn(estimator, initial_types=types, options={"zipmap": False}, target_opset=17)
    return Sample(model, {"words": words[: scale.rows, :2], "numbers": numbers[: scale.rows]})
