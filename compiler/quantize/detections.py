"""Detections in the outputs of object detectors, and their mean average precision.

These outputs are known; boxes are corners unless said otherwise:
- one [1, n, 6]: boxes, score, class: YOLOv10 and other exports that end in a choice of boxes;
- one [1, n, 5 + c]: centre, size, objectness, scores of c classes: YOLOv5, YOLOv7, YOLOX. YOLOX's own export has
  offsets in cells and logarithms of sizes instead, known by its negative sizes;
- one [1, 4 + c, n], n the larger: centre, size, scores of c classes: YOLOv8 and YOLO11;
- boxes [.., n, 4] and scores [.., n] or [.., n, c], with or without classes [.., n], told apart by their shapes and
  by `box` and `score` in their names: torchvision, TensorFlow, SSD. Where c scores sum to one, the first is that of the
  background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError

Array = np.ndarray[Any, Any]
Outputs = dict[str, Array]

_LEAST_SCORE, _OVERLAP, _MOST = 0.01, 0.45, 300  # of detections that count; as YOLO's own evaluations have them
_STRIDES = (8, 16, 32)
_FINAL = 1000  # an output [1, n, 6] with more rows is one class's scores of every place, not a choice of boxes


@dataclass(frozen=True)
class Detections:
    """What was found in a picture: classes [n], boxes [n, 4] as corners, scores [n]."""

    classes: Array
    boxes: Array
    scores: Array

    def above(self, score: float) -> Detections:
        """Those with at least that score."""
        return self._of(self.scores >= score)

    def _of(self, which: Array) -> Detections:
        return Detections(self.classes[which], self.boxes[which], self.scores[which])

    def without_doubles(self) -> Detections:
        """The highest scores first; of boxes of a class that overlap much, the first alone."""
        found = self._of(np.argsort(-self.scores, kind="stable"))
        left, kept = np.arange(len(found.scores)), list[int]()
        while len(left) and len(kept) < _MOST:
            first, rest = left[0], left[1:]
            kept.append(first)
            same = found.classes[rest] == found.classes[first]
            over = overlaps(found.boxes[first : first + 1], found.boxes[rest])[0] > _OVERLAP
            left = rest[~(same & over)]
        return found._of(np.array(kept, np.int64))


def detections_of(outputs: Outputs, picture: Sequence[int] | None, where: str) -> Callable[[Outputs], Detections]:
    """How to read a detector's outputs, which one run of the float model shows.

    Args:
        picture: the shape of the input, [1, 3, h, w] or [1, h, w, 3].

    Raises:
        UserError: they are in no form of those above.
    """
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f" and array.size}
    boxes = [name for name, array in floats.items() if array.ndim > 1 and array.shape[-1] == 4]
    if len(boxes) > 1:  # of four classes
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) == 1 and (read := _of_boxes(outputs, boxes[0])):
        return read
    if len(floats) == 1:
        name, array = next(iter(floats.items()))
        if array.ndim == 3 and len(array) == 1 and (inner := _of_rows(array[0], picture)):
            return lambda results: inner(results[name][0].astype(np.float64))
    found = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    raise UserError(
        f"map50 does not know detections in these outputs: {found}",
        where,
        "write a function that reads them, and give it as --metric FILE.py:function",
    )


def _of_rows(rows: Array, picture: Sequence[int] | None) -> Callable[[Array], Detections] | None:
    """How to read one output's rows, without its batch; see the top."""
    count, width = rows.shape
    if width == 6 and count <= _FINAL:
        return lambda r: Detections(r[:, 5].astype(np.int64), r[:, :4], r[:, 4]).above(_LEAST_SCORE)
    if width > count:
        return (lambda r: _best(_corners(r[:4].T), r[4:].T)) if count > 4 else None
    if width < 6:
        return None
    if rows[:, 2:4].min() >= 0:
        return lambda r: _best(_corners(r[:, :4]), r[:, 4:5] * r[:, 5:])
    cells = _cells(picture, count)
    if cells is None:
        return None
    corner, size = cells

    def undecoded(r: Array) -> Detections:
        centre, extent = (r[:, :2] + corner) * size, np.exp(np.minimum(r[:, 2:4], 20)) * size
        return _best(_corners(np.concatenate([centre, extent], 1)), r[:, 4:5] * r[:, 5:])

    return undecoded


def _cells(picture: Sequence[int] | None, count: int) -> tuple[Array, Array] | None:
    """Of each place of YOLOX, its cell [n, 2] as x and y, and the cell's size [n, 1]; None if there are not `count`."""
    if picture is None:
        return None
    height, width = picture[2:] if picture[1] in (1, 3) else picture[1:3]
    corners, sizes = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([x, y], -1).reshape(-1, 2))
        sizes.append(np.full((x.size, 1), stride))
    corner, size = np.concatenate(corners), np.concatenate(sizes)
    return (corner, size) if len(corner) == count else None


def _of_boxes(outputs: Outputs, boxes: str) -> Callable[[Outputs], Detections] | None:
    """How to read boxes and scores in outputs of their own."""
    count = outputs[boxes].shape[-2]
    others = {name: array for name, array in outputs.items() if name != boxes}
    single = [n for n, a in others.items() if a.size == count and a.ndim <= outputs[boxes].ndim - 1]
    scores = [n for n in single if "score" in n.lower() and others[n].dtype.kind == "f"]
    if len(scores) == 1:
        classes = next((n for n in single if n != scores[0]), None)

        def one_class(results: Outputs) -> Detections:
            score = results[scores[0]].reshape(-1).astype(np.float64)
            kinds = results[classes].reshape(-1).astype(np.int64) if classes else np.zeros(len(score), np.int64)
            return Detections(kinds, results[boxes].reshape(-1, 4).astype(np.float64), score).above(_LEAST_SCORE)

        return one_class
    several = [n for n, a in others.items() if a.dtype.kind == "f" and a.ndim > 1 and a.shape[-2] == count]
    if len(several) != 1:
        return None
    name = several[0]
    table = others[name].reshape(count, -1)
    background = int(table.shape[1] > 1 and bool(np.allclose(table.sum(1), 1, atol=1e-2)))

    def many_classes(results: Outputs) -> Detections:
        score = results[name].reshape(count, -1).astype(np.float64)
        return _best(results[boxes].reshape(-1, 4).astype(np.float64), score[:, background:])

    return many_classes


def _corners(rows: Array) -> Array:
    """[n, 4] centres and sizes as corners."""
    half = rows[:, 2:4] / 2
    return np.concatenate([rows[:, :2] - half, rows[:, :2] + half], 1)


def _best(boxes: Array, scores: Array) -> Detections:
    """Each place's best class, doubles taken out."""
    best = scores.argmax(1)
    found = Detections(best, boxes, scores[np.arange(len(best)), best])
    return found.above(_LEAST_SCORE).without_doubles()


def overlaps(a: Array, b: Array) -> Array:
    """[n, m]: intersection over union of boxes [n, 4] and [m, 4] in corners."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    area_a, area_b = (np.maximum(c[:, 2:] - c[:, :2], 0).prod(1) for c in (a, b))
    either = area_a[:, None] + area_b[None] - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def mean_average_precision(found: Sequence[Detections], truth: Sequence[Detections], overlap: float = 0.5) -> float:
    """The mean over the classes in the truth of average precision, read at 101 recalls as COCO does; each argument
    has an entry a picture. 1.0 if there is nothing to find and nothing was found, 0.0 if something was."""
    classes = sorted({int(c) for one in truth for c in one.classes})
    if not classes:
        return float(not any(len(one.classes) for one in found))
    return float(np.mean([_average_precision(found, truth, c, overlap) for c in classes]))


def _average_precision(found: Sequence[Detections], truth: Sequence[Detections], kind: int, overlap: float) -> float:
    scores: list[Array] = []
    hits: list[Array] = []
    total = 0
    for ours, theirs in zip(found, truth, strict=True):
        wanted = theirs.boxes[theirs.classes == kind]
        mine = ours.classes == kind
        order = np.argsort(-ours.scores[mine], kind="stable")
        boxes, total = ours.boxes[mine][order], total + len(wanted)
        scores.append(ours.scores[mine][order])
        hits.append(_hits(overlaps(boxes, wanted), overlap))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order].cumsum()
    recall, precision = hit / total, hit / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean(np.append(precision, 0.0)[places]))


def _hits(table: Array, overlap: float) -> Array:
    """[n]: whether each of n boxes, the best first, finds one of m that no box before it found."""
    free, hits = np.ones(table.shape[1], bool), np.zeros(len(table), bool)
    for place, row in enumerate(table):
        fitting = np.where(free, row, -1.0)
        best = int(fitting.argmax()) if len(fitting) else -1
        if best >= 0 and fitting[best] >= overlap:
            free[best], hits[place] = False, True
    return hits
