"""Transposed convolutions as plain ones, which every schedule and layout pass knows.

Zeros are put between the input's elements, the kernel is flipped and its channels exchanged: Dumoulin and
Visin, "A guide to convolution arithmetic for deep learning", 2016 (arXiv:1603.07285), section 4.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax

from .rewrite import operator_of, rewrite_calls

_RANK = {"relax.nn.conv1d_transpose": 1, "relax.nn.conv2d_transpose": 2, "relax.nn.conv3d_transpose": 3}
_LAYOUT = {1: ("NCW", "OIW"), 2: ("NCHW", "OIHW"), 3: ("NCDHW", "OIDHW")}


def expand_transposed_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """`convN_transpose(x, w)` → `convN(pad(spread(x)), flip(w))` in `main`; layouts as imported."""
    return rewrite_calls(module, _expand)


def _expand(builder: relax.BlockBuilder, call: Any) -> Any:
    rank = _RANK.get(operator_of(call))
    if rank is None:
        return call
    attrs = call.attrs
    stride, dilation, extra = (
        [int(v) for v in values] for values in (attrs.strides, attrs.dilation, attrs.output_padding)
    )
    padding, groups = [int(p) for p in attrs.padding], int(attrs.groups)
    data, weight = call.args
    kernel = [int(d) for d in weight.ty.shape][2:]
    if kernel == stride and groups == 1 and not any(padding) and not any(extra) and set(dilation) == {1}:
        return _apart(builder, data, weight, attrs.out_dtype)
    spread = _spread(builder, data, stride)
    before = [dilation[i] * (kernel[i] - 1) - padding[i] for i in range(rank)]
    # `spread` leaves stride - 1 zeros behind the last element, which count as padding.
    after = [dilation[i] * (kernel[i] - 1) - padding[rank + i] + extra[i] - (stride[i] - 1) for i in range(rank)]
    data = _pad_or_crop(builder, spread, before, after)
    data_layout, kernel_layout = _LAYOUT[rank]
    return builder.normalize(
        getattr(relax.op.nn, f"conv{rank}d")(
            data,
            _exchange(builder, weight, groups),
            dilation=dilation,
            groups=groups,
            data_layout=data_layout,
            kernel_layout=kernel_layout,
            out_dtype=attrs.out_dtype,
        )
    )


def _apart(builder: relax.BlockBuilder, data: Any, weight: Any, out_dtype: Any) -> Any:
    """Kernels as wide as the stride do not overlap: one product makes a block of results of each element."""
    batch, inputs, *space = (int(d) for d in data.ty.shape)
    _, outputs, *kernel = (int(d) for d in weight.ty.shape)
    rank = len(space)
    data_layout, kernel_layout = _LAYOUT[rank]
    # The channels of a result stay together, for they lie together in memory where they are the last axis.
    moved = builder.emit(relax.op.permute_dims(weight, [*range(2, rank + 2), 1, 0]))
    product = builder.emit(
        getattr(relax.op.nn, f"conv{rank}d")(
            data,
            builder.emit(relax.op.reshape(moved, [math.prod(kernel) * outputs, inputs, *[1] * rank])),
            data_layout=data_layout,
            kernel_layout=kernel_layout,
            out_dtype=out_dtype,
        )
    )
    blocks = builder.emit(relax.op.reshape(product, [batch, *kernel, outputs, *space]))
    order = [axis for i in range(rank) for axis in (2 + rank + i, 1 + i)]
    mixed = builder.emit(relax.op.permute_dims(blocks, [0, 1 + rank, *order]))
    return builder.normalize(
        relax.op.reshape(mixed, [batch, outputs, *(n * k for n, k in zip(space, kernel, strict=True))])
    )


def _spread(builder: relax.BlockBuilder, data: Any, stride: list[int]) -> Any:
    """[N, C, H, …] → [N, C, H·s, …] with s - 1 zeros behind each element."""
    if all(s == 1 for s in stride):
        return data
    shape = [int(d) for d in data.ty.shape]
    wide, widths, flat = shape[:2], [0] * 4, shape[:2]
    for size, step in zip(shape[2:], stride, strict=True):
        wide += [size, 1]
        widths += [0, 0, 0, step - 1]
        flat.append(size * step)
    split = builder.emit(relax.op.reshape(data, wide))
    return builder.emit(relax.op.reshape(builder.emit(relax.op.nn.pad(split, widths)), flat))


def _pad_or_crop(builder: relax.BlockBuilder, data: Any, before: list[int], after: list[int]) -> Any:
    """Pads the spatial axes; negative widths crop."""
    widths = [0] * 4
    for begin, end in zip(before, after, strict=True):
        widths += [max(begin, 0), max(end, 0)]
    if any(widths):
        data = builder.emit(relax.op.nn.pad(data, widths))
    if min(*before, *after) < 0:
        shape = [int(d) for d in data.ty.shape][2:]
        begins = [max(-b, 0) for b in before]
        ends = [size - max(-a, 0) for size, a in zip(shape, after, strict=True)]
        axes = list(range(2, 2 + len(shape)))
        data = builder.emit(relax.op.strided_slice(data, axes, begins, ends))
    return data


def _exchange(builder: relax.BlockBuilder, weight: Any, groups: int) -> Any:
    """[I, O/g, …] → [O, I/g, …], flipped along the spatial axes."""
    inputs, outputs, *kernel = (int(d) for d in weight.ty.shape)
    spatial = list(range(3, 3 + len(kernel)))
    for axis in range(2, 2 + len(kernel)):
        weight = builder.emit(relax.op.flip(weight, axis))
    grouped = builder.emit(relax.op.reshape(weight, [groups, inputs // groups, outputs, *kernel]))
    exchanged = builder.emit(relax.op.permute_dims(grouped, [0, 2, 1, *spatial]))
    return builder.emit(relax.op.reshape(exchanged, [groups * outputs, inputs // groups, *kernel]))
