"""Scalers, encoders, selections, decompositions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn import decomposition, feature_selection, impute, preprocessing, random_projection

from .case import Array, Case, Sample, Scale
from .data import SEED, categories, load, with_gaps
from .export import convert, sklearn_case


def cases() -> list[Case]:
    return [*_numbers(), *_encoders()]


def _numbers() -> list[Case]:
    wine, digits = partial(load, "wine"), partial(load, "digits")

    def gaps() -> Any:
        return with_gaps(load("wine"))

    kinds = {
        "StandardScaler": preprocessing.StandardScaler(),
        "MinMaxScaler": preprocessing.MinMaxScaler(),
        "MinMaxScaler, clipped": preprocessing.MinMaxScaler((0.2, 0.8), clip=True),
        "MaxAbsScaler": preprocessing.MaxAbsScaler(),
        "RobustScaler": preprocessing.RobustScaler(),
        "Normalizer, l1": preprocessing.Normalizer("l1"),
        "Normalizer, l2": preprocessing.Normalizer("l2"),
        "Normalizer, max": preprocessing.Normalizer("max"),
        "Binarizer": preprocessing.Binarizer(threshold=2.5),
        "PolynomialFeatures": preprocessing.PolynomialFeatures(2),
        "PolynomialFeatures, products": preprocessing.PolynomialFeatures(3, interaction_only=True, include_bias=False),
        "PowerTransformer": preprocessing.PowerTransformer(),
        "PCA": decomposition.PCA(5, random_state=SEED),
        "PCA, whitened": decomposition.PCA(5, whiten=True, random_state=SEED),
        "IncrementalPCA": decomposition.IncrementalPCA(4),
        "KernelPCA": decomposition.KernelPCA(4, kernel="rbf", gamma=1e-5, random_state=SEED),
        "SelectKBest": feature_selection.SelectKBest(k=4),
        "SelectPercentile": feature_selection.SelectPercentile(percentile=40),
        "VarianceThreshold": feature_selection.VarianceThreshold(1.0),
        "GaussianRandomProjection": random_projection.GaussianRandomProjection(6, random_state=SEED),
        "KBinsDiscretizer, ordinal": _bins("ordinal"),
        "KBinsDiscretizer, onehot": _bins("onehot-dense"),
    }
    return [
        *(sklearn_case(name, lambda _, kind=kind: kind, wine) for name, kind in kinds.items()),
        sklearn_case("StandardScaler, float64", lambda _: preprocessing.StandardScaler(), wine, dtype=np.float64),
        sklearn_case("StandardScaler, int64", lambda _: preprocessing.StandardScaler(), digits, dtype=np.int64),
        sklearn_case("TruncatedSVD", lambda _: decomposition.TruncatedSVD(6, random_state=SEED), digits),
        sklearn_case("SimpleImputer, mean", lambda _: impute.SimpleImputer(), gaps),
        sklearn_case("SimpleImputer, median", lambda _: impute.SimpleImputer(strategy="median"), gaps),
        sklearn_case(
            "SimpleImputer, constant", lambda _: impute.SimpleImputer(strategy="constant", fill_value=-1.0), gaps
        ),
        sklearn_case("KNNImputer", lambda _: impute.KNNImputer(), gaps),
    ]


def _bins(encode: str) -> preprocessing.KBinsDiscretizer:
    return preprocessing.KBinsDiscretizer(4, encode=encode, strategy="uniform")


def _encoders() -> list[Case]:
    texts, numbers = categories()
    one_hot, ordinal = preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder
    unknown = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    strange = texts.copy()
    strange[::7, 1] = "xxl"
    return [
        _encoder("OneHotEncoder, texts", lambda: one_hot(sparse_output=False), texts, texts),
        _encoder(
            "OneHotEncoder, unknown texts",
            lambda: one_hot(sparse_output=False, handle_unknown="ignore"), texts, strange,
        ),
        _encoder("OneHotEncoder, numbers", lambda: one_hot(sparse_output=False), numbers, numbers),
        _encoder("OneHotEncoder, first dropped", lambda: one_hot(drop="first", sparse_output=False), numbers, numbers),
        _encoder("OrdinalEncoder, texts", lambda: ordinal(dtype=np.int64), texts, texts),
        _encoder("OrdinalEncoder, unknown texts", lambda: ordinal(dtype=np.int64, **unknown), texts, strange),
        _encoder("OrdinalEncoder, numbers", lambda: ordinal(), numbers, numbers),
        _encoder("LabelEncoder, texts", preprocessing.LabelEncoder, texts[:, 0], texts[:, 0]),
        _encoder("LabelEncoder, numbers", preprocessing.LabelEncoder, numbers[:, 0], numbers[:, 0]),
        _encoder("LabelBinarizer", preprocessing.LabelBinarizer, numbers[:, :1].ravel(), numbers[:, 0]),
    ]  # fmt: skip


def _encoder(name: str, make: Callable[[], Any], known: Array, asked: Array) -> Case:
    def build(scale: Scale) -> Sample:
        estimator = make().fit(known)
        return Sample(convert(estimator, known), {"X": asked[: scale.rows]})

    return Case(name, "scikit-learn", build)
