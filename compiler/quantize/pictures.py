"""Sample data from a folder of pictures, and how pictures become a model's input.

The folder's `preprocess.toml` says it; without one, the model's metadata: ONNX's own entries `Image.BitmapPixelFormat`
and `Image.NominalPixelRange`, or the text of such a file as `edgec.preprocess`. All keys are optional:

    input = "x"          # the picture's; by default the model's only input of pictures
    size = [224, 224]    # height and width; the input's own by default
    resize = "stretch"   # or "cover": scaled to cover the size, its middle cut out; "fit": into it, filled up below and
                         # on the right; "crop": its middle as it is
    shorter = 256        # of "cover": what the shorter side is scaled to, before the middle is cut out
    fill = 114           # of "fit" and of pictures too small for "crop", 0 to 255
    channels = "rgb"     # or "bgr", "gray"
    layout = "nchw"      # or "nhwc"; by default as the input's shape has it
    scale = 0.00392157   # pixels are multiplied by it: 1 leaves 0 to 255, which is the default
    mean = [0.485, 0.456, 0.406]  # then subtracted, by channel or one for all
    std = [0.229, 0.224, 0.225]   # then divided by
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..frontend.prepare import Model
from .data import Array, Feeds, Samples, inputs_of
from .truth import labels_of_files, truth_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from PIL import Image

SETTINGS = "preprocess.toml"
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FIX = f"write how the model wants its pictures into {SETTINGS} in their folder"
_CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
_CHOICES = {
    "resize": ("stretch", "cover", "fit", "crop"),
    "channels": tuple(_CHANNELS),
    "layout": ("nchw", "nhwc"),
}
# By ONNX's Image.NominalPixelRange: scale, mean and std.
_RANGES = {
    "NominalRange_0_255": (1.0, 0.0, 1.0),
    "Normalized_0_1": (1 / 255, 0.0, 1.0),
    "Normalized_1_1": (1 / 255, 0.5, 0.5),
    "NominalRange_16_235": (219 / 255, -16.0, 1.0),
}
_FORMATS = {"Gray8": "gray", "Rgb8": "rgb", "Bgr8": "bgr"}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input; see the module."""

    input: str
    size: tuple[int, int]
    resize: str = "stretch"
    shorter: int = 0
    fill: int = 0
    channels: str = "rgb"
    layout: str = "nchw"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, picture: Image.Image) -> Array:
        """[channels, height, width] or, as the layout says, [height, width, channels], float32."""
        picture = picture.convert("L" if self.channels == "gray" else "RGB")
        pixels = np.asarray(self._resized(picture), np.float32).reshape(*self.size, _CHANNELS[self.channels])
        if self.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        pixels = (pixels * np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(pixels if self.layout == "nhwc" else pixels.transpose(2, 0, 1))

    def _resized(self, picture: Image.Image) -> Image.Image:
        from PIL import Image

        height, width = self.size
        if self.resize == "stretch":
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        ratios = width / picture.width, height / picture.height
        factor = {"cover": max(ratios), "fit": min(ratios), "crop": 1.0}[self.resize]
        if self.resize == "cover" and self.shorter:
            factor = self.shorter / min(picture.size)
        if factor != 1.0:
            scaled = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
            picture = picture.resize(scaled, Image.Resampling.BILINEAR)
        canvas = Image.new(picture.mode, (width, height), (self.fill,) * len(picture.getbands()))
        if self.resize == "fit":
            canvas.paste(picture, (0, 0))
        else:
            canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
        return canvas


def load_pictures(folder: Path, model: Model) -> Samples:
    """Feeds from the pictures of a folder, in the order of their names; a rest that fills no batch is left out.

    Raises:
        UserError: no pictures, one that cannot be read, no Pillow, or settings that do not fit the model.
    """
    try:
        from PIL import Image
    except ImportError as error:
        fix = "install Pillow (pip install 'edgec[pictures]'), or give the data as an .npz file"
        raise UserError("pictures are read with Pillow, which is not installed", str(folder), fix) from error
    try:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    except OSError as error:
        raise UserError(f"cannot read the folder: {error.strerror}", str(folder)) from error
    to_input = preprocessing_of(folder, model)
    dtype, shape = inputs_of(model)[to_input.input]
    batch = shape[0]
    if len(files) < max(batch, 1):
        what = f"the folder has {len(files)} pictures, the model takes {batch} at once"
        raise UserError(what, str(folder), f"put pictures there ({' '.join(ENDINGS)})")

    def read(path: Path) -> Array:
        try:
            with Image.open(path) as picture:
                return to_input(picture)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"cannot read the picture: {error}", str(path), "leave it out") from error

    def make(number: int) -> Feeds:
        pictures = [read(path) for path in files[number * batch : (number + 1) * batch]]
        stacked = np.stack(pictures)
        if dtype.kind in "ui":  # such models take the pixels themselves
            stacked = np.rint(stacked)
        return {to_input.input: stacked.astype(dtype)}

    count, labels = len(files) // batch, labels_of_files(folder, files)
    known = {} if labels is None else {"labels": np.asarray(labels)}
    return Samples(count, make, truth_of(known, count, batch, str(folder)))


def preprocessing_of(folder: Path, model: Model) -> Preprocessing:
    """What the folder's file or the model's metadata say, with the rest filled in from the input's shape.

    Raises:
        UserError: neither says anything, or what they say does not fit the model.
    """
    path = folder / SETTINGS
    metadata = {entry.key: entry.value for entry in model.proto.metadata_props}
    if path.is_file():
        return _complete(_parse(path.read_bytes().decode("utf-8", "replace"), str(path)), model, str(path))
    if text := metadata.get("edgec.preprocess"):
        return _complete(_parse(text, model.name), model, f"{model.name}: metadata edgec.preprocess")
    given: dict[str, Any] = {}
    if metadata.get("Image.BitmapPixelFormat") in _FORMATS:
        given["channels"] = _FORMATS[metadata["Image.BitmapPixelFormat"]]
    if metadata.get("Image.NominalPixelRange") in _RANGES:
        given["scale"], given["mean"], given["std"] = _RANGES[metadata["Image.NominalPixelRange"]]
    if not given:
        raise UserError("nothing says how pictures become the model's input", str(folder), _FIX)
    return _complete(given, model, f"{model.name}: metadata")


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"this is not TOML: {error}", where, _FIX) from error
    return values


def _complete(given: Mapping[str, Any], model: Model, where: str) -> Preprocessing:
    known = {field.name for field in fields(Preprocessing)}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"unknown keys: {', '.join(unknown)}", where, f"there are {', '.join(sorted(known))}")
    for key, choices in _CHOICES.items():
        if given.get(key, choices[0]) not in choices:
            raise UserError(f"{key} is {given[key]!r}", where, f"write one of {', '.join(choices)}")
    inputs = inputs_of(model)
    name = given.get("input") or next((n for n, (_, shape) in inputs.items() if len(shape) == 4), "")
    if len(inputs) > 1 or len(inputs.get(name, (None, ()))[1]) != 4:
        what = "a folder of pictures is for models with one input, of 4 dimensions"
        raise UserError(what, where, "give the samples as an .npz file")
    shape = inputs[name][1]
    channels = _CHANNELS[given.get("channels", "gray" if 1 in (shape[1], shape[3]) else "rgb")]
    layout = given.get("layout", "nchw" if shape[1] == channels else "nhwc")
    size = shape[2:] if layout == "nchw" else shape[1:3]
    if shape[1 if layout == "nchw" else 3] != channels or tuple(given.get("size", size)) != size:
        what = f"{layout} pictures of {channels} channels and size {list(given.get('size', size))} do not fit"
        raise UserError(what, f"{where}: input {name!r} of shape {list(shape)}", _FIX)
    values: dict[str, Any] = {**given, "input": name, "size": size, "layout": layout}
    values.setdefault("channels", "gray" if channels == 1 else "rgb")
    for key in ("mean", "std"):
        values[key] = _numbers(given, key, channels, where) or getattr(Preprocessing, key)
    for key in ("scale", "shorter", "fill"):
        if not isinstance(given.get(key, 0), int | float) or isinstance(given.get(key), bool):
            raise UserError(f"{key} is {given[key]!r}", where, "write a number")
    if 0.0 in values["std"] or not 0 <= values.get("fill", 0) <= 255:
        raise UserError("std must not be 0, and fill is 0 to 255", where, _FIX)
    return Preprocessing(**values)


def _numbers(given: Mapping[str, Any], key: str, channels: int, where: str) -> tuple[float, ...]:
    value = given.get(key, [])
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) not in (0, 1, channels) or not all(isinstance(n, int | float) for n in numbers):
        raise UserError(f"{key} is {value!r}", where, f"write a number, or {channels} of them")
    return tuple(float(number) for number in numbers)
