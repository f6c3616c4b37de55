"""Reads an ONNX file that nobody vouches for."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from ..errors import UserError

# protobuf refuses larger messages; larger models keep their weights in external data.
MAX_FILE_BYTES = (1 << 31) - 1

_EXPORT = "export the model as ONNX again (PyTorch: torch.onnx.export, Keras: tf2onnx)"
_SKLEARN = (
    "edgec needs ONNX; from scikit-learn make it with skl2onnx:"
    " skl2onnx.to_onnx(model, X[:1].astype('float32')).SerializeToString()"
)
# What people give instead of an ONNX file, by its first bytes.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"ZF", b"x\x9c", b"x\x01", b"x\xda")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
_KINDS = (
    (_PICKLES, "a pickle or joblib file", _SKLEARN),
    ((b"PK\x03\x04",), "a zip archive, as torch.save, Keras and NumPy write them", _EXPORT),
    ((b"\x89HDF",), "an HDF5 file, as Keras writes them", "convert it with tf2onnx"),
    (_COMPRESSED, "a compressed file", "unpack it; if joblib wrote it: " + _SKLEARN),
    (
        (b"version https://git-lfs",),
        "a Git LFS pointer, not the model itself",
        "fetch the model with: git lfs pull",
    ),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<?xml"), "a web page or XML file", "download the model itself"),
)


def read_file(path: Path) -> bytes:
    """The file's content.

    Raises:
        UserError: the file is missing, unreadable, empty or larger than protobuf allows.
    """
    where = str(path)
    try:
        if "\0" in where or not path.is_file():
            what = "is not a file" if "\0" not in where and path.exists() else "does not exist"
            raise UserError(f"the model {what}", where, "give the path of an .onnx file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"the model file has {size} bytes, more than protobuf can read ({MAX_FILE_BYTES})",
                where,
                "save the weights as external data (onnx.save(..., save_as_external_data=True))",
            )
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the model: {error.strerror}", where, "give the path of an .onnx file") from error
    if not data:
        raise UserError("the model file is empty", where, _EXPORT)
    return data


def parse_model(data: bytes, where: str) -> onnx.ModelProto:
    """The message in `data`, its external data not loaded yet.

    Raises:
        UserError: it is not ONNX, truncated, or nested deeper than protobuf allows.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        readable = _is_text(model)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise _not_onnx(data, where, "it cannot be parsed: truncated, damaged, or no ONNX at all") from error
    if not readable:
        raise UserError("the model has names that are not UTF-8", where, "the file is damaged: export it again")
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise _not_onnx(data, where, "it holds no graph")
    return model


def _is_text(message: Message) -> bool:
    """Whether every string of the message is UTF-8; protobuf hands out bytes, or raises, where one is not."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == field.TYPE_MESSAGE and not all(map(_is_text, values)):
            return False
        if field.type == field.TYPE_STRING and not all(isinstance(v, str) for v in values):
            return False
    return True


def _not_onnx(data: bytes, where: str, reason: str) -> UserError:
    for starts, what, fix in _KINDS:
        if data.startswith(starts):
            return UserError(f"this is not an ONNX file but {what}", where, fix)
    if data[4:8] == b"TFL3":
        return UserError(
            "this is not an ONNX file but a TensorFlow Lite model", where, "convert it with tf2onnx --tflite"
        )
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in data[:512]):
        return UserError("this is not an ONNX file but text", where, _EXPORT)
    return UserError(f"this is not an ONNX file: {reason}", where, _EXPORT)


def copy_model(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy that went through bytes, so that it has no more nesting or size than a file could have.

    Raises:
        UserError: protobuf cannot write or read it.
    """
    try:
        data = model.SerializeToString()
    except Exception as error:  # EncodeError and ValueError, by protobuf's implementation
        raise UserError(
            "the model is too large or too deeply nested for protobuf", where, "use external data"
        ) from error
    return parse_model(data or b"\0", where)
