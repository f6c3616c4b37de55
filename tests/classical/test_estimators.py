"""Classical estimators, as their exporters write them: compiled, and compared with onnxruntime."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

for package in ("onnxruntime", "sklearn", "skl2onnx", "onnxmltools", "xgboost", "lightgbm"):
    pytest.importorskip(package, reason="the `test` extra of pyproject.toml has it")

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
    "MultiOutputClassifier": "the output is a sequence",
}
SHARDS = 6
# One of each kind of operator: a run under qemu takes seconds.
EMULATED = (
    "RandomForestClassifier, names",
    "XGBRegressor, gaps",
    "LogisticRegression, ZipMap",
    "SVC, rbf, probabilities",
    "KNeighborsClassifier, by distance",
    "StandardScaler, float64",
    "OneHotEncoder, unknown texts",
    "TreeEnsemble by hand: all modes",
)


def unexpected(cases: list[Case], target: str = "host") -> list[str]:
    """A line for each case that does not go as KNOWN says."""
    lines = []
    for result in check(cases, load_target(target), SMALL):
        known = KNOWN.get(result.case.name)
        if (known or "") not in (result.reason or "") or (known is None) != (result.reason is None):
            lines.append(f"{result.case.name}: {result.reason or 'passes'}; expected: {known or 'passes'}")
    return lines


def named(*names: str) -> list[Case]:
    return [case for case in collect() if case.name in names]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_estimators_compute_what_onnxruntime_does(shard: int) -> None:
    assert unexpected(collect()[shard::SHARDS]) == []


@pytest.mark.arm
@pytest.mark.parametrize("target", ["raspberry-pi-4", "generic-armv7"])
def test_estimators_on_boards(target: str) -> None:
    try:
        assert unexpected(named(*EMULATED), target) == []
    except NoExecutor as reason:
        pytest.skip(str(reason))


def test_names_are_unique() -> None:
    names = [case.name for case in collect()]
    assert len(names) == len(set(names)) and set(names) >= {*KNOWN, *EMULATED}


def test_scales_make_the_same_sample_again() -> None:
    for case in named("RandomForestClassifier", "LogisticRegression", "TreeEnsemble by hand: all modes"):
        first, second = case.make(SMALL), case.make(SMALL)
        assert first.model == second.model
        for name, array in first.inputs.items():
            np.testing.assert_array_equal(array, second.inputs[name])


def test_inputs_of_forests_by_hand_meet_thresholds_and_gaps() -> None:
    [case] = named("TreeEnsembleRegressor by hand: all modes")
    x = case.make(SMALL).inputs["X"]
    threshold = np.float32(0.1)
    for value in (threshold, np.nextafter(threshold, np.float32(1)), np.nextafter(threshold, np.float32(-1))):
        assert (x == value).any()
    assert np.isnan(x).any() and np.isinf(x).any() and np.isfinite(x).any()


def test_a_wrong_case_is_noticed_and_the_others_go_on() -> None:
    good, other, last = named("LinearRegression", "Ridge", "Lasso")

    def make_wrong(scale: Scale) -> Sample:
        sample = other.make(scale)
        return replace(sample, inputs={"X": np.zeros((0, 3), np.float32)})

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
    assert wrong is not None and wrong.startswith("onnxruntime: ")
    assert none == "not exported: RuntimeError: no such estimator"
    assert dead == "crash: died of SIGABRT"
    assert results[0].operators == ("ml.LinearRegressor",) and results[2].operators == ()
    text = table({"host": results})
    assert "| LinearRegression | scikit-learn | ml.LinearRegressor | passes |" in text
    assert text.endswith("Passed of 5: host 2.")
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


def test_a_zip_map_is_compared_as_the_array_below_it() -> None:
    plain, zipped = (run_onnxruntime(sample.model, sample.inputs) for sample in (
        case.make(SMALL) for case in named("LogisticRegression", "LogisticRegression, ZipMap")
    ))  # fmt: skip
    assert list(zipped.values())[1].shape == list(plain.values())[1].shape
    np.testing.assert_array_equal(list(zipped.values())[1], list(plain.values())[1])
