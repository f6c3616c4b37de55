"""Detections in the outputs of known detectors, and mean average precision."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.quantize.detections import Detections, detections_of, mean_average_precision, overlaps

PICTURE = (1, 3, 64, 32)
BOXES = np.float64([[2, 3, 12, 13], [20, 30, 28, 60]])


def centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def check(outputs: dict[str, np.ndarray]) -> None:
    """The outputs tell of BOXES, of classes 2 and 0, with scores 0.9 and 0.5."""
    found = detections_of(outputs, PICTURE, "m")(outputs)
    assert found.classes.tolist() == [2, 0]
    np.testing.assert_allclose(found.boxes, BOXES, atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.5], atol=1e-6)


def rows_of(count: int, boxes: np.ndarray, objectness: bool) -> np.ndarray:
    """[count, 4 + 3], or 5 + 3: the two boxes at places 4 and 7, nothing elsewhere."""
    rows = np.zeros((count, 7 + objectness), np.float32)
    rows[[4, 7], :4] = boxes
    if objectness:
        rows[[4, 7], 4] = 1
    rows[4, -1], rows[7, -3] = 0.9, 0.5
    return rows


def test_final_rows() -> None:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :2, :4], rows[0, :2, 4], rows[0, :2, 5] = BOXES, [0.9, 0.5], [2, 0]
    check({"output0": rows})


def test_rows_with_objectness_and_doubles() -> None:
    rows = rows_of(50, centred(BOXES), objectness=True)
    rows[9] = rows[4] * 0.9  # a box of the same class and nearly the same place
    rows[9, :4] = rows[4, :4]
    check({"output": rows[None]})


def test_rows_that_are_not_decoded_yet() -> None:
    count = 8 * 4 + 4 * 2 + 2 * 1
    rows = rows_of(count, np.zeros((2, 4)), objectness=True)
    rows[:, 2:4] = -1
    for place, box in zip((4, 7), centred(BOXES), strict=True):
        y, x = divmod(place, 4)  # of the finest of three grids, of cells of 8
        rows[place, :4] = [box[0] / 8 - x, box[1] / 8 - y, *np.log(box[2:] / 8)]
    check({"output": rows[None]})


def test_columns() -> None:
    check({"output0": rows_of(50, centred(BOXES), objectness=False).T[None]})


def test_boxes_scores_and_classes() -> None:
    scores, classes = np.float32([0.9, 0.5, 0.001]), np.int64([2, 0, 1])
    boxes = np.float32([*BOXES, BOXES[0]])
    check({"boxes": boxes, "labels": classes, "scores": scores})
    check({"scores": scores[None], "classes": classes[None].astype(np.float32), "boxes": boxes[None]})


@pytest.mark.parametrize("background", [False, True])
def test_boxes_and_scores_of_every_class(background: bool) -> None:
    rows = rows_of(20, BOXES, objectness=False)
    scores = rows[:, 4:]
    if background:
        scores = np.concatenate([1 - scores.sum(1, keepdims=True), scores], 1)
    check({"boxes": rows[None, :, :4], "scores": scores[None]})


def test_other_outputs_are_refused() -> None:
    for outputs in ({"y": np.zeros((1, 10), np.float32)}, {"y": -np.ones((1, 43, 8), np.float32)}):
        with pytest.raises(UserError, match="does not know detections"):
            detections_of(outputs, PICTURE, "m")


def test_overlaps() -> None:
    a = np.float64([[0, 0, 2, 2], [5, 5, 5, 5]])
    np.testing.assert_allclose(
        overlaps(a, np.float64([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 5, 5]])), [[1 / 3, 1, 0], [0] * 3]
    )
    assert overlaps(a, np.zeros((0, 4))).shape == (2, 0)


def detections(*rows: tuple[int, float, float]) -> Detections:
    """Class, left edge and score of boxes of size 10."""
    table = np.float64(rows).reshape(-1, 3)
    boxes = np.stack([table[:, 1], 0 * table[:, 1], table[:, 1] + 10, 0 * table[:, 1] + 10], 1)
    return Detections(table[:, 0].astype(int), boxes, table[:, 2])


def test_mean_average_precision() -> None:
    truth = [detections((0, 0, 1), (0, 100, 1)), detections((1, 50, 1))]
    assert mean_average_precision(truth, truth) == 1.0
    # Class 0: a hit, a wrong one, a hit: precision 1 up to recall 0.5 (51 of 101 recalls), then 2/3. Class 1: missed.
    found = [detections((0, 1, 0.9), (0, 40, 0.8), (0, 101, 0.7)), detections((1, 80, 0.9))]
    assert mean_average_precision(found, truth) == pytest.approx((51 + 50 * 2 / 3) / 101 / 2)
    # A box that is found twice counts once.
    twice = [detections((0, 0, 0.9), (0, 1, 0.8), (0, 100, 0.7)), detections((1, 50, 0.5))]
    assert mean_average_precision(twice, truth) == pytest.approx(((51 + 50 * 2 / 3) / 101 + 1) / 2)
    nothing = [detections(), detections()]
    assert mean_average_precision(nothing, truth) == 0.0
    assert mean_average_precision(nothing, nothing) == 1.0
    assert mean_average_precision(truth, nothing) == 0.0
