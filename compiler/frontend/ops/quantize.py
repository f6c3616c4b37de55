"""QuantizeLinear and DequantizeLinear, per tensor, per axis and in blocks, as plain arithmetic on floats, and
DynamicQuantizeLinear."""

from __future__ import annotations

import math
from typing import Any

# ONNX's numbers of types, for the attribute output_dtype.
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 10: "float16", 11: "float64"}


def quantize(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, scale, zero point or None → round(x / scale) + zero point, within the result's type; ties go to even."""
    from tvm import relax, tirx

    x, scale, zero = (*inputs, None)[:3]
    dtype = _output_type(attrs) or (str(zero.ty.dtype) if zero is not None else "uint8")
    scale, zero = (_spread(bb, value, x, attrs) for value in (scale, _some(zero)))
    work = _TYPES.get(attrs.get("precision", 0)) or str(scale.ty.dtype)
    work = "float32" if work in ("float16", "bfloat16") else work  # 16 bits do not hold the steps of all types
    x, scale = _cast(bb, x, work), _cast(bb, scale, work)
    y = bb.normalize(relax.op.round(x if _is_one(scale) else bb.normalize(relax.op.divide(x, scale))))
    if zero is not None:
        y = bb.normalize(relax.op.add(y, _cast(bb, zero, work)))
    low, high = (int(limit(dtype).value) for limit in (tirx.min_value, tirx.max_value))
    return _cast(bb, bb.normalize(relax.op.clip(y, low, high)), dtype)


def dynamic_quantize(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → uint8 for its own range, scale, zero point; all zeros get the scale 1 as in onnxruntime, not 0."""
    from tvm import relax

    from ...operators.dynamic_range import dynamic_range

    made = bb.emit(dynamic_range(inputs[0]))
    scale, zero = (bb.emit(relax.TupleGetItem(made, place)) for place in range(2))
    return relax.Tuple([bb.emit(quantize(bb, node, [inputs[0], scale, zero], {})), scale, zero])


def dequantize(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x of integers, scale, zero point or None → (x - zero point) * scale, of the scale's type."""
    from tvm import relax

    x, scale, zero = (*inputs, None)[:3]
    dtype = _output_type(attrs) or str(scale.ty.dtype)
    scale, zero = (_spread(bb, value, x, attrs) for value in (scale, _some(zero)))
    if zero is not None and str(x.ty.dtype) == "int32":  # float32 does not hold all of them
        x, zero = bb.normalize(relax.op.subtract(x, zero)), None
    y = _cast(bb, x, "float32")
    if zero is not None:
        y = bb.normalize(relax.op.subtract(y, _cast(bb, zero, "float32")))
    if not _is_one(scale):
        y = bb.normalize(relax.op.multiply(y, _cast(bb, scale, "float32")))
    return _cast(bb, y, dtype)


def _some(zero: Any) -> Any:
    """A zero point, one number where all are the same; None in the place of zeros, for a sum with 0 is a copy, which
    fusion takes for a new shape."""
    from tvm import ir, relax

    if not isinstance(zero, ir.GenericConst):
        return zero
    values = zero.value.numpy()
    if not values.any():
        return None
    return relax.const(values.flat[0]) if (values == values.flat[0]).all() else zero


def _is_one(scale: Any) -> bool:
    from tvm import ir

    return isinstance(scale, ir.GenericConst) and not scale.ty.shape and float(scale.value.numpy()) == 1.0


def _output_type(attrs: dict[str, Any]) -> str | None:
    number = attrs.get("output_dtype", 0)
    if number and number not in _TYPES:
        raise ValueError(f"results of ONNX's type number {number} are not supported")
    return _TYPES.get(number)


def _cast(bb: Any, x: Any, dtype: str) -> Any:
    from tvm import relax

    return x if str(x.ty.dtype) == dtype else bb.normalize(relax.op.astype(x, dtype))


def _spread(bb: Any, value: Any, x: Any, attrs: dict[str, Any]) -> Any:
    """A scale or zero point in a shape that broadcasts with x: a scalar, [1, …, n, …, 1], or one for each element."""
    from tvm import ir, relax

    if value is None:
        return None
    shape, whole = ([int(d) for d in v.ty.shape] for v in (value, x))
    axis, block = attrs.get("axis", 1), attrs.get("block_size", 0)
    if math.prod(shape) == 1:
        if not shape:
            return value
        if isinstance(value, ir.GenericConst):
            return relax.const(value.value.numpy().reshape(()), str(value.ty.dtype))
        return bb.normalize(relax.op.reshape(value, ()))
    axis += len(whole) if axis < 0 else 0
    if not block:
        return bb.normalize(relax.op.reshape(value, [-1 if i == axis else 1 for i in range(len(whole))]))
    value = bb.normalize(relax.op.repeat(value, block, axis))
    if shape[axis] * block > whole[axis]:
        value = bb.normalize(relax.op.strided_slice(value, [axis], [0], [whole[axis]], assume_inbound=True))
    return value
