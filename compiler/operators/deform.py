"""Windows whose elements lie where offsets say (Dai et al., "Deformable Convolutional Networks", 2017)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from .define import define

DEFORM = "edgec.deform"


def deformed_columns(
    data: Any,
    offsets: Any,
    mask: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    before: Sequence[int],
) -> Any:
    """A Relax expression: [batch, channels, taps, *positions], between elements by linear interpolation, 0 outside.

    Args:
        data: [batch, channels, *sizes].
        offsets: [batch, groups, taps, axes, *positions]; channels belong to groups in order.
        mask: [batch, groups, taps, *positions], which the elements are multiplied by; None for ones.
        before: how far the first window begins before the data, by axis.
    """
    lists = {"kernel": kernel, "strides": strides, "dilations": dilations, "before": before}
    numbers = {name: [int(n) for n in values] for name, values in lists.items()}
    return _call(data, offsets, *([] if mask is None else [mask]), **numbers)


def _infer_type(call: Any) -> Any:
    data, offsets = (argument.ty for argument in call.args[:2])
    taps, positions = offsets.shape[2], list(offsets.shape)[4:]
    return relax.TensorType([data.shape[0], data.shape[1], taps, *positions], str(data.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    kernel, strides, dilations, before = (
        [int(n) for n in call.attrs[name]] for name in ("kernel", "strides", "dilations", "before")
    )
    dtype = str(call.ty.dtype)
    wide = "float64" if dtype == "float64" else "float32"

    def sampled(data: Any, offsets: Any, *masks: Any) -> Any:
        channels, sizes = int(data.shape[1]), [int(size) for size in data.shape][2:]
        share = channels // int(offsets.shape[1])

        def element(batch: Any, channel: Any, tap: Any, *at: Any) -> Any:
            group, corners = tirx.floordiv(channel, share), []
            for axis, size in enumerate(sizes):
                step = tirx.floormod(tirx.floordiv(tap, math.prod(kernel[axis + 1 :])), kernel[axis])
                begin = (at[axis] * strides[axis] + step * dilations[axis] - before[axis]).astype(wide)
                place = begin + offsets(batch, group, tap, axis, *at).astype(wide)
                # Far outside everything is zero; before, a conversion to integers could overflow.
                place = tirx.min(tirx.max(place, tirx.const(-1, wide)), tirx.const(size, wide))
                low = tirx.floor(place)
                corners.append([(low, 1 - (place - low), size), (low + 1, place - low, size)])
            total = tirx.const(0, wide)
            for corner in itertools.product(*corners):
                places, weight, inside = [], tirx.const(1, wide), []
                for place, part, size in corner:
                    number = place.astype("int32")
                    inside += [number >= 0, number < size]
                    places.append(tirx.min(tirx.max(number, 0), size - 1))
                    weight = weight * part
                value = data(batch, channel, *places).astype(wide) * weight
                total = total + tirx.Select(tirx.all(*inside), value, tirx.const(0, wide))
            for mask in masks:
                total = total * mask(batch, group, tap, *at).astype(wide)
            return total.astype(dtype)

        return te.compute(list(call.ty.shape), element, name="deform")

    return builder.call_te(sampled, *call.args, primfunc_name_hint="deform", primfunc_attrs={"op_pattern": 8})


_call = define(DEFORM, _infer_type, _legalize)
