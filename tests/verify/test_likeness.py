"""Signal to noise, cosine, and the labels of classifiers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compiler.verify.labels import class_output, labels_of
from compiler.verify.likeness import agreement_of, likeness_of
from compiler.verify.similarity import LEAST_SNR, MOST_SNR, Similarity


def similarity(result: object, reference: object) -> tuple[float, float]:
    found = Similarity()
    found.add(np.asarray(result, np.float32), np.asarray(reference, np.float32))
    return found.snr, found.cosine


def test_similarity_is_that_of_the_definitions() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 7)).astype(np.float32)
    both = Similarity()
    for i in range(5):  # in parts
        both.add(a[i], b[i])
    x, y = a.astype(float).ravel(), b.astype(float).ravel()
    assert both.snr == pytest.approx(10 * math.log10((y @ y) / ((x - y) @ (x - y))))
    assert both.cosine == pytest.approx((x @ y) / math.sqrt((x @ x) * (y @ y)))


@pytest.mark.parametrize(
    "result, reference, snr, cosine",
    [
        ([1, 2], [1, 2], MOST_SNR, 1.0),
        ([0, 0], [0, 0], MOST_SNR, 1.0),
        ([], [], MOST_SNR, 1.0),
        ([1, 0], [0, 0], LEAST_SNR, 0.0),
        ([0, 0], [1, 0], 0.0, 0.0),
        ([np.nan, 1], [1, 1], LEAST_SNR, 0.0),
        ([np.inf, 1], [np.inf, 1], MOST_SNR, 1.0),
        ([np.nan, 3], [np.nan, 3], MOST_SNR, 1.0),
        ([1, 3], [np.inf, 3], 10 * math.log10(9), 3 / math.sqrt(10)),
    ],
)
def test_similarity_at_the_edges(result: object, reference: object, snr: float, cosine: float) -> None:
    assert similarity(result, reference) == pytest.approx((snr, cosine))


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    "outputs, batch, name",
    [
        ({"y": floats(1, 10)}, 1, "y"),
        ({"y": floats(10)}, 1, "y"),
        ({"y": floats(1, 10, 1, 1)}, 1, "y"),
        ({"y": floats(4, 10)}, 4, "y"),
        ({"p": floats(4, 10), "label": np.zeros(4, np.int64)}, 4, "label"),
        ({"points": floats(1, 63), "more": floats(1, 63)}, 1, None),
        ({"points": floats(1, 63), "p": floats(1, 4) + 0.25}, 1, "p"),
        ({"y": floats(1, 3, 8, 8)}, 1, None),
        ({"y": floats(1, 1)}, 1, None),
        ({"y": floats(4, 1)}, 4, None),
        ({"y": floats()}, 1, None),
    ],
)
def test_what_looks_like_classes(outputs: dict[str, np.ndarray], batch: int, name: str | None) -> None:
    assert class_output(outputs, batch) == name


def test_labels_and_their_agreement() -> None:
    one, other = np.float32([[1, 2, 0], [5, 0, 0]]), np.float32([[1, 2, 0], [0, 0, 5]])
    assert labels_of(one, 2).tolist() == [1, 0]
    assert labels_of(np.array([[7], [8]]), 2).tolist() == [7, 8]
    found = agreement_of([{"y": one}, {"y": one}], [{"y": one}, {"y": other}], 2)
    assert found is not None
    assert (found.equal, found.count, found.right) == (3, 4, None)
    assert "3 of 4" in str(found)
    known = agreement_of([{"y": one}, {"y": one}], [{"y": one}, {"y": other}], 2, [np.array([1, 0]), np.array([0, 2])])
    assert known is not None
    assert known.right == (2, 3)
    assert "50.00% of the artifact's labels are right, 75.00% of the model's" in str(known)
    assert agreement_of([{"y": floats(1, 2, 2)}], [{"y": floats(1, 2, 2)}], 1) is None


def test_likeness_fails_below_its_bound() -> None:
    signal = np.float32([1, -1, 1, -1])
    good, bad = likeness_of(
        [{"a": signal * 1.1, "b": signal * 0.1, "n": 3}], [{"a": signal, "b": signal, "n": np.int64(1)}]
    )
    assert (good.name, bool(good), bad.name, bool(bad)) == ("a", True, "b", False)
    assert good.snr == pytest.approx(20, abs=0.01)
    assert "at least 3" in str(bad) and "DIFFERS" in str(bad)
