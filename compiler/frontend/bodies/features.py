"""Operators of ai.onnx.ml that scale, fill and choose columns, as onnxruntime computes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from .body import FLOAT, FLOAT16, Body, Call, Refused

_DOUBLE = 11
_FLOATS = (FLOAT, FLOAT16, _DOUBLE)


def _scaler(call: Call) -> None:
    """(x - offset) * scale, in float64 if x is; float32 results."""
    shape, elem = call.shape("X"), call.elem("X")
    offset, scale = (np.asarray(call.attribute(name, ()), np.float32) for name in ("offset", "scale"))
    for name, array in (("offset", offset), ("scale", scale)):
        if array.size != 1 and (len(shape) > 2 or (array.size,) != shape[-1:]):
            raise Refused(f"its {name} has {array.size} values for an input of the shape {list(shape)}")
    if elem not in (FLOAT, _DOUBLE):
        elem, x = FLOAT, call.cast("X", FLOAT)
    else:
        x = "X"
    dtype = np.float64 if elem == _DOUBLE else np.float32
    shifted = call.op("Sub", x, call.tensor(offset.astype(dtype)))
    y = call.op("Mul", shifted, call.tensor(scale.astype(dtype)))
    call.let("Y", f"Cast <to = {FLOAT}>", y)


def _normalizer(call: Call) -> None:
    """Rows over their maximum, sum or length; rows where that is 0 stay."""
    shape, norm = call.shape("X"), call.attribute("norm", "MAX")
    if not 1 <= len(shape) <= 2:
        raise Refused(f"its input has {len(shape)} dimensions, not 1 or 2")
    last = len(shape) - 1
    x = call.cast("X", FLOAT) if call.elem("X") != FLOAT else "X"
    if norm == "MAX":
        size = call.reduce("ReduceMax", x, [last])
    elif norm == "L1":
        size = call.op("ReduceSum <keepdims = 1>", call.op("Abs", x), call.ints(last))
    elif norm == "L2":
        size = call.op("Sqrt", call.op("ReduceSum <keepdims = 1>", call.op("Mul", x, x), call.ints(last)))
    else:
        raise Refused(f"its norm {norm!r} is none of the standard's")
    none = call.op("Equal", size, call.number(0))
    call.let("Y", "Div", x, call.op("Where", none, call.number(1), size))


def _imputer(call: Call) -> None:
    """Values that are the replaced one, which may be NaN, become those of their column, or the only one."""
    shape, elem = call.shape("X"), call.elem("X")
    floats, ints = call.attribute("imputed_value_floats", ()), call.attribute("imputed_value_int64s", ())
    replaced = call.attribute("replaced_value_float", 0.0), call.attribute("replaced_value_int64", 0)
    whole = elem not in _FLOATS
    values, missing = (ints, replaced[1]) if whole else (floats, replaced[0])
    if not values:
        raise Refused(f"it has no imputed_value_{'int64s' if whole else 'floats'} for its input's type")
    dtype = _numpy(elem)
    table = np.asarray(values).astype(dtype)
    if whole and (table.tolist() != list(values) or np.asarray(missing).astype(dtype) != missing):
        raise Refused(f"its values are beyond {dtype}, its input's type")
    if len(shape) > 2 and table.size > 1:
        raise Refused(f"it has {table.size} values for an input of {len(shape)} dimensions")
    if table.size > 1 and (table.size,) != shape[-1:]:
        table = table[:1]  # as onnxruntime does
    if not whole and math.isnan(missing):
        found = call.op("IsNaN", "X")
    else:
        found = call.op("Equal", "X", call.tensor(np.asarray(missing).astype(dtype)))
    call.let("Y", "Where", found, call.tensor(table if table.size > 1 else table.reshape(())), "X")


def _binarizer(call: Call) -> None:
    """1 above the threshold, else 0; the type stays."""
    elem = call.elem("X")
    x, wide = ("X", elem) if elem in _FLOATS else (call.cast("X", _DOUBLE), _DOUBLE)
    threshold = np.asarray(np.float32(call.attribute("threshold", 0.0)), _numpy(wide))
    call.let("Y", f"Cast <to = {elem}>", call.op("Greater", x, call.tensor(threshold)))


def _array_feature_extractor(call: Call) -> None:
    """Columns of the last axis by number; one row of them for 1-D data."""
    rank = len(call.shape("X"))
    if not rank:
        raise Refused("its input is a scalar")
    chosen = call.op("Reshape", "Y", call.ints(-1))
    if rank == 1:
        call.let("Z", "Unsqueeze", call.op("Gather", "X", chosen), call.ints(0))
    else:
        call.let("Z", f"Gather <axis = {rank - 1}>", "X", chosen)


def _feature_vectorizer(call: Call) -> None:
    """Inputs side by side as float32 [N, sum of inputdimensions]; a longer one is cut, a shorter one gets zeros."""
    sizes = list(call.attribute("inputdimensions", ()))
    if len(sizes) != len(call.formals):
        raise Refused(f"it has {len(sizes)} inputdimensions for {len(call.formals)} inputs")
    parts = []
    for name, size in zip(call.formals, sizes, strict=True):
        shape = call.shape(name)
        rows, columns = (1, shape[0]) if len(shape) == 1 else (shape[0], math.prod(shape[1:]))
        part = call.op("Reshape", call.cast(name, FLOAT), call.ints(rows, columns))
        if columns > size:
            part = call.op("Slice", part, call.ints(0), call.ints(size), call.ints(1))
        elif columns < size:
            part = call.op("Pad", part, call.ints(0, 0, 0, size - columns))
        parts.append(part)
    call.let("Y", "Concat <axis = 1>", *parts)


def _numpy(elem: int) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem))


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "ArrayFeatureExtractor"): Body("X Y", "Z", _array_feature_extractor),
    (_ML, "Binarizer"): Body("X", "Y", _binarizer),
    (_ML, "FeatureVectorizer"): Body("X ...", "Y", _feature_vectorizer),
    (_ML, "Imputer"): Body("X", "Y", _imputer),
    (_ML, "Normalizer"): Body("X", "Y", _normalizer),
    (_ML, "Scaler"): Body("X", "Y", _scaler),
}
