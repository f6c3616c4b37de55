"""Data sets of scikit-learn's own, and made-up ones: the same numbers everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

from .case import Array

SEED = 7

_LOAD = {
    "digits": datasets.load_digits,  # 64 features, 10 classes
    "iris": datasets.load_iris,  # 4, 3
    "wine": datasets.load_wine,  # 13, 3
    "breast_cancer": datasets.load_breast_cancer,  # 30, 2
    "diabetes": datasets.load_diabetes,  # 10, a number
}


@dataclass(frozen=True)
class Data:
    """Rows to learn from, [N, F] float32 with their classes or numbers, and rows to ask about."""

    x: Array
    y: Array
    test: Array


def load(name: str, scaled: bool = False) -> Data:
    """A data set of `_LOAD`, three quarters of it to learn from.

    Args:
        scaled: each feature to a mean of 0 and a deviation of 1, as kernels and gradients like it.
    """
    x, y = _LOAD[name](return_X_y=True)
    x = x.astype(np.float32)
    if scaled:
        x = ((x - x.mean(0)) / np.maximum(x.std(0), 1e-6)).astype(np.float32)
    if name == "diabetes":
        y = y.astype(np.float32)
    train, test, target, _ = train_test_split(x, y, random_state=SEED)
    return Data(train, target, test)


def two_numbers() -> Data:
    """Diabetes with a second number to learn, [N, 2]."""
    data = load("diabetes")
    return replace(data, y=np.stack([data.y, data.y * data.x[:, 2] + 1], 1))


def two_classes_at_once() -> Data:
    """Wine with a second question of three answers, [N, 2] of integers."""
    data = load("wine")
    return replace(data, y=np.stack([data.y, np.digitize(data.x[:, 0], (12.7, 13.4))], 1))


def binary() -> Data:
    return load("breast_cancer", scaled=True)


def texts(data: Data, names: tuple[str, ...]) -> Data:
    """The same with names for classes."""
    return replace(data, y=np.array(names)[data.y])


def counts() -> Data:
    """Digits: integers from 0 to 16, for estimators of counts."""
    return load("digits")


def with_gaps(data: Data, share: float = 0.1) -> Data:
    """The same, where a share of the values is NaN."""
    rng = np.random.default_rng(SEED)

    def punch(x: Array) -> Array:
        return np.where(rng.random(x.shape) < share, np.float32(np.nan), x)

    return replace(data, x=punch(data.x), test=punch(data.test))


def categories(rows: int = 200) -> tuple[Any, Any]:
    """Rows of texts, [N, 3] of `numpy.str_`, and of whole numbers, [N, 2] int64, from a few values each."""
    rng = np.random.default_rng(SEED)
    choices = (["red", "green", "blue"], ["s", "m", "l", "xl"], ["no", "yes"])
    texts = np.stack([rng.choice(values, rows) for values in choices], 1)
    return texts, rng.integers(0, 4, (rows, 2))
