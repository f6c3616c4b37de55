"""Takes the padding out of convolutions, so that their inner loops test no borders.

The padded copy is one pass over the input, and none where the kernel before can write into it (views.py).
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .rewrite import operator_of, rewrite_calls

# Operator → the spatial letters of its layouts, in the order of its padding.
_CONVOLUTIONS = {"relax.nn.conv1d": "W", "relax.nn.conv2d": "HW", "relax.nn.conv3d": "DHW"}


def make_padding_explicit(module: tvm.IRModule) -> tvm.IRModule:
    """`conv(x, w, padding=p)` → `conv(pad(x, p), w, padding=0)` in `main`."""
    return rewrite_calls(module, _split)


def _split(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call)
    if name not in _CONVOLUTIONS or not any(int(p) for p in call.attrs.padding):
        return call
    axes = _CONVOLUTIONS[name]
    padding = [int(p) for p in call.attrs.padding]  # all begins, then all ends
    widths: list[int] = []
    for letter in str(call.attrs.data_layout):
        index = axes.find(letter)
        widths += [padding[index], padding[index + len(axes)]] if index >= 0 else [0, 0]
    padded = builder.emit(relax.op.nn.pad(call.args[0], widths))
    attrs = call.attrs
    return getattr(relax.op.nn, name.rsplit(".", 1)[1])(
        padded,
        call.args[1],
        strides=list(attrs.strides),
        padding=0,
        dilation=list(attrs.dilation),
        groups=int(attrs.groups),
        data_layout=str(attrs.data_layout),
        kernel_layout=str(attrs.kernel_layout),
        out_layout=str(attrs.out_layout),
        out_dtype=attrs.out_dtype,
    )
