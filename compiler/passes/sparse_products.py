"""Products and 1x1 convolutions with zeros among their weights: only others are stored, and multiplied.

Zeros come in blocks, or here and there; for those see `scattered_program.py`. A block is the weights of 16 output
channels, which lie in vectors side by side, for one input. Each 16 output channels have a list of the inputs that they
read. The lists are filled up to the length of the longest, so that the kernel is that of a dense product with other
addresses.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te

from ..kernels.limits import Limits
from ..kernels.sparse import ACCUMULATOR
from ..quantize.sparsity import BLOCK
from .constants import constant
from .pack_weights import pack
from .rewrite import fuse_elementwise, is_channels_last, operator_of, rewrite_calls, shape_of
from .scattered_program import Scattered, compress

Array = np.ndarray[Any, Any]

_NAME = "sparse_product"
# A sparse kernel takes so many times as long as a dense one for as many multiplications, at most. Measured on an AMD
# Zen 5 with one thread, where no block was zero: 1.12 to 1.2 times for convolutions of 14x14x256 to 256, 28x28x128 to
# 128, 7x7x512 to 512 and 56x56x64 to 256, 1.19 for 128 rows by 768x768, 1.33 for one row by 1024x1024. With 70 % of
# blocks zero, at random, these are 1.75 to 2.4 times as fast as dense ones.
_SLOWER = 1.35


def use_sparse_products(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Rewrites products and 1x1 convolutions of float32 with constant weights in `main`, where that is faster."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        weight = _weight_of(call)
        if weight is None or 0 in (*shape_of(call), *weight.shape):
            return call
        lists = _lists_of(weight)
        in_blocks = share_of_blocks(weight, lists)
        scattered = share_of_scattered(weight, math.prod(shape_of(call)[:-1]), limits)
        if min(in_blocks, scattered) >= 1:
            return call
        return (
            _in_blocks(builder, call, weight, lists)
            if in_blocks < scattered
            else _scattered(builder, call, weight, limits)
        )

    return fuse_elementwise(rewrite_calls(module, visit), _NAME)


def share_of_blocks(weight: Array, lists: Array) -> float:
    """The time of the kernel on blocks, as a share of the dense one's."""
    return _SLOWER * lists.size * BLOCK / weight.size


def share_of_scattered(weight: Array, rows: int, limits: Limits) -> float:
    """That of the kernel with vectors along the rows, of which there have to be enough."""
    if rows < limits.lanes:
        return math.inf
    inputs, outputs = weight.shape
    return Scattered.plan(rows, inputs, outputs, int(np.count_nonzero(weight)), limits).share(limits)


def _weight_of(call: Any) -> Array | None:
    """[I, O], if a call is such a product."""
    name = operator_of(call)
    if name not in ("relax.nn.conv2d", "relax.matmul") or str(call.ty.dtype) != "float32":
        return None
    weight, data = call.args[1], call.args[0]
    if not isinstance(weight, ir.GenericConst) or str(weight.ty.dtype) != str(data.ty.dtype) != "float32":
        return None
    array = np.asarray(weight.value.numpy())
    if name == "relax.matmul":
        return array if array.ndim == 2 and len(data.ty.shape) > 1 else None
    attrs = call.attrs
    plain = is_channels_last(call)
    single = array.shape[:2] == (1, 1) and int(attrs.groups) == 1
    if not plain or not single or any(int(p) for p in attrs.padding) or any(int(s) != 1 for s in attrs.strides):
        return None
    return np.asarray(array[0, 0])


def _lists_of(weight: Array) -> Array:
    """By 16 outputs, the inputs that they read, [blocks, most]; the first input fills shorter lists up."""
    read = np.asarray(pack(weight, BLOCK).any(axis=2))
    most = max(1, int(read.sum(axis=1).max()))
    lists = np.zeros((len(read), most), np.int32)
    for row, used in zip(lists, read, strict=True):
        found = np.flatnonzero(used)
        row[: len(found)] = found
    return lists


def _in_blocks(builder: relax.BlockBuilder, call: Any, weight: Array, lists: Array) -> Any:
    packed = pack(weight, BLOCK)
    shape, (blocks, most) = list(shape_of(call)), lists.shape
    chosen = np.take_along_axis(packed, lists[..., None].astype(np.int64), axis=1)
    lengths = packed.any(axis=2).sum(axis=1)
    chosen[np.arange(most) >= lengths[:, None]] = 0

    def compute(x: Any, w: Any, inputs: Any) -> Any:
        r = te.reduce_axis((0, most), "r")
        sums = te.compute(
            (*shape[:-1], blocks, BLOCK),
            lambda *i: te.sum(x(*i[:-2], inputs(i[-2], r)) * w(i[-2], r, i[-1]), axis=r),
            name=ACCUMULATOR,
        )
        return te.compute(shape, lambda *i: sums(*i[:-1], i[-1] // BLOCK, i[-1] % BLOCK), name="unpacked")

    constants = [constant(np.ascontiguousarray(chosen)), constant(lists)]
    return builder.call_te(compute, call.args[0], *constants, primfunc_name_hint=_NAME)


def _scattered(builder: relax.BlockBuilder, call: Any, weight: Array, limits: Limits) -> Any:
    """Transposes the data, and the result back, which what follows joins."""
    (*leading, outputs), inputs = shape_of(call), len(weight)
    rows, rank = math.prod(leading), len(leading)
    # Whole vectors of rows, so that those of each input begin where a vector may.
    stride = -(-rows // limits.lanes) * limits.lanes
    values, places, starts = compress(weight, stride)
    plan = Scattered.plan(rows, inputs, outputs, len(values), limits)
    data = builder.emit(relax.op.reshape(call.args[0], [rows, inputs]))
    if stride > rows:
        data = builder.emit(relax.op.nn.pad(data, [0, stride - rows, 0, 0]))
    data = builder.emit(relax.op.permute_dims(data, [1, 0]))
    data = builder.emit(relax.op.reshape(data, [inputs * stride]))
    constants = [constant(values), constant(places), constant(starts)]
    made = builder.emit(builder.call_te(plan.program, data, *constants, primfunc_name_hint="scattered_product"))
    made = builder.emit(relax.op.reshape(made, [outputs, *leading]))
    return relax.op.permute_dims(made, [*range(1, rank + 1), 0])
