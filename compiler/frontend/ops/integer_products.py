"""ConvInteger and MatMulInteger: products of 8-bit tensors with sums of 32 bits.

With constant weights the product itself takes no zero points: margins are filled with the data's, and what the zero
points add to the sums is a constant of each channel, sum (x - z) w = sum x w - z sum w, computed here (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018,
arXiv:1712.05877, section 2.3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .max_pool import Windows

_INT32 = "int32"
_FORMS = (("conv1d", "W"), ("conv2d", "HW"), ("conv3d", "DHW"))

Array = np.ndarray[Any, Any]


def conv_integer(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [N, C, *sizes], w [O, C / group, *kernel], zero points of x (one) and w (one or [O]) → int32 [N, O, ...]."""
    from tvm import relax

    x, w, x_zero, w_zero = (*inputs, None, None)[:4]
    sizes, kernel = ([int(size) for size in value.ty.shape][2:] for value in (x, w))
    axes = len(sizes)
    if axes > len(_FORMS):
        raise ValueError("it has more than three spatial axes")
    windows = Windows.of(sizes, attrs | {"kernel_shape": kernel})
    margins = [0, 0, 0, 0]
    for before, after in zip(windows.before, windows.after, strict=True):
        margins += [before, after]
    groups = int(attrs.get("group", 1))
    name, layout = _FORMS[axes - 1]

    def convolve(data: Any, weight: Any) -> Any:
        made = getattr(relax.op.nn, name)(
            data,
            weight,
            strides=windows.strides,
            dilation=windows.dilations,
            groups=groups,
            data_layout=f"NC{layout}",
            kernel_layout=f"OI{layout}",
            out_dtype=_INT32,
        )
        return bb.emit(made)

    channel = [1, -1] + [1] * axes
    weight, w_zeros = _value(w), _zeros(w_zero)
    if weight is None or w_zeros is None or (x_zero is not None and math.prod(map(int, x_zero.ty.shape)) != 1):
        data = _padded(bb, _shifted(bb, x, x_zero, channel), margins, None)
        return bb.normalize(convolve(data, _shifted(bb, w, w_zero, [-1, 1, *[1] * axes])))
    weight, rest = _narrowed(weight, w_zeros.reshape([-1] + [1] * (axes + 1)), groups == 1)
    data = _padded(bb, x, margins, x_zero)
    sums = weight.astype(np.int64).sum(axis=tuple(range(1, axes + 2)))
    made = convolve(data, relax.const(weight))
    if rest is not None:
        ones = np.ones((1, *weight.shape[1:]), np.int8)
        made = _minus(bb, made, convolve(data, relax.const(ones)), rest.reshape(channel))
        sums = sums - rest.reshape(-1) * math.prod(weight.shape[1:])
    return _minus(bb, made, x_zero, sums.reshape(channel))


def matmul_integer(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """a [..., M, K], b [..., K, N], zero points of a (one or [M]) and b (one or [N]) → int32 [..., M, N]."""
    from tvm import relax

    a, b, a_zero, b_zero = (*inputs, None, None)[:4]
    weight, b_zeros = _value(b), _zeros(b_zero)
    single = a_zero is None or math.prod(map(int, a_zero.ty.shape)) == 1
    if weight is None or weight.ndim != 2 or b_zeros is None or not single or len(a.ty.shape) < 2:
        a, b = (_shifted(bb, *pair) for pair in ((a, a_zero, _column(a_zero)), (b, b_zero, None)))
        return bb.normalize(relax.op.matmul(a, b, out_dtype=_INT32))
    weight, rest = _narrowed(weight, b_zeros.reshape(1, -1), True)
    sums = weight.astype(np.int64).sum(axis=0)
    made = bb.emit(relax.op.matmul(a, relax.const(weight), out_dtype=_INT32))
    if rest is not None:
        total = bb.emit(relax.op.sum(bb.emit(relax.op.astype(a, _INT32)), -1, keepdims=True))
        made = _minus(bb, made, total, rest.reshape(-1))
        sums = sums - rest.reshape(-1) * weight.shape[0]
    return _minus(bb, made, a_zero, sums)


def _value(expr: Any) -> Array | None:
    """The value of a constant."""
    from tvm import ir

    value: Array | None = expr.value.numpy() if isinstance(expr, ir.GenericConst) else None
    return value


def _zeros(zero: Any) -> Array | None:
    """Constant zero points, 0 if there are none; None if they are only known when the model runs."""
    if zero is None:
        return np.zeros(1, np.int64)
    value = _value(zero)
    return None if value is None else value.astype(np.int64)


def _narrowed(weight: Array, zeros: Array, splits: bool) -> tuple[Array, Array | None]:
    """Weights minus their zero points in 8 bits with signs, and the zero points that are still to be subtracted.

    Those are None if nothing is left of them, which takes 16 bits where the differences are wider and `splits` is
    false.
    """
    exact = weight.astype(np.int64) - zeros
    limits = np.iinfo(np.int8)
    if exact.size == 0 or (limits.min <= exact.min() and exact.max() <= limits.max):
        return exact.astype(np.int8), None
    if not splits:
        return exact.astype(np.int16), None
    shift = 128 if weight.dtype == np.uint8 else 0
    return (weight.astype(np.int64) - shift).astype(np.int8), zeros - shift


def _minus(bb: Any, made: Any, factor: Any, sums: Array) -> Any:
    """made - factor * sums; the factor may be None, for 0."""
    from tvm import relax

    if factor is None:
        return made
    value, sums = _value(factor), sums.astype(np.int32)
    if value is not None and value.size == 1:
        term = value.astype(np.int32).reshape(()) * sums
        return bb.normalize(relax.op.subtract(made, relax.const(term))) if term.any() else made
    if len(factor.ty.shape) and math.prod(map(int, factor.ty.shape)) == 1:
        factor = bb.emit(relax.op.reshape(factor, ()))
    if str(factor.ty.dtype) != _INT32:
        factor = bb.emit(relax.op.astype(factor, _INT32))
    return bb.normalize(relax.op.subtract(made, bb.emit(relax.op.multiply(factor, relax.const(sums)))))


def _shifted(bb: Any, x: Any, zero: Any, shape: list[int] | None) -> Any:
    """x minus its zero points, which take `shape` first if there are several, in 32 bits."""
    from tvm import relax

    wide = bb.emit(relax.op.astype(x, _INT32))
    if zero is None:
        return wide
    if math.prod(map(int, zero.ty.shape)) == 1:
        shape = []
    if shape is not None:
        zero = bb.emit(relax.op.reshape(zero, shape))
    return bb.emit(relax.op.subtract(wide, bb.emit(relax.op.astype(zero, _INT32))))


def _column(zero: Any) -> list[int] | None:
    return [-1, 1] if zero is not None and len(zero.ty.shape) == 1 else None


def _padded(bb: Any, x: Any, margins: list[int], zero: Any) -> Any:
    """x with margins of its zero point; without one, of zeros."""
    from tvm import relax

    if not any(margins):
        return x
    zeros = _zeros(zero)
    if zeros is not None:
        return bb.emit(relax.op.nn.pad(x, margins, "constant", float(zeros.reshape(-1)[0])))
    inside = np.ones([1, 1, *map(int, list(x.ty.shape)[2:])], np.bool_)
    inside = np.pad(inside, list(zip(margins[::2], margins[1::2], strict=True)))
    padded = bb.emit(relax.op.nn.pad(x, margins))
    fill = bb.emit(relax.op.reshape(zero, ())) if len(zero.ty.shape) else zero
    return bb.emit(relax.op.where(relax.const(inside), padded, fill))
