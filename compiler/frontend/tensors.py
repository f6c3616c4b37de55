"""The data of a model's tensors: every size is checked before memory is taken, and external data stays
inside the model's folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from ..errors import UserError

# Kernels index with 32 bits, and one weight of this size is beyond every board that we name.
MAX_TENSOR_ELEMENTS = (1 << 31) - 1
# All weights must fit one protobuf message of 2 GiB, with room for the graph.
MAX_WEIGHT_BYTES = (1 << 31) - (1 << 26)

MAX_RANK = 32  # NumPy's limit, in its older versions

_DAMAGED = "the file is damaged: export it again"
_BITS = {"UINT2": 2, "INT2": 2, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4}
_FIELDS: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float_data", 1),
    TensorProto.COMPLEX64: ("float_data", 2),
    TensorProto.DOUBLE: ("double_data", 1),
    TensorProto.COMPLEX128: ("double_data", 2),
    TensorProto.INT64: ("int64_data", 1),
    TensorProto.UINT32: ("uint64_data", 1),
    TensorProto.UINT64: ("uint64_data", 1),
    TensorProto.STRING: ("string_data", 1),
}


def load_tensors(model: onnx.ModelProto, folder: Path | None, where: str) -> None:
    """Brings external data into the model and checks that each tensor's data has the size of its shape.

    Args:
        folder: the only folder that external data may come from; None refuses external data.
    """
    total = 0
    for tensor in iter_tensors(model):
        label = f"{where}: tensor {tensor.name!r}"
        if len(tensor.dims) > MAX_RANK:
            raise UserError(f"the tensor has {len(tensor.dims)} dimensions, at most {MAX_RANK} work", label, _DAMAGED)
        if any(d < 0 for d in tensor.dims):
            raise UserError(f"negative dimension in shape {list(tensor.dims)}", label, "export the model again")
        elements = math.prod(tensor.dims)
        if elements > MAX_TENSOR_ELEMENTS:
            raise UserError(
                f"the tensor has {elements} elements, more than 2^31 - 1",
                label,
                "edgec is for models that fit a board",
            )
        bits = element_bits(tensor.data_type)
        if bits is None and tensor.data_type != TensorProto.STRING:
            raise UserError(f"the tensor has the unknown element type {tensor.data_type}", label, _DAMAGED)
        expected = (elements * (bits or 0) + 7) // 8
        total += expected
        if total > MAX_WEIGHT_BYTES:
            raise UserError("the weights take more than 1.9 GiB", label, "edgec is for models that fit a board")
        if tensor.data_location == TensorProto.EXTERNAL:
            _load_external(tensor, expected, folder, label)
        else:
            _check_data(tensor, elements, expected, label)


def _check_data(tensor: onnx.TensorProto, elements: int, expected: int, label: str) -> None:
    field, factor = _FIELDS.get(tensor.data_type, ("int32_data", 1))
    if tensor.HasField("raw_data"):
        held, needed, unit = len(tensor.raw_data), expected, "bytes"
    else:
        held, needed, unit = len(getattr(tensor, field)), elements * factor, "values"
        if (element_bits(tensor.data_type) or 8) < 8:
            needed = expected  # packed, one byte of them in each value
    if held != needed:
        raise UserError(
            f"the tensor's data has {held} {unit}, its shape {list(tensor.dims)} needs {needed}",
            label,
            _DAMAGED,
        )


def element_bits(data_type: int) -> int | None:
    """Bits of an element of an ONNX tensor type as stored in raw data; None for strings and unknown types."""
    if data_type not in TensorProto.DataType.values() or data_type in (
        TensorProto.UNDEFINED,
        TensorProto.STRING,
    ):
        return None
    name = TensorProto.DataType.Name(data_type)
    return _BITS.get(name) or int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def iter_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model: initializers and tensor attributes, in subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _attribute_tensors(function.attribute_proto)
        for node in function.node:
            yield from _attribute_tensors(node.attribute)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _attribute_tensors(node.attribute)


def _attribute_tensors(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in [attribute.sparse_tensor] * attribute.HasField("sparse_tensor") + list(attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
            yield from _graph_tensors(graph)


def _load_external(tensor: onnx.TensorProto, expected: int, folder: Path | None, label: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise UserError("the model has external data, but no folder to find it in", label, "give the model as a file")
    if tensor.data_type == TensorProto.STRING:
        raise UserError("strings cannot be external data", label, _DAMAGED)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(expected)))
    except ValueError as error:
        raise UserError("external data with an offset or length that is no number", label, _DAMAGED) from error
    try:
        file = _inside(folder, location)
        if file is None:
            raise UserError(
                f"external data {location!r} lies outside the model's folder",
                label,
                "put the data file beside the model; paths that leave the folder are refused",
            )
        if not file.is_file():
            what = "is not a file" if file.exists() else "is missing"
            raise UserError(f"external data {location!r} {what}", label, f"copy the data file to {folder}")
        if offset < 0 or length != expected or offset + length > file.stat().st_size:
            raise UserError(
                f"external data {location!r} does not hold the {expected} bytes of shape {list(tensor.dims)}"
                f" (offset {offset}, length {length}, file {file.stat().st_size} bytes)",
                label,
                "the data file is truncated or belongs to another model: copy it again",
            )
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise UserError(f"cannot read external data {location!r}: {reason}", label, "check the data file") from error
    if len(data) != length:
        raise UserError(f"external data {location!r} became shorter while it was read", label, "copy it again")
    tensor.raw_data = data
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _inside(folder: Path, location: str) -> Path | None:
    """The file that `location` names, links followed, or None if it is not inside `folder`."""
    if not location or "\0" in location or os.path.isabs(location):
        return None
    file = (folder / location).resolve()
    return file if file != folder and file.is_relative_to(folder) else None
