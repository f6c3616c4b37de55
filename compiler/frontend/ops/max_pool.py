"""MaxPool with its places, and MaxUnpool, which puts values there; TVM's converters know no places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Windows:
    """By axis: `kernel` elements, `dilations` apart, that begin every `strides` from `before` the data on.

    Attributes:
        after: how far the last window may end after the data, at least.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, sizes: list[int], attrs: dict[str, Any]) -> Windows:
        """The windows that a pooling node's attributes describe; see MaxPool in the standard."""
        axes, kernel = len(sizes), [int(size) for size in attrs["kernel_shape"]]
        strides, dilations = ([int(n) for n in attrs.get(name, [1] * axes)] for name in ("strides", "dilations"))
        pads = [int(n) for n in attrs.get("pads", [0] * 2 * axes)]
        before, after = pads[:axes], pads[axes:]
        mode = attrs.get("auto_pad", b"NOTSET").decode()
        for axis, size in enumerate(sizes):
            stride, reach = strides[axis], (kernel[axis] - 1) * dilations[axis] + 1
            if mode.startswith("SAME"):
                total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
                before[axis] = total // 2 if mode == "SAME_UPPER" else total - total // 2
                after[axis] = total - before[axis]
            elif mode == "VALID":
                before[axis] = after[axis] = 0
            elif attrs.get("ceil_mode", 0):
                last = math.ceil((size + before[axis] + after[axis] - reach) / stride)
                last -= last * stride >= size + before[axis]  # a window that would begin after the data is left out
                after[axis] = max(last * stride + reach - size - before[axis], 0)
        return cls(kernel, strides, dilations, before, after)


def max_pool(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [batch, channels, *sizes] → the maxima of its windows, and where they are, if that is asked for."""
    from tvm import relax

    from ...operators.pool_places import pool_places

    (x,) = inputs
    sizes = [int(size) for size in x.ty.shape][2:]
    if len(sizes) > 3:
        raise ValueError("it has more than three spatial axes")
    windows = Windows.of(sizes, attrs)
    pool = (relax.op.nn.max_pool1d, relax.op.nn.max_pool2d, relax.op.nn.max_pool3d)[len(sizes) - 1]
    padding = windows.before + windows.after
    made = bb.emit(pool(x, windows.kernel, windows.strides, padding, windows.dilations))
    if len(node.output) < 2 or not node.output[1]:
        return made
    by_column = bool(attrs.get("storage_order", 0))
    kernel, strides, dilations, before = windows.kernel, windows.strides, windows.dilations, windows.before
    return relax.Tuple([made, bb.emit(pool_places(x, made, kernel, strides, dilations, before, by_column))])


def max_unpool(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [batch, channels, *sizes], places → zeros but for x's elements at their places; see `frontend/forms.py`."""
    from tvm import relax

    x, places = inputs[:2]
    shape = [int(size) for size in x.ty.shape]
    axes = len(shape) - 2
    strides, pads = attrs.get("strides", [1] * axes), attrs.get("pads", [0] * 2 * axes)
    for axis, kernel in enumerate(attrs["kernel_shape"]):
        shape[2 + axis] = (shape[2 + axis] - 1) * strides[axis] + kernel - pads[axis] - pads[axes + axis]
    empty = bb.emit(relax.op.zeros([math.prod(shape)], str(x.ty.dtype)))
    flat = [bb.emit(relax.op.reshape(value, [-1])) for value in (places, x)]
    return bb.normalize(relax.op.reshape(bb.emit(relax.op.scatter_elements(empty, *flat, 0)), shape))
