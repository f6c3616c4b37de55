"""Sample data from arrays, files and folders, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import Model
from compiler.quantize.data import load_calibration
from tests.models import model, node
from tests.quantize.convolutions import floats


def one_input(*shape: int, dtype: str = "float32") -> Model:
    return floats(model([node("Identity", "x", "y")], {"x": (list(shape), dtype)}, ["y"]))


def two_inputs(batch: int = 1) -> Model:
    nodes = [node("Identity", "a", "y"), node("Identity", "b", "z")]
    return floats(model(nodes, {"a": [batch, 3], "b": ([batch], "int64")}, ["y", "z"]))


def save(path: Path, arrays: Any) -> Path:
    if isinstance(arrays, dict):
        np.savez(path, **arrays)
    else:
        np.save(path, arrays)
    return path


_ROWS = np.arange(15, dtype=np.float32).reshape(5, 3)


def test_a_stack_of_samples(tmp_path: Path) -> None:
    for source in (_ROWS, {"x": _ROWS}, save(tmp_path / "a.npy", _ROWS), str(save(tmp_path / "b.npz", {"x": _ROWS}))):
        found = load_calibration(source, one_input(1, 3))
        assert len(found) == 5
        for _ in range(2):  # they can be gone through again
            assert np.array_equal(np.concatenate([one["x"] for one in found]), _ROWS)


def test_scalars_stay_scalars() -> None:
    for source in ([np.float32(2), np.float32(3)], np.float32([2, 3])):
        found = [one["x"] for one in load_calibration(source, one_input())]
        assert [one.shape for one in found] == [(), ()] and [float(one) for one in found] == [2, 3]


def test_batches_leave_a_rest_out() -> None:
    found = list(load_calibration(_ROWS, one_input(2, 3)))
    assert [one["x"].tolist() for one in found] == [_ROWS[:2].tolist(), _ROWS[2:4].tolist()]


def test_samples_along_an_axis_of_their_own() -> None:
    found = list(load_calibration(_ROWS.reshape(5, 1, 3), one_input(1, 3)))
    assert len(found) == 5 and found[1]["x"].tolist() == _ROWS[1:2].tolist()
    inner = list(load_calibration(_ROWS.reshape(5, 3), one_input(3)))
    assert inner[4]["x"].tolist() == _ROWS[4].tolist()


def test_several_inputs(tmp_path: Path) -> None:
    arrays = {"a": _ROWS, "b": np.arange(5)}
    found = list(load_calibration(save(tmp_path / "a.npz", arrays), two_inputs()))
    assert len(found) == 5 and found[3]["b"].tolist() == [3] and found[3]["b"].dtype == np.int64


def test_an_array_of_the_input_s_own_shape_goes_with_every_sample() -> None:
    found = list(load_calibration({"a": _ROWS, "b": np.array([7])}, two_inputs()))
    assert [one["b"].tolist() for one in found] == [[7]] * 5


def test_an_iterable_of_feeds() -> None:
    rows = load_calibration((row for row in _ROWS), one_input(1, 3))
    assert [one["x"].tolist() for one in rows] == [[row.tolist()] for row in _ROWS]
    named = load_calibration([{"x": _ROWS[:1].astype(np.float64)}], one_input(1, 3))
    assert next(iter(named))["x"].dtype == np.float32


def test_some_of_them() -> None:
    found = load_calibration(_ROWS, one_input(1, 3)).take(3)
    assert len(found) == 3 and [one["x"][0, 0] for one in found] == [0, 6, 12]


def refused(message: str, data: Any, made: Model) -> None:
    with pytest.raises(UserError, match=message) as error:
        list(load_calibration(data, made))
    assert error.value.fix


def test_what_does_not_fit_is_refused() -> None:
    single, several = one_input(1, 3), two_inputs()
    refused("have the shape", np.zeros((5, 4), np.float32), single)
    refused("have the shape", [np.zeros((1, 4), np.float32)], single)
    refused("are for 'z', the inputs are 'x'", {"z": _ROWS}, single)
    refused("a single array, the model has 2 inputs", _ROWS, several)
    refused("are int64, not float32", np.zeros((5, 3), np.int64), single)
    refused("are float64, not int64", {"a": _ROWS, "b": np.zeros(5)}, several)
    refused("different numbers of samples: 5 for 'a', 4 for 'b'", {"a": _ROWS, "b": np.arange(4)}, several)
    refused("hold NaN or infinity", np.full((2, 3), np.inf, np.float32), single)
    refused("no samples", [], single)
    refused("have the shape", np.zeros((0, 3), np.float32), single)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    text, pickled = tmp_path / "a.npz", tmp_path / "b.npy"
    text.write_text("hello")
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    refused("no plain arrays", text, one_input(1, 3))
    refused("no plain arrays", pickled, one_input(1, 3))
    refused("cannot read", tmp_path / "missing.npz", one_input(1, 3))
