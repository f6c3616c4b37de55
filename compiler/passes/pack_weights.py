"""Convolutions and products with constant weights, on weights laid out for the kernel that reads them.

The output channels are cut into blocks of NR, and a block's weights stand in the order in which the inner
loop needs them: [O / NR][kernel][I][NR], the last block filled up with zeros. Each load is then a whole
aligned vector, consecutive in memory. See Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", SC 2018 (arXiv:1808.05567).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te

from ..kernels.limits import Limits
from ..kernels.packed import ACCUMULATOR, block_width
from .rewrite import rewrite_calls

_FUSES_ELEMENTWISE = 4  # TVM's kOutEWiseFusable: what follows element by element joins the kernel


def pack_weights(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Rewrites float32 conv2d (NHWC, one group, no padding) and matmul by a constant matrix, in `main`."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        name = getattr(call.op, "name", "")
        if name not in ("relax.nn.conv2d", "relax.matmul") or str(call.ty.dtype) != "float32":
            return call
        weight = call.args[1]
        if not isinstance(weight, ir.GenericConst) or 0 in [int(d) for d in call.ty.shape]:
            return call
        if name == "relax.matmul":
            return _matmul(builder, call, weight.value.numpy(), limits)
        return _conv2d(builder, call, weight.value.numpy(), limits)

    module = rewrite_calls(module, visit)
    for variable, function in list(module.functions.items()):
        if variable.name_hint.startswith("packed_"):
            module.update_func(variable, function.with_attr("op_pattern", _FUSES_ELEMENTWISE))
    return module


def pack(weight: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """[…, I, O] → [ceil(O / width), …, I, width], filled up with zeros."""
    blocks = -(-weight.shape[-1] // width)
    padded = np.zeros((*weight.shape[:-1], blocks * width), weight.dtype)
    padded[..., : weight.shape[-1]] = weight
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*weight.shape[:-1], blocks, width), -2, 0))


def _matmul(builder: relax.BlockBuilder, call: Any, weight: np.ndarray[Any, Any], limits: Limits) -> Any:
    data = call.args[0]
    if weight.ndim != 2 or len(data.ty.shape) < 2 or 0 in weight.shape:
        return call
    return _product(builder, data, weight, limits, "packed_matmul")


def _conv2d(builder: relax.BlockBuilder, call: Any, weight: np.ndarray[Any, Any], limits: Limits) -> Any:
    attrs = call.attrs
    plain = str(attrs.data_layout) == "NHWC" == str(attrs.out_layout) and str(attrs.kernel_layout) == "HWIO"
    if not plain or any(int(p) for p in attrs.padding):
        return call
    strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
    if int(attrs.groups) == int(call.args[0].ty.shape[3]) == weight.shape[3]:
        return _depthwise(builder, call, weight[:, :, 0], strides, dilation, limits)
    if int(attrs.groups) != 1:
        return call
    if weight.shape[:2] == (1, 1) and strides == [1, 1]:
        return _product(builder, call.args[0], weight[0, 0], limits, "packed_conv1x1")
    return _convolution(builder, call, weight, strides, dilation, limits)


def _product(builder: relax.BlockBuilder, data: Any, weight: np.ndarray[Any, Any], limits: Limits, name: str) -> Any:
    """[…, I] by [I, O] → […, O]."""
    inputs, channels = weight.shape
    width = block_width(channels, limits)
    shape = [int(d) for d in data.ty.shape][:-1]

    def compute(x: Any, w: Any) -> Any:
        k = te.reduce_axis((0, inputs), "k")
        accumulator = te.compute(
            (*shape, -(-channels // width), width),
            lambda *i: te.sum(x(*i[:-2], k) * w[i[-2], k, i[-1]], axis=k),
            name=ACCUMULATOR,
        )
        return te.compute(
            (*shape, channels), lambda *i: accumulator(*i[:-1], i[-1] // width, i[-1] % width), name="unpacked"
        )

    return builder.call_te(compute, data, relax.const(pack(weight, width)), primfunc_name_hint=name)


def _convolution(
    builder: relax.BlockBuilder,
    call: Any,
    weight: np.ndarray[Any, Any],
    strides: list[int],
    dilation: list[int],
    limits: Limits,
) -> Any:
    height, across, inputs, channels = weight.shape
    width = block_width(channels, limits)
    shape = [int(d) for d in call.ty.shape]

    def compute(x: Any, w: Any) -> Any:
        i, j, c = (te.reduce_axis((0, n), a) for n, a in ((height, "i"), (across, "j"), (inputs, "c")))
        accumulator = te.compute(
            (*shape[:3], -(-channels // width), width),
            lambda n, h, v, b, o: te.sum(
                x[n, h * strides[0] + i * dilation[0], v * strides[1] + j * dilation[1], c] * w[b, i, j, c, o],
                axis=[i, j, c],
            ),
            name=ACCUMULATOR,
        )
        return te.compute(shape, lambda n, h, v, o: accumulator[n, h, v, o // width, o % width], name="unpacked")

    return builder.call_te(compute, call.args[0], relax.const(pack(weight, width)), primfunc_name_hint="packed_conv2d")


def _depthwise(
    builder: relax.BlockBuilder,
    call: Any,
    weight: np.ndarray[Any, Any],
    strides: list[int],
    dilation: list[int],
    limits: Limits,
) -> Any:
    """One filter a channel; the input's channels are filled up to whole vectors, mostly as it is padded anyway."""
    height, across, channels = weight.shape
    width, data = limits.lanes, call.args[0]
    shape = [int(d) for d in call.ty.shape]
    if channels % width:
        data = builder.emit(relax.op.nn.pad(data, [0] * 7 + [width - channels % width]))

    def compute(x: Any, w: Any) -> Any:
        i, j = te.reduce_axis((0, height), "i"), te.reduce_axis((0, across), "j")
        accumulator = te.compute(
            (*shape[:3], -(-channels // width), width),
            lambda n, h, v, b, o: te.sum(
                x[n, h * strides[0] + i * dilation[0], v * strides[1] + j * dilation[1], b * width + o] * w[b, i, j, o],
                axis=[i, j],
            ),
            name=ACCUMULATOR,
        )
        return te.compute(shape, lambda n, h, v, o: accumulator[n, h, v, o // width, o % width], name="unpacked")

    return builder.call_te(compute, data, relax.const(pack(weight, width)), primfunc_name_hint="packed_depthwise")
