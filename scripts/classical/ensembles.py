"""Estimators of estimators."""

from __future__ import annotations

from functools import partial

from sklearn import calibration, ensemble, linear_model, multiclass, multioutput, naive_bayes, svm, tree

from .case import Case
from .data import SEED, binary, load, two_classes_at_once, two_numbers
from .export import sklearn_case


def cases() -> list[Case]:
    wine, diabetes = (partial(load, name, scaled=True) for name in ("wine", "diabetes"))
    logistic, ridge = linear_model.LogisticRegression, linear_model.Ridge

    def small() -> tree.DecisionTreeClassifier:
        return tree.DecisionTreeClassifier(max_depth=3, random_state=SEED)

    def number() -> tree.DecisionTreeRegressor:
        return tree.DecisionTreeRegressor(max_depth=3, random_state=SEED)

    def three() -> list[tuple[str, object]]:
        return [("tree", small()), ("line", logistic()), ("bayes", naive_bayes.GaussianNB())]

    def two() -> list[tuple[str, object]]:
        return [("tree", number()), ("line", ridge())]

    def voting(kind: str) -> ensemble.VotingClassifier:
        return ensemble.VotingClassifier(three(), voting=kind, flatten_transform=False)

    return [
        sklearn_case("CalibratedClassifierCV", lambda _: calibration.CalibratedClassifierCV(svm.LinearSVC()), binary),
        sklearn_case(
            "CalibratedClassifierCV, isotonic",
            lambda _: calibration.CalibratedClassifierCV(small(), method="isotonic"), wine,
        ),
        sklearn_case("VotingClassifier, soft", lambda _: voting("soft"), wine),
        sklearn_case("VotingClassifier, hard", lambda _: voting("hard"), wine),
        sklearn_case("VotingRegressor", lambda _: ensemble.VotingRegressor(two()), diabetes),
        sklearn_case("StackingClassifier", lambda _: ensemble.StackingClassifier(three(), logistic(), cv=3), wine),
        sklearn_case("StackingRegressor", lambda _: ensemble.StackingRegressor(two(), ridge(), cv=3), diabetes),
        sklearn_case("BaggingClassifier", lambda _: ensemble.BaggingClassifier(small(), random_state=SEED), wine),
        sklearn_case("BaggingRegressor", lambda _: ensemble.BaggingRegressor(number(), random_state=SEED), diabetes),
        sklearn_case("AdaBoostClassifier", lambda _: ensemble.AdaBoostClassifier(small(), random_state=SEED), wine),
        sklearn_case("AdaBoostRegressor", lambda _: ensemble.AdaBoostRegressor(number(), random_state=SEED), diabetes),
        sklearn_case("OneVsRestClassifier", lambda _: multiclass.OneVsRestClassifier(small()), wine),
        sklearn_case("OneVsOneClassifier", lambda _: multiclass.OneVsOneClassifier(logistic()), wine),
        sklearn_case(
            "MultiOutputClassifier", lambda _: multioutput.MultiOutputClassifier(logistic()), two_classes_at_once
        ),
        sklearn_case("MultiOutputRegressor", lambda _: multioutput.MultiOutputRegressor(ridge()), two_numbers),
    ]  # fmt: skip
