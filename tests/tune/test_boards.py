"""What boards answer: what makes no sense is an error of theirs, and what a comparison needs to be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.runtime.measure import _may_differ
from compiler.tune.boards import BoardError, Comparison, read_answer, read_comparison

ANSWER = {"versions": [{"nanoseconds": [[1, 2]], "differences": {"y": 0.0}}]}


@pytest.mark.parametrize(
    "answer",
    [
        {"versions": [{"nanoseconds": [[10**400]], "differences": {}}]},
        {"versions": [{"nanoseconds": [[1, 2], [3]], "differences": {}}]},
        {"versions": [{"nanoseconds": [[float("inf")]], "differences": {}}]},
        ANSWER | {"temperature": 10**400},
    ],
)
def test_answers_of_trials_that_make_no_sense(answer: dict[str, Any]) -> None:
    assert read_answer(ANSWER, Path("trial.so"))
    with pytest.raises(BoardError):
        read_answer(answer, Path("trial.so"))


@pytest.mark.parametrize(
    "changes", [{"ratio": 0}, {"ratio": 10**400}, {"noise": -1}, {"medians": [1, float("nan")]}, {"error": "a\x1b[2J"}]
)
def test_answers_of_comparisons_that_make_no_sense(changes: dict[str, Any]) -> None:
    answer = {"medians": [1.0, 1.0], "ratio": 1.0, "noise": 0.0, "kernels": {}}
    assert not read_comparison(answer).faster
    with pytest.raises(BoardError) as error:
        read_comparison(answer | changes)
    assert str(error.value).isprintable()


def test_what_sittings_have_to_agree_on() -> None:
    """Of many sittings some may say so, as long as chance alone makes so few differ in one comparison of 25."""
    assert [_may_differ(count) for count in (1, 5, 8, 11, 15)] == [0, 0, 1, 2, 3]
    for ratio, noise, faster in ((0.9, 0.05, True), (0.9, 0.11, False), (0.999, 0.0, False)):
        assert Comparison((1.0, ratio), ratio, {}, noise).faster == faster
