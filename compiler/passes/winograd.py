"""Convolutions 3x3 of stride 1 by Winograd's minimal filtering: fewer multiplications, by transforms around them.

A tile of MxM outputs needs (M+2)^2 multiplications a channel pair in place of 9 M^2: 4 times fewer for M = 4,
2.25 times for M = 2. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016
(arXiv:1509.09308). With the matrices B, G and A from there, for a tile d of the input and a filter g:

    V = B^T d B,  U = G g G^T,  Y = A^T (sum over channels of U * V) A

Of 8-bit integers, V is a whole number of 16 bits, and so is U with the rows of G multiplied by what they are fractions
of. The rows of A^T put that right, to a multiple of Y: the result is exact. As for M = 4 only that multiple modulo 2^32
is needed, to divide it by 9 is to multiply it by a whole number, and what is left is a power of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from ..kernels import winograd as kernel
from ..kernels.limits import Limits
from ..kernels.packed import block_width
from ..kernels.wrapping import wrapping
from .choices import Choices
from .constants import constant
from .numbers import FLOATS, PAIRS, WIDE, Numbers, computes_in, fill_up
from .pack_weights import choose_block, pack
from .rewrite import fuse_elementwise, is_channels_last, operator_of, rewrite_calls

Matrix = np.ndarray[Any, Any]

# The transformed weights are (M+2)^2 / 9 as large, which costs memory and its bandwidth: at most so many bytes.
_MOST_BYTES = {4: 5 << 19, 2: 9 << 19}
_MOST = 8 << 20  # where a tuner measures what they cost
# Multiply-adds that the transforms of one channel of one tile take the time of, input and output together.
_TRANSFORM = {4: 550, 2: 190}
# Rows of a product below which it is slower by the ratio.
_FEW_ROWS = 6
_GAIN = 1.2  # how many times faster it has to be by this reckoning
# Of pairs of integers: transforms as above; the most channels whose sums are sure to fit into 32 bits on the way.
_INTEGER_TRANSFORM, _INTEGER_INPUTS = 130, 512
# How many times faster than float32 NEON multiplies 8-bit integers the plain way; those of 16 bits take as long.
_BYTES_SPEED = 1.35

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
# For whole numbers: the factors of the rows of G; A^T times the outputs' own factors and by those of G; and these
# outputs' factors, as a power of two each, and what is left of both dimensions' modulo 2^32, inverted.
_ROWS = {2: np.array([2, 2, 2, 2]), 4: np.array([4, 6, 6, 24, 24, 1])}
_WHOLE_AT = {
    2: _AT[2],
    4: np.array([[6, 4, 4, 1, 1, 0], [0, 2, -2, 1, -1, 0], [0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 6]], np.float64),
}
_SHIFTS = {2: (1, 1), 4: (3, 2, 1, 1)}
_INVERSE = {2: 1, 4: pow(9, -1, 1 << 32)}
# Fewer columns of tiles than these are too few rows for a product; so many tiles of an image may be its rows together.
_FEW_COLUMNS, _MOST_TILES = 7, 36


def use_winograd(
    module: tvm.IRModule, limits: Limits, stored: str | None = None, choices: Choices | None = None
) -> tvm.IRModule:
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
        m = default_tile(call, shape, inputs, limits, stored)
        if dtype == "int32":
            kernel = weight.value.numpy()
            if not m or not (limits.multiplies_pairs or _fits_32_bits(kernel, m)):
                return call
            form = PAIRS if limits.multiplies_pairs else WIDE
            return _of_integers(builder, call.args[0], kernel, shape, m, form, limits)
        if choices is not None:
            possible = [n for n in _MOST_BYTES if _nbytes(n, inputs, shape[3]) <= _MOST]
            m = choices.pick("winograd", call, m, (0, *possible))
        if not m:
            return call
        own = choose_block(call, limits, choices, m)
        return _convolution(builder, call.args[0], weight.value.numpy(), shape, m, own)

    return fuse_elementwise(rewrite_calls(module, visit), "winograd_")


def _nbytes(m: int, inputs: int, outputs: int) -> int:
    """Of the transformed weights of a convolution of float32."""
    return 4 * (m + 2) ** 2 * inputs * outputs


def default_tile(
    call: Any, shape: Sequence[int], inputs: int, limits: Limits, stored: str | None, plain: float | None = None
) -> int:
    """M by default, as `choose_tile` has it, for a conv2d of the types of this one; 0 of types that have no kernel."""
    result, data, weight = (str(value.ty.dtype) for value in (call, *call.args))
    if result == "float32":
        return choose_tile(shape, inputs, 2 if computes_in(stored, limits) else 1, plain=plain)
    narrow = result == "int32" and weight == "int8" and data in ("uint8", "int8")
    return integer_tile(shape, inputs, limits, plain) if narrow else 0


def choose_tile(shape: Sequence[int], inputs: int, speed: float = 1, size: int = 4, plain: float | None = None) -> int:
    """M for a convolution from `inputs` channels to `shape` [N, H, W, O]; 0 where the plain way is better.

    Args:
        speed: how many times faster than float32 the plain way multiplies.
        size: bytes of a transformed weight.
        plain: multiply-adds of the plain way, if it is not that convolution.
    """
    n, height, width, outputs = shape
    best, least = 0, _plain(shape, inputs, plain) / (_GAIN * speed)
    for m, most in _MOST_BYTES.items():
        tiles = -(-height // m) * -(-width // m)  # of an image, which are the rows of a product
        positions = (m + 2) ** 2
        if not tiles or positions * inputs * outputs * size > most:
            continue
        products = positions * inputs * outputs * max(1.0, _FEW_ROWS / tiles)
        cost = n * tiles * (products + _TRANSFORM[m] * (inputs + outputs) / 2)
        if cost < least:
            best, least = m, cost
    return best


def integer_tile(shape: Sequence[int], inputs: int, limits: Limits, plain: float | None = None) -> int:
    """The same of 8-bit integers."""
    if limits.multiplies_pairs:
        return 2 if _pays_in_pairs(shape, inputs, plain) else 0
    return choose_tile(shape, inputs, _BYTES_SPEED, 2, plain) if limits.partial_sums and limits.by_element else 0


def _plain(shape: Sequence[int], inputs: int, plain: float | None) -> float:
    return 9.0 * math.prod(shape) * inputs if plain is None else plain


def _pays_in_pairs(shape: Sequence[int], inputs: int, plain: float | None) -> bool:
    n, height, width, outputs = shape
    tiles, positions = -(-height // 2) * -(-width // 2), 16
    if not tiles or 2 * positions * inputs * outputs > _MOST_BYTES[4] or not 2 <= inputs <= _INTEGER_INPUTS:
        return False
    products = positions * inputs * outputs * max(1.0, _FEW_ROWS / tiles)
    cost = n * tiles * (products + _INTEGER_TRANSFORM * (inputs + outputs) / 2)
    return cost * _GAIN < _plain(shape, inputs, plain)


def _fits_32_bits(weight: Matrix, m: int) -> bool:
    """Whether sums of products do, and the result in the place of the highest bits."""
    sides = np.abs(_BT[m]).sum(axis=1)
    largest = 128 * np.outer(sides, sides).reshape(-1, 1)  # magnitude of V
    whole = np.abs(whole_weight(weight, m).astype(np.int64)).sum(axis=1)
    result = 128 * np.abs(weight.astype(np.int64)).sum(axis=(0, 1, 2)).max(initial=0)
    return bool((largest * whole).max(initial=0) < 1 << 31 and result << 2 * max(_SHIFTS[m]) < 1 << 31)


def _of_integers(
    builder: relax.BlockBuilder,
    data: Any,
    weight: Matrix,
    shape: list[int],
    m: int,
    numbers: Numbers,
    limits: Limits,
) -> Any:
    padded = _padded(builder, data, -shape[1] % m, -shape[2] % m)
    data, weight = fill_up(builder, padded, weight, numbers.group)
    steps = numbers.join(pack(whole_weight(weight, m), block_width(shape[3], limits)))
    return builder.call_te(
        lambda x, w: convolution(x, w, shape, m, numbers), data, constant(steps), primfunc_name_hint="winograd_conv2d"
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


def whole_weight(weight: Matrix, m: int) -> Matrix:
    """[3, 3, I, O] of 8-bit integers → [(m+2)^2, I, O] of 16 bits, with the factors of the rows."""
    g = np.rint(_ROWS[m][:, None] * _G[m]) if m == 4 else 2 * _G[m]
    made = np.einsum("ai,bj,ijco->abco", g, g, weight.astype(np.float64))
    return np.ascontiguousarray(np.rint(made).reshape(-1, *weight.shape[2:]).astype(np.int16))


def convolution(x: Any, w: Any, shape: Sequence[int], m: int, numbers: Numbers = FLOATS) -> Any:
    """The result [N, H, W, O] of `shape` as a TE tensor; `x` and `w` are padded and transformed for it.

    Args:
        x: [N, TH m + 2, TW m + 2, I], with as many tiles of M x M as cover the result.
        w: [O / NR, (m+2)^2, I / group, NR].
        numbers: of V and U; U of integers is that of `whole_weight`.

    Where an image has few columns of tiles, the rows of a product are the tiles of all of it.
    """
    n, height, width, outputs = shape
    a, th, tw, inputs = m + 2, -(-height // m), -(-width // m), x.shape[3]
    blocks, _positions, _inputs, lanes = w.shape

    def transform(row: Any, value: Callable[[int], Any]) -> Any:
        if numbers is FLOATS:
            return _select(_AT[m], row, value)
        return _select(_WHOLE_AT[m], row, value, _wrapping_sum)

    together = numbers is WIDE and tw < _FEW_COLUMNS and 1 < th * tw <= _MOST_TILES
    rows, columns = (1, th * tw) if together else (th, tw)
    half = te.compute(
        (n, th, tw, a, a, inputs),
        lambda n, ty, tx, i, v, c: _select(_BT[m], v, lambda j: x(n, ty * m + i, tx * m + j, c).astype(numbers.dtype)),
        name=kernel.HALF_INPUT,
    )

    def place(ty: Any, tx: Any) -> tuple[Any, Any]:
        return (tx // tw, tx % tw) if together else (ty, tx)

    tiles = te.compute(
        (a, a, n, rows, columns, inputs),
        lambda u, v, n, ty, tx, c: _select(_BT[m], u, lambda i: half(n, *place(ty, tx), i, v, c)),
        name=kernel.INPUT,
    )
    r = te.reduce_axis((0, inputs // numbers.group), "r")

    def product(u: Any, v: Any, n: Any, ty: Any, tx: Any, b: Any, lane: Any) -> Any:
        return numbers.multiply(lambda k: tiles(u, v, n, ty, tx, k), r, w(b, u * a + v, r, lane))

    sums = te.compute(
        (a, a, n, rows, columns, blocks, lanes),
        lambda *i: te.sum(product(*i), axis=r),
        name=kernel.SUMS,
    )
    products = te.compute(
        (a, a, n, rows, columns, outputs), lambda *i: sums(*i[:-1], i[-1] // lanes, i[-1] % lanes), name=kernel.PRODUCTS
    )
    half = te.compute(
        (n, th, tw, m, a, outputs),
        lambda n, ty, tx, y, v, c: transform(
            y, lambda u: products(u, v, n, *((0, ty * tw + tx) if together else (ty, tx)), c)
        ),
        name=kernel.HALF_OUTPUT,
    )

    def output(n: Any, h: Any, w: Any, c: Any) -> Any:
        value = transform(w % m, lambda v: half(n, h // m, w // m, h % m, v, c))
        return value if numbers is FLOATS else _quotient(value, m, h % m, w % m)

    return te.compute((n, height, width, outputs), output, name="winograd_output")


def _quotient(value: Any, m: int, row: Any, column: Any) -> Any:
    """What is a multiple of the result, modulo 2^32, by the factors of the output at a row and column of a tile."""
    if _INVERSE[m] != 1:
        value = wrapping("mul", value, tirx.const(_INVERSE[m], "int32"))
    shifts = [_choice(place, [tirx.const(shift, "int32") for shift in _SHIFTS[m]]) for place in (row, column)]
    return tirx.shift_right(value, shifts[0] + shifts[1])


def _choice(place: Any, values: Sequence[Any]) -> Any:
    """One of several values, the place being known when the loop over it is written out."""
    result = values[-1]
    for index in range(len(values) - 2, -1, -1):
        result = tirx.Select(tirx.EQ(place, index), values[index], result)
    return result


_Value = Callable[[int], Any]


def _select(
    matrix: Matrix, row: Any, value: _Value, total: Callable[[Sequence[float], _Value], Any] | None = None
) -> Any:
    """The product of one row of a matrix with values.

    Args:
        total: how that of a given row is summed.
    """
    return _choice(row, [(total or _sum)(coefficients, value) for coefficients in matrix])


def _sum(coefficients: Sequence[float], value: _Value) -> Any:
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


def _wrapping_sum(coefficients: Sequence[float], value: _Value) -> Any:
    """Modulo 2^32; neighbours with coefficients of one size are added first, as other rows do it too."""
    whole = [int(coefficient) for coefficient in coefficients]
    terms = [(whole[0], value(0))]
    for index in range(1, len(whole) - 1, 2):
        a, b = whole[index], whole[index + 1]
        if abs(a) == abs(b):
            terms.append((a, wrapping("add" if a == b else "sub", value(index), value(index + 1))))
        else:
            terms += [(a, value(index)), (b, value(index + 1))]
    terms.append((whole[-1], value(len(whole) - 1)))
    total = None
    for factor, term in terms:
        if factor == 0:
            continue
        if abs(factor) != 1:
            term = wrapping("mul", term, tirx.const(abs(factor), "int32"))
        if total is None:
            total = term if factor > 0 else wrapping("sub", tirx.const(0, "int32"), term)
        else:
            total = wrapping("add" if factor > 0 else "sub", total, term)
    return total
