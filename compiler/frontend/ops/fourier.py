"""DFT and STFT as products with matrices, which stay small: long ones go in two steps (Cooley and Tukey, 1965)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_TABLE = 1 << 21  # bytes of a matrix that is worth splitting
_LARGEST = 1 << 27  # bytes of one that cannot be split
Array = Any  # of NumPy


def dft(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [..., signal, ..., 1 or 2], length and axis (constants, optional) → its spectrum, or the other way round."""
    from tvm import relax

    x, length, axis = (*inputs, None, None)[:3]
    rank = len(x.ty.shape)
    number = (_whole(axis, "axis") if axis is not None else attrs.get("axis", -2)) % rank
    inverse, onesided = bool(attrs.get("inverse", 0)), bool(attrs.get("onesided", 0))
    given = int(x.ty.shape[number])
    size = _whole(length, "length") if length is not None else 2 * (given - 1) if inverse and onesided else given
    order = [n for n in range(rank - 1) if n != number] + [number, rank - 1]
    moved = bb.emit(relax.op.permute_dims(x, order))
    shape = [int(n) for n in moved.ty.shape]
    flat = bb.emit(relax.op.reshape(moved, [math.prod(shape[:-2]), *shape[-2:]]))
    made = _transform(bb, flat, size, inverse, onesided)
    made = bb.emit(relax.op.reshape(made, [*shape[:-2], *(int(n) for n in list(made.ty.shape)[1:])]))
    return bb.normalize(relax.op.permute_dims(made, [order.index(n) for n in range(rank)]))


def stft(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """signal [batch, size, 1 or 2], step, window and length (step and length constants) → [batch, frames, bins, 2]."""
    from tvm import relax

    signal, step, window, length = (*inputs, None, None)[:4]
    batch, size, parts = (int(n) for n in signal.ty.shape)
    width = _whole(length, "frame_length") if length is not None else int(window.ty.shape[0])
    hop = _whole(step, "frame_step")
    frames = 1 + (size - width) // hop
    places = np.arange(frames)[:, None] * hop + np.arange(width)
    cut = bb.emit(relax.op.take(signal, relax.const(places, "int64"), 1))
    if window is not None:
        cut = bb.emit(relax.op.multiply(cut, bb.emit(relax.op.reshape(window, [width, 1]))))
    flat = bb.emit(relax.op.reshape(cut, [batch * frames, width, parts]))
    made = _transform(bb, flat, width, False, bool(attrs.get("onesided", 1)))
    return bb.normalize(relax.op.reshape(made, [batch, frames, int(made.ty.shape[1]), 2]))


def _whole(value: Any, what: str) -> int:
    from tvm import ir

    if not isinstance(value, ir.GenericConst):
        raise ValueError(f"its {what} is not constant")
    return int(np.asarray(value.value.numpy()).reshape(()))


def _transform(bb: Any, x: Any, size: int, inverse: bool, onesided: bool) -> Any:
    """x [rows, n, 1 or 2] → [rows, size, 2]; of a real signal `onesided` keeps the first half, or begins with it."""
    from tvm import relax

    dtype = str(x.ty.dtype)
    wide = "float64" if dtype == "float64" else "float32"
    x = x if dtype == wide else bb.emit(relax.op.astype(x, wide))
    half = size // 2 + 1
    x = _sized(bb, x, half if inverse and onesided else size)
    if inverse and onesided:
        numbers = np.arange(size)
        mirrored = numbers >= half
        x = bb.emit(relax.op.take(x, relax.const(np.where(mirrored, size - numbers, numbers), "int64"), 1))
        if int(x.ty.shape[2]) == 2:
            signs = np.stack([np.ones(size), np.where(mirrored, -1, 1)], axis=1)
            x = bb.emit(relax.op.multiply(x, relax.const(signs, wide)))
    made = _spectrum(bb, x, 1 if inverse else -1, half if onesided and not inverse else size)
    if inverse:
        if onesided:
            made = bb.emit(relax.op.strided_slice(made, [2], [0], [1]))
        made = bb.emit(relax.op.multiply(made, relax.const(1 / size, wide)))
    return made if dtype == wide else bb.emit(relax.op.astype(made, dtype))


def _sized(bb: Any, x: Any, size: int) -> Any:
    """x [rows, n, parts], cut or filled up with zeros to [rows, size, parts]."""
    from tvm import relax

    given = int(x.ty.shape[1])
    if given > size:
        return bb.emit(relax.op.strided_slice(x, [1], [0], [size]))
    return bb.emit(relax.op.nn.pad(x, [0, 0, 0, size - given, 0, 0])) if given < size else x


def _spectrum(bb: Any, x: Any, sign: int, kept: int) -> Any:
    """x [rows, n, 1 or 2] → the first `kept` sums [rows, kept, 2] over x·exp(sign·2πi·k·n / size)."""
    from tvm import relax

    rows, size, parts = (int(n) for n in x.ty.shape)
    dtype = str(x.ty.dtype)
    width = np.dtype(dtype).itemsize
    outer = max(n for n in range(1, math.isqrt(size) + 1) if size % n == 0)
    cost = size * parts * kept * 2 * width
    if cost <= _TABLE or outer == 1:
        if cost > _LARGEST:
            raise ValueError(f"its length {size} is a large prime; another length is far cheaper")
        matrix = relax.const(_matrix(size, parts, kept, sign), dtype)
        flat = bb.emit(relax.op.reshape(x, [rows, size * parts]))
        return bb.emit(relax.op.reshape(bb.emit(relax.op.matmul(flat, matrix)), [rows, kept, 2]))
    inner = size // outer
    # Elements inner·n1 + n2 go to sums k1 + outer·k2.
    x = bb.emit(relax.op.reshape(x, [rows, outer, inner, parts]))
    x = bb.emit(relax.op.reshape(bb.emit(relax.op.permute_dims(x, [0, 2, 1, 3])), [rows * inner, outer, parts]))
    x = bb.emit(relax.op.reshape(_spectrum(bb, x, sign, outer), [rows, inner, outer, 2]))
    turns = np.exp(sign * 2j * np.pi * np.outer(np.arange(inner), np.arange(outer)) / size)[..., None]
    real, imaginary = (bb.emit(relax.op.strided_slice(x, [3], [part], [part + 1])) for part in (0, 1))
    cosine, sine = relax.const(turns.real, dtype), relax.const(turns.imag, dtype)
    products = [bb.emit(relax.op.multiply(a, b)) for a in (real, imaginary) for b in (cosine, sine)]
    turned = [bb.emit(relax.op.subtract(products[0], products[3])), bb.emit(relax.op.add(products[1], products[2]))]
    x = bb.emit(relax.op.permute_dims(bb.emit(relax.op.concat(turned, 3)), [0, 2, 1, 3]))
    x = _spectrum(bb, bb.emit(relax.op.reshape(x, [rows * outer, inner, 2])), sign, inner)
    x = bb.emit(relax.op.permute_dims(bb.emit(relax.op.reshape(x, [rows, outer, inner, 2])), [0, 2, 1, 3]))
    return _sized(bb, bb.emit(relax.op.reshape(x, [rows, size, 2])), kept)


def _matrix(size: int, parts: int, kept: int, sign: int) -> Array:
    """[size · parts, kept · 2]: what real and imaginary parts add to those of the sums."""
    steps = np.outer(np.arange(size), np.arange(kept)) % size
    turn = np.exp(sign * 2j * np.pi * steps / size)
    from_real, from_imaginary = (np.stack([w.real, w.imag], axis=-1) for w in (turn, 1j * turn))
    return np.stack([from_real, from_imaginary][:parts], axis=1).reshape(size * parts, kept * 2)
