"""ConvTranspose; TVM's converter knows no output_shape."""

from __future__ import annotations

import math
from typing import Any


def conv_transpose(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [batch, channels, *sizes], weight [channels, filters / group, *kernel], bias → [batch, filters, ...]."""
    from tvm import relax

    x, weight, bias = (*inputs, None)[:3]
    sizes, kernel = ([int(size) for size in value.ty.shape][2:] for value in (x, weight))
    axes = len(sizes)
    if axes > 3:
        raise ValueError("it has more than three spatial axes")
    strides, dilations = (list(attrs.get(name, [1] * axes)) for name in ("strides", "dilations"))
    beyond = list(attrs.get("output_padding", [0] * axes))
    reach = [
        (size - 1) * stride + (taps - 1) * dilation + 1
        for size, stride, taps, dilation in zip(sizes, strides, kernel, dilations, strict=True)
    ]
    before, results = window_of(sizes, reach, strides, beyond, attrs)
    # The operator itself cuts off margins, and adds less than a stride at the end.
    after = [full - low - size for full, low, size in zip(reach, before, results, strict=True)]
    added = [min(max(-high, 0), stride - 1) for high, stride in zip(after, strides, strict=True)]
    cut = [max(low, 0) for low in before] + [max(high, 0) for high in after]
    convolve, layout = _OPERATORS[axes - 1]
    made = bb.emit(
        getattr(relax.op.nn, convolve)(
            x,
            weight,
            strides=strides,
            padding=cut,
            output_padding=added,
            dilation=dilations,
            groups=attrs.get("group", 1),
            data_layout=f"NC{layout}",
            kernel_layout=f"IO{layout}",
        )
    )
    margins = [(max(-low, 0), max(-high, 0) - more) for low, high, more in zip(before, after, added, strict=True)]
    if any(map(any, margins)):
        made = bb.emit(relax.op.nn.pad(made, [0, 0, 0, 0, *(n for both in margins for n in both)]))
    if bias is None:
        return made
    return bb.normalize(relax.op.add(made, bb.emit(relax.op.reshape(bias, [1, -1] + [1] * axes))))


_OPERATORS = (("conv1d_transpose", "W"), ("conv2d_transpose", "HW"), ("conv3d_transpose", "DHW"))


def window_of(
    sizes: list[int], reach: list[int], strides: list[int], beyond: list[int], attrs: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """Where the result begins in all that the kernel reaches, and its sizes; either may lie outside."""
    axes = len(sizes)
    mode = attrs.get("auto_pad", b"NOTSET").decode()
    wanted = list(attrs.get("output_shape", ()))[-axes:]
    if not wanted and mode.startswith("SAME"):
        wanted = [math.ceil(size * stride) for size, stride in zip(sizes, strides, strict=True)]
    if not wanted:
        pads = list(attrs.get("pads", [0] * 2 * axes)) if mode == "NOTSET" else [0] * 2 * axes
        ends = zip(reach, beyond, pads[:axes], pads[axes:], strict=True)
        return pads[:axes], [full + more - low - high for full, more, low, high in ends]
    totals = [max(full + more - size, 0) for full, more, size in zip(reach, beyond, wanted, strict=True)]
    return [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals], wanted
