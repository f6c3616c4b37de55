"""Reads an ONNX file that nobody vouches for: sizes are checked before memory is taken, and
external data stays inside the model's folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import UserError

# protobuf refuses larger messages; larger models keep their weights in external data.
MAX_FILE_BYTES = (1 << 31) - 1
# Kernels index with 32 bits, and one weight of this size is beyond every board that we name.
MAX_TENSOR_ELEMENTS = (1 << 31) - 1
MAX_WEIGHT_BYTES = 1 << 31

_NOT_ONNX = "export the model again; a file saved by pickle, joblib or torch.save is not ONNX"


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Reads `path` and its external data into one self-contained ModelProto.

    Raises:
        UserError: the file is missing, unreadable, too large, not ONNX, truncated, or its external
            data is missing, too short, or outside the model's folder.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"the model {what}", str(path), "give the path of an .onnx file")
        size = path.stat().st_size
        if size == 0:
            raise UserError("the model file is empty", str(path), _NOT_ONNX)
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"the model file has {size} bytes, more than protobuf can read ({MAX_FILE_BYTES})",
                str(path),
                "save the weights as external data (onnx.save(..., save_as_external_data=True))",
            )
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the model: {error.strerror}", str(path)) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise UserError("this is not an ONNX file, or it is truncated", str(path), _NOT_ONNX) from error
    if not model.HasField("graph") or (not model.graph.node and not model.graph.output):
        raise UserError("the file parses, but holds no ONNX graph", str(path), _NOT_ONNX)
    load_tensors(model, path.resolve().parent, str(path))
    return model


def load_tensors(model: onnx.ModelProto, folder: Path | None, where: str) -> None:
    """Brings external data into the model and checks that each tensor's data has the size of its shape.

    Args:
        folder: the only folder that external data may come from; None refuses external data.
    """
    total = 0
    for tensor in iter_tensors(model):
        label = f"{where}: tensor {tensor.name!r}"
        if any(d < 0 for d in tensor.dims):
            raise UserError(f"negative dimension in shape {list(tensor.dims)}", label, "export the model again")
        elements = math.prod(tensor.dims)
        if elements > MAX_TENSOR_ELEMENTS:
            raise UserError(f"the tensor has {elements} elements, more than 2^31 - 1", label)
        bits = element_bits(tensor.data_type)
        if bits is None:
            continue  # strings and unknown types are refused where they are used
        expected = (elements * bits + 7) // 8
        total += expected
        if total > MAX_WEIGHT_BYTES:
            raise UserError(
                f"the weights take more than {MAX_WEIGHT_BYTES >> 30} GiB", label, "edgec is for models that fit a board"
            )
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load_external(tensor, expected, folder, label)
        elif tensor.HasField("raw_data"):
            if len(tensor.raw_data) != expected:
                raise UserError(
                    f"the tensor's data has {len(tensor.raw_data)} bytes, its shape {list(tensor.dims)} needs {expected}",
                    label,
                    "the file is damaged: export it again",
                )


def element_bits(data_type: int) -> int | None:
    """Bits of one element of an ONNX tensor type as stored in raw data; None for strings and unknown types."""
    if data_type in (onnx.TensorProto.UINT4, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT4E2M1):
        return 4
    if data_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return None
    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8
    except (KeyError, TypeError, ValueError):
        return None


def iter_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model: initializers and tensor attributes, in subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _load_external(tensor: onnx.TensorProto, expected: int, folder: Path | None, label: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise UserError("the model has external data, but no folder to find it in", label, "give the model as a file")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(expected)))
    except ValueError as error:
        raise UserError("external data with an offset or length that is no number", label) from error
    file = (folder / location).resolve()  # follows links, so a link cannot lead outside either
    if not location or os.path.isabs(location) or not file.is_relative_to(folder):
        raise UserError(
            f"external data {location!r} lies outside the model's folder",
            label,
            "put the data file beside the model; paths that leave the folder are refused",
        )
    if not file.is_file():
        raise UserError(f"external data file {location!r} is missing", label, f"copy it to {folder}")
    if offset < 0 or length != expected or offset + length > file.stat().st_size:
        raise UserError(
            f"external data {location!r} [{offset}, +{length}] does not hold the {expected} bytes of shape {list(tensor.dims)}",
            label,
            "the data file is truncated or belongs to another model",
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
