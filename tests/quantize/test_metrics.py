"""Metrics: against labels, the float model, boxes, and functions of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import Model, load_model
from compiler.quantize.data import Samples, load_calibration
from compiler.quantize.metrics import Run, find_metric
from tests.models import model, node


def network(inputs: list[int], outputs: dict[str, list[int]]) -> Model:
    """A model of these shapes; what it computes does not matter here."""
    shapes = {f"s{i}": np.array(shape, np.int64) for i, shape in enumerate(outputs.values())}
    nodes = [node("ConstantOfShape", f"s{i}", name) for i, name in enumerate(outputs)]
    return load_model(model(nodes, {"x": inputs}, list(outputs), shapes))


CLASSIFIER = network([1, 1], {"y": [1, 3]})


def scores(*labels: int) -> tuple[Run, Samples]:
    """A run that gives the labels one after another to samples 0, 1, …, and these samples."""
    data = load_calibration(np.arange(len(labels), dtype=np.float32)[:, None], CLASSIFIER)
    return lambda feeds: {"y": np.eye(3, dtype=np.float32)[[labels[int(feeds["x"][0, 0])]]]}, data


def test_top1_is_agreement_with_the_float_model() -> None:
    floats, samples = scores(0, 1, 2, 1)
    metric = find_metric(None, samples, floats, CLASSIFIER)
    assert (metric.name, metric.against) == ("top1", "the float model")
    assert metric.score(floats) == 1.0
    assert metric.score(scores(0, 1, 0, 0)[0]) == 0.5


def test_top1_is_against_labels_where_there_are_some() -> None:
    floats, _ = scores(0, 1, 2, 1)
    data = {"x": np.arange(4, dtype=np.float32)[:, None], "labels": np.array([0, 1, 0, 0])}
    metric = find_metric("top1", load_calibration(data, CLASSIFIER), floats, CLASSIFIER)
    assert metric.against == "labels"
    assert metric.score(floats) == 0.5
    assert metric.score(scores(0, 1, 0, 0)[0]) == 1.0


def test_samples_that_are_taken_keep_their_labels() -> None:
    data = {"x": np.arange(5, dtype=np.float32)[:, None], "labels": np.arange(5)}
    taken = load_calibration(data, CLASSIFIER).take(3)
    assert [int(labels[0]) for labels in taken.truth["labels"]] == [0, 2, 4]
    assert [float(feeds["x"][0, 0]) for feeds in taken] == [0, 2, 4]


def test_a_batch_has_a_label_for_each_sample() -> None:
    batched = network([2, 1], {"y": [2, 3]})
    data = {"x": np.zeros((6, 1), np.float32), "labels": np.array([2, 0, 1, 1, 0, 2])}
    samples = load_calibration(data, batched)

    def run(_feeds: object) -> dict[str, np.ndarray]:
        return {"y": np.array([[0, 0, 1], [1, 0, 0]], np.float32)}  # 2 and 0, each time

    assert find_metric("top1", samples, run, batched).score(run) == pytest.approx(2 / 6)


@pytest.mark.parametrize("labels", [np.arange(3), np.zeros(4, np.float32), np.zeros((4, 2), np.int64)])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(UserError, match="the labels are"):
        load_calibration({"x": np.zeros((4, 1), np.float32), "labels": labels}, CLASSIFIER)


def test_other_models_are_scored_by_the_cosine_of_their_worst_output() -> None:
    regressor = network([1, 2], {"a": [1, 2, 2], "b": [1, 2, 2]})
    samples = load_calibration(np.zeros((2, 2), np.float32), regressor)

    def floats(_feeds: object) -> dict[str, np.ndarray]:
        return {"a": np.ones((1, 2, 2), np.float32), "b": np.float32([[[3, 4], [0, 0]]])}

    def other(_feeds: object) -> dict[str, np.ndarray]:
        return {"a": np.ones((1, 2, 2), np.float32), "b": np.float32([[[4, 3], [0, 0]]])}

    metric = find_metric(None, samples, floats, regressor)
    assert metric.name == "cosine"
    assert metric.score(floats) == 1.0
    assert metric.score(other) == pytest.approx(24 / 25)
    with pytest.raises(UserError, match="no output looks like scores of classes"):
        find_metric("top1", samples, floats, regressor)


def test_a_function_of_the_users_is_called(tmp_path: Path) -> None:
    floats, samples = scores(0, 1, 2)
    file = tmp_path / "own.py"
    file.write_text(
        "def twos(run, samples):\n    return sum(int(run(s)['y'].argmax() == 2) for s in samples) / len(samples)\n"
        "def broken(run, samples):\n    return {}['x']\n"
    )
    assert find_metric(f"{file}:twos", samples, floats, CLASSIFIER).score(floats) == pytest.approx(1 / 3)
    for name, message in (
        ("none", "there is no metric"),
        (f"{file}:missing", "has no function 'missing'"),
        (f"{tmp_path / 'other.py'}:f", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            find_metric(name, samples, floats, CLASSIFIER)
    with pytest.raises(UserError, match="KeyError"):
        find_metric(f"{file}:broken", samples, floats, CLASSIFIER).score(floats)
    file.write_text("import nothing_of_this_name\n")
    with pytest.raises(UserError, match="ModuleNotFoundError"):
        find_metric(f"{file}:twos", samples, floats, CLASSIFIER)


def test_map50_is_against_boxes_where_there_are_some() -> None:
    detector = network([1, 3, 8, 8], {"d": [1, 2, 6]})
    pictures = np.zeros((2, 3, 8, 8), np.float32)
    pictures[1] = 1
    rows = np.float32([[[0, 0, 4, 4, 0.9, 1], [4, 4, 8, 8, 0.8, 2]], [[0, 0, 4, 4, 0.9, 1], [1, 4, 5, 8, 0.3, 2]]])

    def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"d": rows[int(feeds["x"].max())][None]}

    samples = load_calibration(pictures, detector)
    metric = find_metric("map50", samples, run, detector)
    assert metric.against == "the float model"
    assert metric.score(run) == 1.0
    assert metric.score(lambda feeds: {"d": np.zeros((1, 2, 6), np.float32)}) == 0.0
    boxes = np.array([[0, 1, 0, 0, 4, 4], [1, 1, 0, 0, 4, 3], [1, 2, 4, 4, 8, 8]])
    known = load_calibration({"x": pictures, "boxes": boxes}, detector)
    found = find_metric("map50", known, run, detector)
    assert found.against == "boxes"
    # Class 1 is found twice. Class 2 has one box: the one given for it in the first picture is wrong, that in the
    # second too, as a quarter of either overlaps.
    assert found.score(run) == pytest.approx(0.5)
    with pytest.raises(UserError, match="the boxes are"):
        load_calibration({"x": pictures, "boxes": boxes[:, 1:]}, detector)
