"""Windows laid out as columns, and their way back to an image, in any number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from .define import define

OVERLAY = "edgec.overlay"


def overlay(
    columns: Any,
    image: Sequence[int],
    kernel: Sequence[int],
    dilations: Sequence[int],
    strides: Sequence[int],
    before: Sequence[int],
) -> Any:
    """A Relax expression: `columns` [batch, channels, *kernel, *positions] → [batch, channels, *image].

    Each element is the sum of those of the windows that cover it.

    Args:
        before: how far the first window begins before the image, by axis.
    """
    lists = {"image": image, "kernel": kernel, "dilations": dilations, "strides": strides, "before": before}
    return _call(columns, **{name: [int(n) for n in numbers] for name, numbers in lists.items()})


def _infer_type(call: Any) -> Any:
    columns = call.args[0].ty
    return relax.TensorType([*list(columns.shape)[:2], *(int(n) for n in call.attrs["image"])], str(columns.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    kernel, dilations, strides, before = (
        [int(n) for n in call.attrs[name]] for name in ("kernel", "dilations", "strides", "before")
    )
    positions = [int(size) for size in call.args[0].ty.shape][2 + len(kernel) :]

    def overlaid(columns: Any) -> Any:
        taps = [te.reduce_axis((0, size), "tap") for size in kernel]

        def element(batch: Any, channel: Any, *at: Any) -> Any:
            places, inside = [], []
            for i, tap, dilation, stride, low, count in zip(
                at, taps, dilations, strides, before, positions, strict=True
            ):
                begin = i + low - tap.var * dilation
                place = tirx.floordiv(begin, stride)
                inside += [begin >= 0, place < count] + [tirx.floormod(begin, stride) == 0] * (stride > 1)
                places.append(tirx.min(tirx.max(place, 0), count - 1))
            value = columns(batch, channel, *(tap.var for tap in taps), *places)
            return te.sum(tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, columns.dtype)), axis=taps)

        return te.compute(list(call.ty.shape), element, name="overlay")

    return builder.call_te(overlaid, call.args[0], primfunc_name_hint="overlay")


_call = define(OVERLAY, _infer_type, _legalize)
