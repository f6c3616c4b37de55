"""Support vectors and other kernels."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn import gaussian_process, linear_model, svm

from .case import Case
from .data import SEED, Data, binary, load, texts
from .export import sklearn_case


def cases() -> list[Case]:
    wine, diabetes = (partial(load, name, scaled=True) for name in ("wine", "diabetes"))

    def named() -> Data:
        return texts(wine(), ("barolo", "grignolino", "barbera"))

    made = [
        sklearn_case(f"SVC, {kernel}", lambda _, kernel=kernel: svm.SVC(kernel=kernel), wine)
        for kernel in ("linear", "rbf", "poly", "sigmoid")
    ]
    made += [
        sklearn_case(f"SVC, {kernel}, probabilities", lambda _, kernel=kernel: _sure(kernel), wine)
        for kernel in ("linear", "rbf", "poly", "sigmoid")
    ]
    gaussian = gaussian_process.GaussianProcessRegressor
    return [
        *made,
        sklearn_case("SVC, two classes", lambda _: svm.SVC(), binary),
        sklearn_case("SVC, two classes, probabilities", lambda _: _sure("rbf"), binary),
        sklearn_case("SVC, names", lambda _: svm.SVC(), named),
        sklearn_case("SVC, names, probabilities, ZipMap", lambda _: _sure("rbf"), named, {}),
        sklearn_case("SVC, one against one", lambda _: svm.SVC(decision_function_shape="ovo"), wine),
        sklearn_case("SVC, digits", lambda _: svm.SVC(gamma=0.01), partial(load, "digits", scaled=True)),
        sklearn_case("NuSVC", lambda _: svm.NuSVC(), wine),
        sklearn_case("NuSVC, probabilities", lambda _: svm.NuSVC(probability=True, random_state=SEED), wine),
        sklearn_case("SVR", lambda _: svm.SVR(), diabetes),
        sklearn_case("SVR, linear", lambda _: svm.SVR(kernel="linear"), diabetes),
        sklearn_case("SVR, poly", lambda _: svm.SVR(kernel="poly"), diabetes),
        sklearn_case("NuSVR", lambda _: svm.NuSVR(), diabetes),
        sklearn_case("OneClassSVM", lambda _: svm.OneClassSVM(nu=0.1), wine),
        sklearn_case("SGDOneClassSVM", lambda _: linear_model.SGDOneClassSVM(random_state=SEED), wine),
        sklearn_case(
            "GaussianProcessRegressor", lambda _: gaussian(random_state=SEED, alpha=0.1), diabetes, dtype=np.float64
        ),
    ]


def _sure(kernel: str) -> svm.SVC:
    return svm.SVC(kernel=kernel, probability=True, random_state=SEED)
