"""Labels that lie beside pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.quantize.data import load_calibration
from compiler.quantize.truth import labels_of_files, truth_of
from tests.quantize.lopsided import lopsided


def paint(path: Path) -> Path:
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (12, 12)).save(path)
    return path


def test_labels_are_read_from_a_list(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "in" / "b.png"]
    assert labels_of_files(tmp_path, files) is None
    (tmp_path / "labels.txt").write_text("in/b.png 7 a name\n\na.png 2\nother.png 3\n")
    assert labels_of_files(tmp_path, files) == [2, 7]
    with pytest.raises(UserError, match="1 pictures have no label"):
        labels_of_files(tmp_path, [*files, tmp_path / "c.png"])
    for text in ("a.png\n", "a.png cat\n"):
        (tmp_path / "labels.txt").write_text(text)
        with pytest.raises(UserError, match="no name and number"):
            labels_of_files(tmp_path, files)


def test_folders_are_classes(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        paint(tmp_path / name)
    (tmp_path / "preprocess.toml").write_text("scale = 0.1\n")
    samples = load_calibration(tmp_path, load_model(lopsided()))
    assert np.concatenate(samples.truth["labels"]).tolist() == [0, 0, 1]
    paint(tmp_path / "3.png")  # of no class
    assert load_calibration(tmp_path, load_model(lopsided())).truth == {}


def test_boxes_go_with_their_sample() -> None:
    rows = np.array([[2, 1, 0, 0, 3, 4], [0, 5, 1, 1, 2, 2], [2, 6, 1, 1, 2, 2]])
    boxes = truth_of({"boxes": rows}, 3, 1, "here")["boxes"]
    assert [one[:, 0].tolist() for one in boxes] == [[5], [], [1, 6]]
    for wrong, batch in ((rows, 2), (rows[:, :5], 1), (rows + 1, 1)):
        with pytest.raises(UserError, match="the boxes are"):
            truth_of({"boxes": wrong}, 3, batch, "here")
