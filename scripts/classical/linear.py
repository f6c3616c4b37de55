"""Linear models, naive Bayes, discriminants, networks: a product with a matrix and little more."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn import discriminant_analysis, linear_model, multiclass, naive_bayes, neural_network, svm

from .case import Case
from .data import SEED, Data, binary, counts, load, texts, two_classes_at_once, two_numbers
from .export import sklearn_case

_FLOWERS = ("setosa", "versicolor", "virginica")


def cases() -> list[Case]:
    return [*_regressors(), *_classifiers(), *_bayes(), *_networks()]


def _regressors() -> list[Case]:
    diabetes = partial(load, "diabetes", scaled=True)
    kinds = {
        "LinearRegression": linear_model.LinearRegression(),
        "Ridge": linear_model.Ridge(),
        "Lasso": linear_model.Lasso(),
        "ElasticNet": linear_model.ElasticNet(),
        "BayesianRidge": linear_model.BayesianRidge(),
        "ARDRegression": linear_model.ARDRegression(),
        "HuberRegressor": linear_model.HuberRegressor(),
        "PoissonRegressor": linear_model.PoissonRegressor(),
        "GammaRegressor": linear_model.GammaRegressor(),
        "TweedieRegressor": linear_model.TweedieRegressor(power=1.5),
        "SGDRegressor": linear_model.SGDRegressor(random_state=SEED),
        "RANSACRegressor": linear_model.RANSACRegressor(random_state=SEED),
        "LinearSVR": svm.LinearSVR(random_state=SEED),
    }
    made = [sklearn_case(name, lambda _, kind=kind: kind, diabetes) for name, kind in kinds.items()]
    made.append(sklearn_case("LinearRegression, two numbers", lambda _: linear_model.LinearRegression(), two_numbers))
    made.append(
        sklearn_case("LinearRegression, float64", lambda _: linear_model.LinearRegression(), diabetes, dtype=np.float64)
    )
    return made


def _classifiers() -> list[Case]:
    logistic = linear_model.LogisticRegression

    def iris() -> Data:
        return load("iris", scaled=True)

    return [
        sklearn_case("LogisticRegression", lambda _: logistic(), iris),
        sklearn_case("LogisticRegression, two classes", lambda _: logistic(), binary),
        sklearn_case("LogisticRegression, names", lambda _: logistic(), lambda: texts(iris(), _FLOWERS)),
        sklearn_case("LogisticRegression, ZipMap", lambda _: logistic(), iris, {}),
        sklearn_case("LogisticRegression, names, ZipMap", lambda _: logistic(), lambda: texts(iris(), _FLOWERS), {}),
        sklearn_case(
            "LogisticRegression, raw scores", lambda _: logistic(), iris, {"zipmap": False, "raw_scores": True}
        ),
        sklearn_case("LogisticRegression, float64", lambda _: logistic(), iris, dtype=np.float64),
        sklearn_case("LogisticRegression, one against all", lambda _: multiclass.OneVsRestClassifier(logistic()), iris),
        sklearn_case("RidgeClassifier", lambda _: linear_model.RidgeClassifier(), iris),
        sklearn_case("SGDClassifier", lambda _: linear_model.SGDClassifier(random_state=SEED), iris, {"zipmap": False}),
        sklearn_case(
            "SGDClassifier, logistic", lambda _: linear_model.SGDClassifier(loss="log_loss", random_state=SEED), iris
        ),
        sklearn_case("Perceptron", lambda _: linear_model.Perceptron(random_state=SEED), iris),
        sklearn_case("LinearSVC", lambda _: svm.LinearSVC(random_state=SEED), iris),
        sklearn_case("LinearSVC, two classes", lambda _: svm.LinearSVC(random_state=SEED), binary),
        sklearn_case("LinearDiscriminantAnalysis", lambda _: discriminant_analysis.LinearDiscriminantAnalysis(), iris),
        sklearn_case(
            "QuadraticDiscriminantAnalysis",
            lambda _: discriminant_analysis.QuadraticDiscriminantAnalysis(),
            iris,
            any_rows=False,
        ),
    ]


def _bayes() -> list[Case]:
    digits = counts
    kinds = {
        "BernoulliNB": naive_bayes.BernoulliNB(binarize=7.0),
        "MultinomialNB": naive_bayes.MultinomialNB(),
        "ComplementNB": naive_bayes.ComplementNB(),
        "CategoricalNB": naive_bayes.CategoricalNB(min_categories=17),
    }
    made = [sklearn_case(name, lambda _, kind=kind: kind, digits) for name, kind in kinds.items()]
    return [sklearn_case("GaussianNB", lambda _: naive_bayes.GaussianNB(), partial(load, "iris")), *made]


def _networks() -> list[Case]:
    def classifier(activation: str, steps: int = 60) -> neural_network.MLPClassifier:
        return neural_network.MLPClassifier((24, 12), activation=activation, max_iter=steps, random_state=SEED)

    def regressor(steps: int = 60) -> neural_network.MLPRegressor:
        return neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=steps, random_state=SEED)

    digits = partial(load, "digits", scaled=True)
    return [
        sklearn_case("MLPClassifier", lambda _: classifier("relu"), digits),
        sklearn_case("MLPClassifier, tanh", lambda _: classifier("tanh"), partial(load, "iris", scaled=True)),
        sklearn_case("MLPClassifier, two classes", lambda _: classifier("logistic"), binary),
        sklearn_case("MLPClassifier, two questions", lambda _: classifier("relu"), _two_flags),
        sklearn_case("MLPRegressor", lambda _: regressor(), partial(load, "diabetes", scaled=True)),
    ]


def _two_flags() -> Data:
    data = two_classes_at_once()
    return Data(data.x / 100, (data.y > 0).astype(np.int64), data.test / 100)
