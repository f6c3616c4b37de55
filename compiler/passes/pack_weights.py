"""Convolutions and products with constant weights, on weights laid out for the kernel that reads them.

The output channels are cut into blocks of NR, and a block's weights stand in the order in which the inner
loop needs them: [O / NR][kernel][I][NR], the last block filled up with zeros. Each load is then a whole
aligned vector, consecutive in memory. See Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", SC 2018 (arXiv:1808.05567).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from ..kernels.depthwise import is_wide
from ..kernels.limits import Limits
from ..kernels.packed import ACCUMULATOR, CONVERTED, block_choices, block_width
from ..kernels.weight_limit import WORD, has_few_channels, in_runs
from ..operators.distances import DISTANCES, distance_term
from .choices import Choices
from .constants import constant
from .depthwise_pairs import depthwise_pairs
from .depthwise_runs import depthwise_runs, taps_of_run
from .depthwise_words import depthwise_words
from .integer_offsets import fold_integer_offsets
from .matrix_products import matrix_product
from .numbers import FLOATS, WIDE, Numbers, fill_up, numbers_of
from .partial_products import partial_product
from .patches import patches, takes_patches
from .rewrite import fuse_elementwise, is_channels_last, operator_of, rewrite_calls, shape_of

_DOT = "dot_product"
SHORT_RUN = 10  # bytes of a kernel's row, which fill too little of a vector along the sum
_EXACT_TAPS = 512  # products of 8-bit integers that float32 sums without rounding


def pack_weights(
    module: tvm.IRModule, limits: Limits, stored: str | None = None, choices: Choices | None = None
) -> tvm.IRModule:
    """Rewrites conv2d (NHWC, no padding; one group, or one a channel), and matmul by and distances to a constant.

    Of float32, or of 8-bit integers with sums in int32.

    Args:
        stored: the type that float32 will have in memory, if it is another.
    """

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        name = operator_of(call)
        if name not in ("relax.nn.conv2d", "relax.matmul", DISTANCES):
            return call
        weight = call.args[1]
        if not isinstance(weight, ir.GenericConst) or 0 in [int(d) for d in call.ty.shape]:
            return call
        numbers = numbers_of(call, limits, stored)
        if numbers is None:
            return call
        own = choose_block(call, numbers.limits(limits), choices)
        if name == "relax.matmul":
            return _matmul(builder, call, weight.value.numpy(), numbers, own)
        if name == DISTANCES:
            return _distances(builder, call, weight.value.numpy(), own)
        return _conv2d(builder, call, weight.value.numpy(), numbers, own)

    return fuse_elementwise(fold_integer_offsets(rewrite_calls(module, visit)), ("packed_", _DOT))


def choose_block(call: Any, limits: Limits, choices: Choices | None, side: int = 1) -> Limits:
    """The limits, with the width of blocks of output channels that was chosen for an operator.

    Args:
        side: of the squares of results that are one row of a product each.
    """
    *_, lines, rows, channels = (1, 1, 1, *shape_of(call))
    image = operator_of(call) == "relax.nn.conv2d"
    if channels <= limits.lanes or (image and int(call.attrs.groups) != 1):
        return limits  # weights of groups come otherwise
    of_bytes = str(call.args[0].ty.dtype) in ("int8", "uint8")
    options = block_choices(channels, -(-lines // side) if image else 1, -(-rows // side), limits, of_bytes)
    taken = options[0] if choices is None or len(options) == 1 else choices.pick("block", call, options[0], options)
    return replace(limits, block_vectors=taken)


def pack(weight: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """[…, I, O] → [ceil(O / width), …, I, width], filled up with zeros."""
    blocks = -(-weight.shape[-1] // width)
    missing = blocks * width - weight.shape[-1]
    if missing:
        weight = np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(np.moveaxis(weight.reshape(*weight.shape[:-1], blocks, width), -2, 0))


def _matmul(
    builder: relax.BlockBuilder, call: Any, weight: np.ndarray[Any, Any], numbers: Numbers, limits: Limits
) -> Any:
    if weight.ndim != 2 or len(call.args[0].ty.shape) < 2 or 0 in weight.shape:
        return call
    data, fix = numbers.accept(builder, call.args[0], weight)
    return fix(_product(builder, data, weight, numbers, limits, "packed_matmul"))


def _distances(builder: relax.BlockBuilder, call: Any, points: np.ndarray[Any, Any], limits: Limits) -> Any:
    """The points are laid out as the weights of a product; another term is summed."""
    power, width = int(call.attrs["power"]), block_width(points.shape[1], limits)

    def term(x: Any, w: Any, i: Any, r: Any) -> Any:
        row, block, lane = i
        return distance_term(x(row, *r), w(block, *r, lane), power)

    shape = [int(d) for d in call.ty.shape]
    return packed_call(builder, call.args[0], pack(points, width), shape, [points.shape[0]], term, "packed_distances")


def _conv2d(
    builder: relax.BlockBuilder, call: Any, weight: np.ndarray[Any, Any], numbers: Numbers, limits: Limits
) -> Any:
    attrs = call.attrs
    plain = is_channels_last(call)
    if not plain or any(int(p) for p in attrs.padding):
        return call
    strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
    if int(attrs.groups) == int(call.args[0].ty.shape[3]) == weight.shape[3]:
        if numbers.group == WORD and limits.byte_pairs and weight.min() > -128:
            data, fix = numbers.accept(builder, call.args[0], weight)
            shape = [int(d) for d in call.ty.shape]
            return fix(depthwise_pairs(builder, data, weight[:, :, 0], shape, strides, dilation))
        return _depthwise(builder, call, weight[:, :, 0], strides, dilation, numbers, limits)
    if int(attrs.groups) != 1:
        width = _grouped_width(weight, int(attrs.groups), numbers, limits)
        if not width:
            return call
        data, fix = numbers.accept(builder, call.args[0], weight)
        shape, per_group = [int(d) for d in call.ty.shape], weight.shape[3] // int(attrs.groups)
        return fix(_grouped(builder, data, shape, weight, strides, dilation, numbers, width, per_group))
    data, fix = numbers.accept(builder, call.args[0], weight)
    if weight.shape[:2] == (1, 1) and strides == [1, 1]:
        return fix(_product(builder, data, weight[0, 0], numbers, limits, "packed_conv1x1"))
    shape = [int(d) for d in call.ty.shape]
    return fix(_convolution(builder, data, shape, weight, strides, dilation, numbers, limits))


def _product(
    builder: relax.BlockBuilder,
    data: Any,
    weight: np.ndarray[Any, Any],
    numbers: Numbers,
    limits: Limits,
    name: str,
) -> Any:
    """[…, I] by [I, O] → […, O]."""
    inputs, channels = weight.shape
    shape = [*(int(d) for d in list(data.ty.shape)[:-1]), channels]
    if channels == 1 and inputs >= limits.lanes and numbers.group == 1:
        return _dot_product(builder, data, weight[:, 0], shape)
    if numbers.group == WORD and limits.partial_sums:
        return partial_product(builder, data, weight, shape, limits, name)
    if numbers.group == WORD and limits.matrices and shape[-2] > 1:
        return matrix_product(builder, data, weight, shape, limits, name)
    data, weight = fill_up(builder, data, weight, numbers.group)

    def term(x: Any, w: Any, i: Any, r: Any) -> Any:
        *rows, block, lane = i
        return numbers.multiply(lambda k: x(*rows, k), r[0], w(block, *r, lane))

    packed = numbers.join(pack(weight, block_width(channels, limits)))
    return packed_call(builder, data, packed, shape, [packed.shape[1]], term, name, numbers.dtype)


def _dot_product(builder: relax.BlockBuilder, data: Any, weight: np.ndarray[Any, Any], shape: list[int]) -> Any:
    """[…, I] by [I] → […, 1]: vectors run along I, where a tile of columns would be empty but for one."""

    def compute(x: Any, w: Any) -> Any:
        r = te.reduce_axis((0, len(weight)), "r")
        return te.compute(shape, lambda *i: te.sum(x(*i[:-1], r) * w(r), axis=r), name=_DOT)

    return builder.call_te(compute, data, constant(weight), primfunc_name_hint=_DOT)


def _convolution(
    builder: relax.BlockBuilder,
    data: Any,
    shape: list[int],
    weight: np.ndarray[Any, Any],
    strides: list[int],
    dilation: list[int],
    numbers: Numbers,
    limits: Limits,
) -> Any:
    if numbers.group == WORD and limits.partial_sums:
        if takes_patches(weight.shape[:3], shape, dilation[1], limits):
            data = patches(builder, data, weight.shape[:3], shape, [strides, dilation])
            return partial_product(builder, data, weight.reshape(-1, weight.shape[3]), shape, limits, "packed_conv2d")
        if weight.shape[1] * weight.shape[2] > SHORT_RUN:
            return partial_product(builder, data, weight, shape, limits, "packed_conv2d", strides, dilation)
        numbers, data = WIDE, builder.emit(relax.op.astype(data, WIDE.dtype))
    if numbers.group == WORD and limits.matrices and shape[2] > 1:
        return matrix_product(builder, data, weight, shape, limits, "packed_conv2d", strides, dilation)
    *kernel, inputs, channels = weight.shape
    width = block_width(channels, limits)
    words = numbers.group == WORD and "uint8" in limits.dot_data
    few = words and has_few_channels(inputs, kernel[1], dilation[1])
    if not few:
        data, weight = fill_up(builder, data, weight, numbers.group)
        inputs = weight.shape[2]
        few = limits.by_element and inputs // numbers.group % limits.lanes != 0 and dilation[1] == 1
    if few:
        # Few channels, as of a picture: a row of the kernel is one run of elements, of which vectors can be read.
        weight = in_runs(weight, numbers.group)
        numbers = numbers.of_words(weight, limits)
        n, height, columns, _inputs = (int(d) for d in data.ty.shape)
        data = builder.emit(relax.op.reshape(data, [n, height, columns * inputs]))
        beyond = (shape[2] - 1) * strides[1] * inputs + weight.shape[2] - columns * inputs
        if beyond > 0:
            data = builder.emit(relax.op.nn.pad(data, [0] * 5 + [beyond]))
        packed = numbers.join(pack(weight, width))

        def run(x: Any, w: Any, i: Any, r: Any) -> Any:
            n, y, column, block, lane = i
            row, begin = y * strides[0] + r[0] * dilation[0], column * (strides[1] * inputs)
            return numbers.multiply(lambda k: x(n, row, begin + k), r[2], w(block, *r, lane))

        return packed_call(builder, data, packed, shape, list(packed.shape[1:4]), run, "packed_conv2d", numbers.dtype)

    def term(x: Any, w: Any, i: Any, r: Any) -> Any:
        n, *at, block, lane = i
        place = _window(at, r, strides, dilation)
        return numbers.multiply(lambda k: x(n, *place, k), r[2], w(block, *r, lane))

    packed = numbers.join(pack(weight, width))
    return packed_call(builder, data, packed, shape, list(packed.shape[1:4]), term, "packed_conv2d", numbers.dtype)


def _grouped_width(weight: np.ndarray[Any, Any], groups: int, numbers: Numbers, limits: Limits) -> int:
    """The widest block of output channels that stays within a group; 0 for what is left to other rules.

    These are floats, whose vectors run along all groups, and what has no steps of unsigned data, as ARM.
    """
    words = numbers.group == WORD and weight.shape[2] % WORD == 0 and "uint8" in limits.dot_data
    outputs = weight.shape[3] // groups
    widths = (2 * limits.lanes, limits.lanes, limits.lanes // 2, limits.lanes // 4)
    return next((w for w in widths if w >= WORD and outputs % w == 0), 0) if words else 0


def _grouped(
    builder: relax.BlockBuilder,
    data: Any,
    shape: list[int],
    weight: np.ndarray[Any, Any],
    strides: list[int],
    dilation: list[int],
    numbers: Numbers,
    width: int,
    per_group: int,
) -> Any:
    """A convolution whose blocks of `width` output channels read the input channels of their group."""
    inputs = weight.shape[2]

    def term(x: Any, w: Any, i: Any, r: Any) -> Any:
        n, *at, block, lane = i
        place = _window(at, r, strides, dilation)
        begin = tirx.floordiv(block, per_group // width) * inputs
        return numbers.multiply(lambda k: x(n, *place, begin + k), r[2], w(block, *r, lane))

    packed = numbers.join(pack(weight, width))
    return packed_call(builder, data, packed, shape, list(packed.shape[1:4]), term, "packed_conv2d")


def _depthwise(
    builder: relax.BlockBuilder,
    call: Any,
    weight: np.ndarray[Any, Any],
    strides: list[int],
    dilation: list[int],
    numbers: Numbers,
    limits: Limits,
) -> Any:
    """One filter a channel; the input's channels are filled up to whole vectors, mostly as it is padded anyway.

    Steps of integers run down the columns of the kernel. As the sums of a tile are next to each other, most of them
    need the same words of data, which depthwise_words.py makes for more channels at once.
    """
    *kernel, channels = weight.shape
    shape = [int(d) for d in call.ty.shape]
    if numbers.group == WORD and limits.taps == "float32" and taps_of_run(weight) > 1:
        width = _depthwise_width(channels, 2 * limits.lanes)
        return depthwise_runs(builder, call.args[0], weight, shape, strides, dilation, width)
    width = _depthwise_width(channels, limits.lanes)
    numbers = FLOATS if numbers.dtype == "bfloat16" else numbers
    words = numbers.group == 1 or limits.taps == "words"
    data, fix = numbers.accept(builder, call.args[0], weight) if words else (call.args[0], lambda result: result)
    if numbers.group == WORD and words and is_wide(channels, math.prod(kernel), limits):
        return fix(depthwise_words(builder, data, weight, shape, strides, dilation, numbers, limits))
    if channels % width:
        data = builder.emit(relax.op.nn.pad(data, [0] * 7 + [width - channels % width]))
    if not words:
        sums = limits.taps if math.prod(kernel) <= _EXACT_TAPS else "int32"

        def product(x: Any, w: Any, i: Any, r: Any) -> Any:
            n, *at, block, lane = i
            value = x(n, *_window(at, r, strides, dilation), block * width + lane)
            return value.astype(sums) * w(block, *r, lane).astype(sums)

        packed = pack(weight, width)
        return packed_call(builder, data, packed, shape, kernel, product, "packed_depthwise", result="int32")
    numbers, steps = numbers.of_taps(weight, limits)

    def term(x: Any, w: Any, i: Any, r: Any) -> Any:
        n, *at, block, lane = i

        def element(row: Any) -> Any:
            value = x(n, *_window(at, (row, r[1]), strides, dilation), block * width + lane)
            inside = len(steps) * numbers.group == kernel[0]
            return value if inside else tirx.if_then_else(row < kernel[0], value, tirx.const(0, numbers.dtype))

        return numbers.multiply(element, r[0], w(block, *r, lane))

    half = "float16" if numbers.dtype == "float16" else None
    reduced = list(steps.shape[:2])
    return fix(packed_call(builder, data, pack(steps, width), shape, reduced, term, "packed_depthwise", half))


def _depthwise_width(channels: int, lanes: int) -> int:
    """The vector with the least work: a tail of its channels is written one by one, for half a vector's time each."""
    widths = (lanes, lanes // 2) if lanes > 4 else (lanes,)
    return min(widths, key=lambda width: -(-channels // width) + channels % width / 2)


def _window(at: Any, r: Any, strides: list[int], dilation: list[int]) -> list[Any]:
    """The input's row and column for an output's, and the kernel's."""
    return [a * s + k * d for a, k, s, d in zip(at, r, strides, dilation, strict=False)]


def packed_call(
    builder: relax.BlockBuilder,
    data: Any,
    weight: np.ndarray[Any, Any],
    shape: list[int],
    reduced: list[int],
    term: Callable[[Any, Any, Any, Any], Any],
    name: str,
    dtype: str | None = None,
    result: str | None = None,
) -> Any:
    """The call of a program that sums into blocks of channels, and takes the channels out of them.

    Args:
        weight: packed, [block, …, lane].
        shape: of the result, channels last.
        reduced: extents of the axes that are summed over.
        term: of data, weights, an element […, block, lane], and the reduced axes: what is summed.
        dtype: of the numbers that are multiplied, to which float32 data is rounded.
        result: type of the result, if not that of the sums, or float32 of those in float16.
    """
    blocks, width = weight.shape[0], weight.shape[-1]

    def compute(given: Any, w: Any) -> Any:
        x = given
        if dtype == "bfloat16":  # as bits, which TVM does not turn into float32
            x = te.compute(given.shape, lambda *i: tirx.reinterpret("uint16", given(*i).astype(dtype)), name=CONVERTED)
        elif dtype == "float16":
            x = te.compute(given.shape, lambda *i: given(*i).astype(dtype), name=CONVERTED)
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate(reduced)]
        sums = te.compute((*shape[:-1], blocks, width), lambda *i: te.sum(term(x, w, i, r), axis=r), name=ACCUMULATOR)
        made = result or ("float32" if dtype == "float16" else str(sums.dtype))

        def unpacked(*i: Any) -> Any:
            return sums(*i[:-1], i[-1] // width, i[-1] % width).astype(made)

        return te.compute(shape, unpacked, name="unpacked")

    return builder.call_te(compute, data, constant(weight), primfunc_name_hint=name)
