"""Nearest neighbours and clusters."""

from __future__ import annotations

from functools import partial

from sklearn import cluster, mixture, neighbors

from .case import Case
from .data import SEED, load, two_numbers
from .export import sklearn_case


def cases() -> list[Case]:
    digits, wine, diabetes = (partial(load, name, scaled=name != "digits") for name in ("digits", "wine", "diabetes"))
    classifier, regressor = neighbors.KNeighborsClassifier, neighbors.KNeighborsRegressor
    return [
        sklearn_case("KNeighborsClassifier", lambda _: classifier(), wine),
        sklearn_case("KNeighborsClassifier, digits", lambda _: classifier(3), digits),
        sklearn_case("KNeighborsClassifier, by distance", lambda _: classifier(weights="distance"), wine),
        sklearn_case("KNeighborsClassifier, Manhattan", lambda _: classifier(p=1), wine),
        sklearn_case("KNeighborsClassifier, cdist", lambda _: classifier(), wine, {"zipmap": False, "optim": "cdist"}),
        sklearn_case("KNeighborsRegressor", lambda _: regressor(), diabetes),
        sklearn_case("KNeighborsRegressor, by distance", lambda _: regressor(weights="distance"), diabetes),
        sklearn_case("KNeighborsRegressor, two numbers", lambda _: regressor(), two_numbers),
        sklearn_case("KNeighborsRegressor, cdist", lambda _: regressor(), diabetes, {"optim": "cdist"}),
        # Points outside of the radius would have the index -1, which onnxruntime refuses.
        sklearn_case("RadiusNeighborsClassifier", lambda _: neighbors.RadiusNeighborsClassifier(50.0), wine),
        sklearn_case("RadiusNeighborsRegressor", lambda _: neighbors.RadiusNeighborsRegressor(50.0), diabetes),
        sklearn_case("LocalOutlierFactor", lambda _: neighbors.LocalOutlierFactor(novelty=True), wine),
        sklearn_case("KMeans", lambda _: cluster.KMeans(10, n_init=1, random_state=SEED), digits),
        sklearn_case("MiniBatchKMeans", lambda _: cluster.MiniBatchKMeans(3, n_init=1, random_state=SEED), wine),
        sklearn_case("GaussianMixture", lambda _: mixture.GaussianMixture(3, random_state=SEED), wine),
    ]
