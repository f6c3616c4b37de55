"""Operators of ai.onnx.ml that look values up in a table; strings are codes by now, see `frontend/strings.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .body import INT32, INT64, Body, Call, Refused

_TYPES = {"int64s": np.int64, "floats": np.float32}
# A table with a place for every whole number between the keys is used up to this size, and this many times the keys.
_LEAST_TABLE, _MOST_FACTOR = 4096, 8
# More whole keys than this are not all compared but found by their remainders.
_MOST_COMPARED = 64


def _label_encoder(call: Call) -> None:
    """X of any shape to the values of the same shape; keys that are not there give the default."""
    keys, values = _column(call, "keys"), _column(call, "values")
    if len(keys) != len(values):
        raise Refused(f"it has {len(keys)} keys and {len(values)} values")
    default = _default(call, values.dtype)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(call.elem("X"))
    if keys.dtype != dtype:
        raise Refused(f"its keys are {keys.dtype}, its input {dtype}")
    if call.version < 4 and keys.dtype.kind == "f":  # where NaN equals nothing
        keys, values = keys[~np.isnan(keys)], values[~np.isnan(keys)]
    table = np.append(values, default)
    call.let("Y", "Gather", *look_up(call, "X", keys, table))


def look_up(call: Call, x: str, keys: np.ndarray[Any, Any], table: np.ndarray[Any, Any]) -> tuple[str, str]:
    """A table, and for each x its place there: that of the first key that x equals, or the last place, of none.

    Args:
        keys: [K] of x's type; NaN equals NaN.
        table: [K + 1], the last for x that are no key.
    """
    span = int(keys.max()) - int(keys.min()) + 1 if keys.size and keys.dtype.kind in "iu" else 0
    if 0 < span <= max(_LEAST_TABLE, _MOST_FACTOR * len(keys)):
        first = int(keys.min())
        wide = np.full(span + 1, table[-1], table.dtype)
        wide[keys[::-1].astype(np.int64) - first] = table[-2::-1]
        place = call.op("Sub", x if call.elem(x) == INT64 else call.cast(x, INT64), call.number(first, INT64))
        below = call.op("Less", place, call.number(0, INT64))
        outside = call.op("Or", below, call.op("Greater", place, call.number(span, INT64)))
        return call.tensor(wide), call.op("Where", outside, call.number(span, INT64), place)
    if not keys.size:
        return call.tensor(table), call.op("Expand", call.number(0, INT64), call.ints(*call.shape(x)))
    each = call.op("Unsqueeze", x, call.ints(-1))
    if span and len(keys) > _MOST_COMPARED:
        return call.tensor(table), _place_by_remainder(call, x, each, keys)
    same = call.op("Equal", each, call.tensor(keys))
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        same = call.op("Or", same, call.op("And", call.op("IsNaN", each), call.tensor(np.isnan(keys))))
    none = call.cast(call.number(len(keys), INT64), INT32)
    places = call.op("Where", same, call.tensor(np.arange(len(keys), dtype=np.int32)), none)
    return call.tensor(table), call.reduce("ReduceMin", places, [-1], keep=0)


def _place_by_remainder(call: Call, x: str, each: str, keys: np.ndarray[Any, Any]) -> str:
    """The place of each x among the whole keys, or behind the last: x is compared with keys of its remainder alone."""
    kept, places = np.unique(keys, return_index=True)
    divisor = min(range(len(kept) | 1, 4 * len(kept), 2 * (len(kept) // 32) + 2), key=lambda d: d * _fullest(kept, d))
    rest = kept.astype(np.int64) % divisor
    order = np.argsort(rest, kind="stable")
    column = np.arange(len(kept)) - np.searchsorted(rest[order], rest[order])
    shape = (divisor, _fullest(kept, divisor))
    # Empty places hold a key too, whose place is behind the last.
    rivals, numbers = np.full(shape, kept[0]), np.full(shape, len(keys), np.int32)
    rivals[rest[order], column], numbers[rest[order], column] = kept[order], places[order]
    wide = x if call.elem(x) == INT64 else call.cast(x, INT64)
    row = call.op("Mod", wide, call.number(divisor, INT64))
    same = call.op("Equal", each, call.op("Gather", call.tensor(rivals), row))
    none = call.cast(call.number(len(keys), INT64), INT32)
    found = call.op("Where", same, call.op("Gather", call.tensor(numbers), row), none)
    return call.reduce("ReduceMin", found, [-1], keep=0)


def _fullest(keys: np.ndarray[Any, Any], divisor: int) -> int:
    """How many keys have the most frequent remainder."""
    return int(np.bincount(keys.astype(np.int64) % divisor).max())


def _column(call: Call, kind: str) -> np.ndarray[Any, Any]:
    """The keys or the values, of whichever type they are."""
    found = {name: call.attribute(f"{kind}_{name}", None) for name in (*_TYPES, "tensor")}
    given = {name: value for name, value in found.items() if value is not None}
    if len(given) != 1:
        raise Refused(f"it has {len(given)} lists of {kind}, not one")
    ((name, value),) = given.items()
    return onnx.numpy_helper.to_array(value).ravel() if name == "tensor" else np.asarray(value, _TYPES[name])


def _default(call: Call, dtype: np.dtype[Any]) -> Any:
    tensor = call.attribute("default_tensor", None)
    whole, real = call.attribute("default_int64", -1), call.attribute("default_float", -0.0)
    call.attribute("default_string", None)  # of another type than the values
    if tensor is not None and tensor.data_type:
        return onnx.numpy_helper.to_array(tensor).ravel()[0]  # onnx's inference demands one, of the values' type
    return dtype.type(whole if dtype.kind == "i" else real)


def _one_hot(call: Call) -> None:
    """X [...] to float32 [..., categories]; a value of no category is all zeros."""
    # Of unknown categories onnxruntime makes an error if `zeros` is 0; kernels raise none.
    call.attribute("zeros", 1)
    categories = np.asarray(call.attribute("cats_int64s", ()), np.int64)
    if not categories.size:
        raise Refused("it has no categories")
    places = {int(category): place for place, category in enumerate(categories)}
    hot = np.asarray([places[int(category)] == place for place, category in enumerate(categories)])
    x = "X" if call.elem("X") == INT64 else call.cast("X", INT64)
    same = call.op("Equal", call.op("Unsqueeze", x, call.ints(-1)), call.tensor(categories))
    if not hot.all():  # a category given twice counts where it is last
        same = call.op("And", same, call.tensor(hot))
    call.let("Y", "Cast <to = 1>", same)


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "CategoryMapper"): Body("X", "Y", _label_encoder),  # a LabelEncoder by now
    (_ML, "LabelEncoder"): Body("X", "Y", _label_encoder),
    (_ML, "OneHotEncoder"): Body("X", "Y", _one_hot),
}
