"""Classical estimators, as their exporters write them: compiled, and compared with onnxruntime."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.target import load_target
from compiler.verify.execute import NoExecutor
from scripts.classical.case import SMALL, Case, Sample, Scale
from scripts.classical.catalogue import collect
from scripts.classical.check import check
from scripts.classical.reference import difference, run_onnxruntime
from scripts.classical.table import by_reason, table

# What does not pass, with a part of the reason.
KNOWN = {
    "KNNImputer": "its branches give results of different shapes",
}
PARTS = 5  # of the catalogue, whose neighbours are alike: one of them is tested always
SHARDS = 4
# One of each kind of operator: a run under qemu takes seconds.
EMULATED = (
    "XGBRegressor, gaps",
    "LogisticRegression, names, ZipMap",
    "SVC, two classes, probabilities",
    "KNeighborsRegressor",
    "OneHotEncoder, unknown texts",
)


def unexpected(cases: list[Case], target: str = "host") -> list[str]:
    """A line for each case that does not go as KNOWN says."""
    lines = []
    for result in check(cases, load_target(target), SMALL):
        known = KNOWN.get(result.case.name)
        if (known or "") not in (result.reason or "") or (known is None) != (result.reason is None):
            lines.append(f"{result.case.name}: {result.reason or 'passes'}; expected: {known or 'passes'}")
    return lines


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Case]:
    for package in ("onnxruntime", "sklearn", "skl2onnx", "onnxmltools", "xgboost", "lightgbm"):
        pytest.importorskip(package, reason=f"no {package}; the `test` extra of pyproject.toml has it")
    cases = collect()
    by_name = {case.name: case for case in cases}
    assert len(by_name) == len(cases)
    return by_name


@pytest.mark.parametrize("shard", range(SHARDS))
def test_estimators_compute_what_onnxruntime_does(catalogue: dict[str, Case], shard: int) -> None:
    assert unexpected(list(catalogue.values())[::PARTS][shard::SHARDS]) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, PARTS))
def test_the_other_estimators_do_too(catalogue: dict[str, Case], part: int) -> None:
    assert unexpected(list(catalogue.values())[part::PARTS]) == []


@pytest.mark.arm
@pytest.mark.parametrize("target", ["raspberry-pi-4", "generic-armv7"])
def test_estimators_on_boards(catalogue: dict[str, Case], target: str) -> None:
    try:
        assert unexpected([catalogue[name] for name in EMULATED], target) == []
    except NoExecutor as reason:
        pytest.skip(str(reason))


def test_known_failures_are_in_the_catalogue(catalogue: dict[str, Case]) -> None:
    assert catalogue.keys() >= KNOWN.keys()


def test_the_same_sample_again(catalogue: dict[str, Case]) -> None:
    for name in ("RandomForestClassifier", "LogisticRegression", "TreeEnsemble by hand: all modes"):
        first, second = (catalogue[name].make(SMALL) for _ in range(2))
        assert first.model == second.model
        for name, array in first.inputs.items():
            np.testing.assert_array_equal(array, second.inputs[name])


def test_inputs_of_forests_by_hand_meet_thresholds_and_gaps(catalogue: dict[str, Case]) -> None:
    x = catalogue["TreeEnsembleRegressor by hand: all modes"].make(SMALL).inputs["X"]
    threshold = np.float32(0.1)
    for value in (threshold, np.nextafter(threshold, np.float32(1)), np.nextafter(threshold, np.float32(-1))):
        assert (x == value).any()
    assert np.isnan(x).any() and np.isinf(x).any() and np.isfinite(x).any()


def test_a_wrong_case_is_noticed_and_the_others_go_on(catalogue: dict[str, Case]) -> None:
    good, other, last = (catalogue[name] for name in ("LinearRegression", "Ridge", "Lasso"))

    def make_wrong(scale: Scale) -> Sample:
        return replace(other.make(scale), expected={"variable": np.zeros((scale.rows, 1), np.float32)})

    def fail(scale: Scale) -> Sample:
        raise RuntimeError("no\n such estimator")

    def die(scale: Scale) -> Sample:
        os.abort()

    cases = [
        good,
        replace(other, name="wrong", make=make_wrong),
        replace(other, name="none", make=fail),
        replace(other, name="dead", make=die),
        last,
    ]
    seen: list[Any] = []
    results = check(cases, load_target("host"), SMALL, seen.append)
    assert seen == results and [result.case for result in results] == cases
    first, wrong, none, dead, end = (result.reason for result in results)
    assert first is None and end is None
    assert wrong is not None and wrong.startswith("with 60 rows: variable: 60 of 60 values differ")
    assert none == "not exported: RuntimeError: no such estimator"
    assert dead == "crash: died of SIGABRT"
    assert results[0].operators == ("ml.LinearRegressor",) and results[2].operators == ()
    text = table({"host": results})
    assert "| LinearRegression | scikit-learn | ml.LinearRegressor | passes |" in text
    assert text.endswith("Passed: host 2 of 5.")
    assert "1 × crash: died of SIGABRT\n    dead: crash: died of SIGABRT" in by_reason(results)


def test_differences() -> None:
    scores, labels = np.array([[0.5], [300.0]], np.float32), np.array([1, 2])
    expected = {"label": labels, "scores": scores}
    near = scores + np.array([[9e-6], [2e-3]], np.float32)
    assert difference({"scores": near, "label": labels}, expected) is None
    far = scores + np.array([[2e-5], [0]], np.float32)
    assert "scores: 1 of 2 values differ, first at [0, 0]" in str(difference(expected | {"scores": far}, expected))
    gap = np.array([[np.nan], [300]], np.float32)
    assert difference({"y": gap}, {"y": gap}) is None
    assert difference({"y": scores}, {"y": gap}) is not None and difference({"y": gap}, {"y": scores}) is not None
    assert "label: 1 of 2 values differ" in str(difference(expected | {"label": np.array([1, 3])}, expected))
    assert difference(expected | {"label": labels.astype(np.int32)}, expected) == "label: int32[2], not int64[2]"
    assert difference({"label": labels}, expected) == "no output scores"
    words = np.array(["no", "yes"], object)
    assert difference({"label": words.astype(np.str_)}, {"label": words}) is None
    assert "differ" in str(difference({"label": words[::-1]}, {"label": words}))


def test_a_zip_map_is_compared_as_the_array_below_it(catalogue: dict[str, Case]) -> None:
    samples = [catalogue[name].make(SMALL) for name in ("LogisticRegression", "LogisticRegression, ZipMap")]
    plain, zipped = (list(run_onnxruntime(sample.model, sample.inputs).values()) for sample in samples)
    np.testing.assert_array_equal(zipped[1], plain[1], strict=True)
