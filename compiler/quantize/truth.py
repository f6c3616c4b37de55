"""What is known of sample data beside the inputs: labels, and boxes of objects.

In a `.npz` file, where no input has that name, `labels` is [n], a class's number or an output's string for each sample;
`boxes` is [m, 6], a row for each object: the sample's number, the class, and the corners x1, y1, x2, y2 as the model
gives them. In a folder of pictures, `labels.txt` has lines of a file's name and a class's number; or the folders
inside are the classes, in the order of their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

Array = np.ndarray[Any, Any]
Truth = dict[str, list[Array]]

TRUTH = ("labels", "boxes")
LABELS = "labels.txt"


def truth_of(arrays: Mapping[str, Array], count: int, batch: int, where: str) -> Truth:
    """By name, an entry for each feed: `labels` [batch], `boxes` [k, 5] without the sample's number.

    Args:
        arrays: those of the names above.
        count: how many feeds there are, each of `batch` samples.

    Raises:
        UserError: not of these shapes, fewer labels than samples, or boxes of no sample.
    """
    truth: Truth = {}
    if "labels" in arrays:
        labels = arrays["labels"].reshape(-1)
        if labels.dtype.kind not in "iuUO" or len(labels) // batch != count:
            what = f"the labels are {labels.dtype}{list(arrays['labels'].shape)}, for {count * batch} samples"
            raise UserError(what, where, "give one integer for each sample")
        truth["labels"] = [labels[number * batch : (number + 1) * batch] for number in range(count)]
    if "boxes" in arrays:
        boxes = arrays["boxes"]
        if batch != 1 or boxes.ndim != 2 or boxes.shape[1] != 6 or not np.isin(boxes[:, 0], np.arange(count)).all():
            what = f"the boxes are {boxes.dtype}{list(boxes.shape)}, for {count} samples of {batch} pictures"
            raise UserError(what, where, "give rows of sample, class, x1, y1, x2, y2, for a model of one picture")
        truth["boxes"] = [boxes[boxes[:, 0] == number, 1:] for number in range(count)]
    return truth


def labels_of_files(folder: Path, files: Sequence[Path]) -> list[int] | None:
    """The class of each of a folder's pictures, None if nothing tells it.

    Raises:
        UserError: `labels.txt` cannot be read, or misses a picture.
    """
    listed = folder / LABELS
    if listed.is_file():
        return _listed(listed, folder, files)
    parents = [file.relative_to(folder).parts[:-1] for file in files]
    classes = sorted({parts[0] for parts in parents if parts})
    if len(classes) < 2 or not all(parents):
        return None
    return [classes.index(parts[0]) for parts in parents]


def _listed(path: Path, folder: Path, files: Sequence[Path]) -> list[int]:
    fix = "write a line for each picture: its name in the folder, a blank, the number of its class"
    known: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the labels: {error}", str(path), fix) from error
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) < 2 or not parts[1].isdecimal():
            raise UserError("this is no name and number of a class", f"{path}: line {number}", fix)
        known[parts[0]] = int(parts[1])
    names = [file.relative_to(folder).as_posix() for file in files]
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(f"{len(missing)} pictures have no label, the first is {missing[0]}", str(path), fix)
    return [known[name] for name in names]
