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
    "make ONNX of the model with skl2onnx, in Python; X holds rows of its data, and the file must be one you trust:\n"
    "    import joblib, skl2onnx\n"
    "    model = joblib.load({path!r})\n"
    "    open('model.onnx', 'wb').write(skl2onnx.to_onnx(model, X[:1].astype('float32')).SerializeToString())"
)
_ONNXMLTOOLS = """\
make ONNX of the model with onnxmltools, in Python:
    import {library}, onnxmltools
    model = {load}
    data = onnxmltools.convert.common.data_types.FloatTensorType([None, model.{features}])
    onnxmltools.save_model(onnxmltools.convert_{library}(model, initial_types=[('X', data)]), 'model.onnx')"""
_XGBOOST = _ONNXMLTOOLS.format(
    library="xgboost", load="xgboost.Booster(model_file={path!r})", features="num_features()"
)
_LIGHTGBM = _ONNXMLTOOLS.format(
    library="lightgbm", load="lightgbm.Booster(model_file={path!r})", features="num_feature()"
)
# What people give instead of an ONNX file, by its first bytes.
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_PACKED_PICKLES = (b"ZF", b"x\x01", b"x^", b"x\x9c", b"x\xda")  # zlib, as joblib compresses
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
_PICKLE = ("a pickle or joblib file, which may run any code when it is read", _SKLEARN)
_XGBOOST_MODEL = ("a model of XGBoost", _XGBOOST)
_KINDS = (
    ((*_PICKLES, *_PACKED_PICKLES), *_PICKLE),
    ((b'{"learner":', b"{L\0\0\0\0\0\0\0\x07learner"), *_XGBOOST_MODEL),
    ((b"tree\nversion=",), "a model of LightGBM", _LIGHTGBM),
    ((b"PK\x03\x04",), "a zip archive, as torch.save, Keras and NumPy write them", _EXPORT),
    ((b"\x89HDF",), "an HDF5 file, as Keras writes them", "convert it with tf2onnx"),
    (_COMPRESSED, "a compressed file", "unpack it; if joblib wrote it, " + _SKLEARN),
    (
        (b"version https://git-lfs",),
        "a Git LFS pointer, not the model itself",
        "fetch the model with: git lfs pull",
    ),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<?xml"), "a web page or XML file", "download the model itself"),
)
_ENDINGS = {**dict.fromkeys((".joblib", ".pkl", ".pickle"), _PICKLE), **dict.fromkeys((".bst", ".ubj"), _XGBOOST_MODEL)}


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
    kinds = [(what, fix) for starts, what, fix in _KINDS if data.startswith(starts)]
    found = kinds[0] if kinds else _ENDINGS.get(Path(where).suffix.lower())
    if found:
        what, fix = found
        return UserError(f"this is not an ONNX file but {what}", where, fix.replace("{path!r}", repr(where)))
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
