"""Folders of pictures, and what a small file or the model's metadata say about them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import Model
from compiler.quantize.data import load_calibration
from tests.models import model, node
from tests.quantize.convolutions import floats

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def takes(*shape: int, dtype: str = "float32", **metadata: str) -> Model:
    made = floats(model([node("Identity", "x", "y")], {"x": (list(shape), dtype)}, ["y"]))
    proto = onnx.ModelProto()
    proto.CopyFrom(made.proto)
    onnx.helper.set_model_props(proto, {key.replace("_", "."): text for key, text in metadata.items()})
    return replace(made, proto=proto)


def folder(path: Path, settings: str | None, *pixels: np.ndarray) -> Path:
    for number, one in enumerate(pixels):
        Image.fromarray(one.astype(np.uint8)).save(path / f"{number}.png")
    if settings is not None:
        (path / "preprocess.toml").write_text(settings)
    return path


_WIDE = np.arange(4 * 6 * 3).reshape(4, 6, 3) * 3  # height 4, width 6


def test_pixels_in_every_layout(tmp_path: Path) -> None:
    settings = "scale = 0.5\nmean = [1, 2, 3]\nstd = [1, 2, 4]\nchannels = 'bgr'\n"
    expected = (_WIDE[:, :, ::-1] * 0.5 - [1, 2, 3]) / [1, 2, 4]
    (last,) = load_calibration(folder(tmp_path, settings, _WIDE), takes(1, 4, 6, 3))
    (first,) = load_calibration(tmp_path, takes(1, 3, 4, 6))
    assert np.allclose(last["x"], expected[None]) and last["x"].dtype == np.float32
    assert np.allclose(first["x"], expected.transpose(2, 0, 1)[None])


def test_gray_pixels_of_a_model_that_takes_integers(tmp_path: Path) -> None:
    (feeds,) = load_calibration(folder(tmp_path, "channels = 'gray'", _WIDE[:, :, 0]), takes(1, 1, 4, 6, dtype="uint8"))
    assert np.array_equal(feeds["x"][0, 0], _WIDE[:, :, 0]) and feeds["x"].dtype == np.uint8


@pytest.mark.parametrize("resize", ["stretch", "cover", "fit", "crop"])
def test_pictures_of_another_size(tmp_path: Path, resize: str) -> None:
    half = np.zeros((8, 16, 3))
    half[:, 8:] = 200
    (feeds,) = load_calibration(folder(tmp_path, f"resize = '{resize}'\nfill = 9\n", half), takes(1, 3, 4, 4))
    rows = feeds["x"][0, 0]
    if resize == "fit":  # 4 wide and 2 high
        assert (rows[2:] == 9).all() and rows[0, 0] == 0 and rows[1, 3] == 200
    else:
        assert (rows[:, 0] == 0).all() and (rows[:, 3] == 200).all()
    assert (rows[:, 1] == 0).all() if resize == "crop" else rows[0, 1] >= 0


def test_the_shorter_side_and_a_picture_that_is_too_small(tmp_path: Path) -> None:
    settings = "resize = 'cover'\nshorter = 8\n"
    edge = np.zeros((4, 4, 3))
    edge[1:3, 1:3] = 100
    (feeds,) = load_calibration(folder(tmp_path, settings, edge), takes(1, 3, 4, 4))
    assert feeds["x"].min() > 20  # its middle
    (tmp_path / "preprocess.toml").write_text("resize = 'crop'\nfill = 7\n")
    (padded,) = load_calibration(tmp_path, takes(1, 3, 6, 6))
    assert (padded["x"][0, 0, 0] == 7).all() and padded["x"][0, 0, 2, 2] == 100


def test_the_model_s_metadata(tmp_path: Path) -> None:
    folder(tmp_path, None, _WIDE)
    standard = takes(1, 3, 4, 6, Image_BitmapPixelFormat="Bgr8", Image_NominalPixelRange="Normalized_1_1")
    (feeds,) = load_calibration(tmp_path, standard)
    assert np.allclose(feeds["x"][0], (_WIDE[:, :, ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5, atol=1e-6)
    (own,) = load_calibration(tmp_path, takes(1, 3, 4, 6, edgec_preprocess="scale = 2"))
    assert np.array_equal(own["x"][0], _WIDE.transpose(2, 0, 1) * 2)


def test_batches_of_files_by_name(tmp_path: Path) -> None:
    pixels = [np.full((2, 2, 3), number) for number in range(5)]
    found = list(load_calibration(folder(tmp_path, "", *pixels), takes(2, 3, 2, 2)))
    assert [one["x"][:, 0, 0, 0].tolist() for one in found] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "settings, message",
    [
        ("colour = 1", "unknown keys: colour"),
        ("resize = 'big'", "resize is 'big'"),
        ("resize = [", "this is not TOML"),
        ("size = [5, 5]", "do not fit"),
        ("channels = 'gray'", "do not fit"),
        ("mean = [1, 2]", "mean is"),
        ("std = 0", "std must not be 0"),
        ("scale = 'a'", "scale is 'a'"),
        ("input = 'z'", "with one input"),
        (None, "nothing says how"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, settings: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_calibration(folder(tmp_path, settings, _WIDE), takes(1, 3, 4, 6))
    assert error.value.fix


def test_folders_without_usable_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 0 pictures, the model takes 1"):
        load_calibration(folder(tmp_path, ""), takes(1, 3, 4, 6))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(UserError, match="cannot read the picture") as error:
        list(load_calibration(tmp_path, takes(1, 3, 4, 6)))
    assert "broken.png" in str(error.value)


def test_pillow_is_asked_for_only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match="not installed") as error:
        load_calibration(folder_without_pillow(tmp_path), takes(1, 3, 4, 6))
    assert "pip install" in str(error.value.fix)


def folder_without_pillow(path: Path) -> Path:
    (path / "preprocess.toml").write_text("")
    return path
