"""Convolutions 3x3 of stride 1 by Winograd's minimal filtering: fewer multiplications, by transforms around them.

A tile of MxM outputs needs (M+2)^2 multiplications a channel pair in place of 9 M^2: 4 times fewer for M = 4,
2.25 times for M = 2. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016
(arXiv:1509.09308). With the matrices B, G and A from there, for a tile d of the input and a filter g:

    V = B^T d B,  U = G g G^T,  Y = A^T (sum over channels of U * V) A

Of 8-bit integers, V and 4 U for M = 2 are whole numbers of 16 bits, and 4 Y is one of 32: the result is exact. That is
for CPUs that multiply pairs of 16-bit integers anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from ..kernels import winograd as kernel
from ..kernels.limits import Limits
from ..kernels.packed import block_width
from .constants import constant
from .numbers import FLOATS, PAIRS, Numbers, computes_in, fill_up
from .pack_weights import pack
from .rewrite import fuse_elementwise, is_channels_last, operator_of, rewrite_calls

Matrix = np.ndarray[Any, Any]

# The transformed weights are (M+2)^2 / 9 as large, which costs memory and its bandwidth: at most so many bytes.
_MOST_BYTES = {4: 5 << 19, 2: 9 << 19}
# Multiply-adds that the transforms of one channel of one tile take the time of, input and output together.
_TRANSFORM = {4: 550, 2: 190}
# Rows of a product below which it is slower by the ratio.
_FEW_ROWS = 6
_GAIN = 1.2  # how many times faster it has to be by this reckoning
# Of integers: transforms as above; the most channels whose sums are sure to fit into 32 bits on the way.
_INTEGER_TRANSFORM, _INTEGER_INPUTS = 130, 512

_BT = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float64),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        np.float64,
    ),
}
_G = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        np.float64,
    ),
}
_AT = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float64),
    4: np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64),
}


def use_winograd(module: tvm.IRModule, limits: Limits, stored: str | None = None) -> tvm.IRModule:
    """Rewrites conv2d 3x3 (NHWC, constant weights, one group, no padding) in `main` where it pays.

    Of float32, or of 8-bit integers with sums in int32.

    Args:
        stored: the type that float32 will have in memory, if it is another; the plain way may be fast in it.
    """

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        if operator_of(call) != "relax.nn.conv2d" or str(call.ty.dtype) not in ("float32", "int32"):
            return call
        dtype = str(call.ty.dtype)
        attrs, weight = call.attrs, call.args[1]
        plain = is_channels_last(call)
        ones = [*attrs.strides, *attrs.dilation, attrs.groups]
        if not plain or any(int(p) for p in attrs.padding) or any(int(one) != 1 for one in ones):
            return call
        if not isinstance(weight, ir.GenericConst) or [int(d) for d in weight.ty.shape][:2] != [3, 3]:
            return call
        shape, inputs = [int(d) for d in call.ty.shape], int(weight.ty.shape[2])
        if dtype == "int32":
            narrow = str(weight.ty.dtype) == "int8" and str(call.args[0].ty.dtype) in ("uint8", "int8")
            if not narrow or not takes_integers(shape, inputs, limits):
                return call
            return _of_integers(builder, call.args[0], weight.value.numpy(), shape, limits)
        m = choose_tile(shape, inputs, 2 if computes_in(stored, limits) else 1)
        return _convolution(builder, call.args[0], weight.value.numpy(), shape, m, limits) if m else call

    return fuse_elementwise(rewrite_calls(module, visit), "winograd_")


def choose_tile(shape: Sequence[int], inputs: int, speed: int = 1) -> int:
    """M for a convolution from `inputs` channels to `shape` [N, H, W, O]; 0 where the plain way is better.

    Args:
        speed: how many times faster than float32 the plain way multiplies.
    """
    n, height, width, outputs = shape
    best, least = 0, 9.0 * n * height * width * inputs * outputs / (_GAIN * speed)
    for m, most in _MOST_BYTES.items():
        tiles = n * -(-height // m) * -(-width // m)
        positions = (m + 2) ** 2
        if not tiles or positions * inputs * outputs * 4 > most:
            continue
        products = positions * inputs * outputs * max(1.0, _FEW_ROWS / tiles)
        cost = tiles * (products + _TRANSFORM[m] * (inputs + outputs) / 2)
        if cost < least:
            best, least = m, cost
    return best


def takes_integers(shape: Sequence[int], inputs: int, limits: Limits) -> bool:
    """Whether a convolution of 8-bit integers from `inputs` channels to `shape` [N, H, W, O] is done this way."""
    if not limits.multiplies_pairs:
        return False
    n, height, width, outputs = shape
    tiles, positions = n * -(-height // 2) * -(-width // 2), 16
    if not tiles or 2 * positions * inputs * outputs > _MOST_BYTES[4] or not 2 <= inputs <= _INTEGER_INPUTS:
        return False
    products = positions * inputs * outputs * max(1.0, _FEW_ROWS / tiles)
    plain = 9.0 * n * height * width * inputs * outputs
    return tiles * (products + _INTEGER_TRANSFORM * (inputs + outputs) / 2) * _GAIN < plain


def _of_integers(builder: relax.BlockBuilder, data: Any, weight: Matrix, shape: list[int], limits: Limits) -> Any:
    data, weight = fill_up(builder, _padded(builder, data, -shape[1] % 2, -shape[2] % 2), weight, 2)
    whole = (4 * transform_weight(weight, 2)).astype(np.int16)
    steps = PAIRS.join(pack(whole, block_width(shape[3], limits)))
    return builder.call_te(
        lambda x, w: convolution(x, w, shape, 2, PAIRS), data, constant(steps), primfunc_name_hint="winograd_conv2d"
    )


def _convolution(
    builder: relax.BlockBuilder, data: Any, weight: Matrix, shape: list[int], m: int, limits: Limits
) -> Any:
    _n, height, width, outputs = shape
    data = _padded(builder, data, -height % m, -width % m)
    packed = pack(transform_weight(weight, m), block_width(outputs, limits))
    return builder.call_te(
        lambda x, w: convolution(x, w, shape, m), data, constant(packed), primfunc_name_hint="winograd_conv2d"
    )


def _padded(builder: relax.BlockBuilder, data: Any, rows: int, columns: int) -> Any:
    """`data`, NHWC, with zeros after its last row and column."""
    return builder.emit(relax.op.nn.pad(data, [0, 0, 0, rows, 0, columns, 0, 0])) if rows or columns else data


def transform_weight(weight: Matrix, m: int) -> Matrix:
    """[3, 3, I, O] → [(m+2)^2, I, O]."""
    g = _G[m]
    made = np.einsum("ai,bj,ijco->abco", g, g, weight.astype(np.float64))
    return np.ascontiguousarray(made.reshape(-1, *weight.shape[2:]).astype(np.float32))


def convolution(x: Any, w: Any, shape: Sequence[int], m: int, numbers: Numbers = FLOATS) -> Any:
    """The result [N, H, W, O] of `shape` as a TE tensor; `x` and `w` are padded and transformed for it.

    Args:
        x: [N, TH m + 2, TW m + 2, I], with as many tiles of M x M as cover the result.
        w: [O / NR, (m+2)^2, I / group, NR].
        numbers: of V and U; of integers M is 2, and U four times as large.
    """
    n, height, width, outputs = shape
    a, th, tw, inputs = m + 2, -(-height // m), -(-width // m), x.shape[3]
    blocks, _positions, _inputs, lanes = w.shape
    half = te.compute(
        (n, th, tw, a, a, inputs),
        lambda n, ty, tx, i, v, c: _select(_BT[m], v, lambda j: x(n, ty * m + i, tx * m + j, c).astype(numbers.dtype)),
        name=kernel.HALF_INPUT,
    )
    tiles = te.compute(
        (a, a, n, th, tw, inputs),
        lambda u, v, n, ty, tx, c: _select(_BT[m], u, lambda i: half(n, ty, tx, i, v, c)),
        name=kernel.INPUT,
    )
    r = te.reduce_axis((0, inputs // numbers.group), "r")

    def product(u: Any, v: Any, n: Any, ty: Any, tx: Any, b: Any, lane: Any) -> Any:
        return numbers.multiply(lambda k: tiles(u, v, n, ty, tx, k), r, w(b, u * a + v, r, lane))

    sums = te.compute(
        (a, a, n, th, tw, blocks, lanes),
        lambda *i: te.sum(product(*i), axis=r),
        name=kernel.SUMS,
    )
    products = te.compute(
        (a, a, n, th, tw, outputs), lambda *i: sums(*i[:-1], i[-1] // lanes, i[-1] % lanes), name=kernel.PRODUCTS
    )
    half = te.compute(
        (n, th, tw, m, a, outputs),
        lambda n, ty, tx, y, v, c: _select(_AT[m], y, lambda u: products(u, v, n, ty, tx, c)),
        name=kernel.HALF_OUTPUT,
    )

    def output(n: Any, h: Any, w: Any, c: Any) -> Any:
        value = _select(_AT[m], w % m, lambda v: half(n, h // m, w // m, h % m, v, c))
        return value if numbers is FLOATS else tirx.shift_right(value, tirx.const(2, "int32"))

    return te.compute((n, height, width, outputs), output, name="winograd_output")


def _select(matrix: Matrix, row: Any, value: Callable[[int], Any]) -> Any:
    """The product of one row of a matrix with values, the row being known when the loop over it is written out."""
    result = _sum(matrix[-1], value)
    for index in range(len(matrix) - 2, -1, -1):
        result = tirx.Select(tirx.EQ(row, index), _sum(matrix[index], value), result)
    return result


def _sum(coefficients: Sequence[float], value: Callable[[int], Any]) -> Any:
    total = None
    for index, coefficient in enumerate(coefficients):
        if coefficient == 0:
            continue
        term = value(index)
        if total is None:
            total = term if coefficient == 1 else term * tirx.const(coefficient, str(term.ty.dtype))
        elif abs(coefficient) == 1:
            total = total + term if coefficient > 0 else total - term
        else:
            total = total + term * tirx.const(coefficient, str(term.ty.dtype))
    return total
