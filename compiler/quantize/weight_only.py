"""Weights of 8 or 4 bits with floats for everything else: for products whose weights take longer to read than to use,
and for tables of which rows are looked up.

Weights that follow each other along the sum, or the row, share a scale. They become MatMulNBits and
GatherBlockQuantized, which onnxruntime runs too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..errors import UserError
from ..frontend.graph import attributes_of
from .graphs import Array, Graph
from .settings import WEIGHT_BITS, Settings

FUSED = "com.microsoft"  # of operators that hold products
# The most weights that share a scale, by bits: a float of 32 bits for so many adds an eighth to each of 4, half a bit
# to each of 8.
_GROUP = {8: 64, 4: 32}
_LEAST_GROUP = 16  # of MatMulNBits, whose groups are powers of two
_LEAST_WEIGHTS = 1 << 14  # fewer are read in no time
_MOST_PLACES = 96  # of a 1x1 convolution; for more of them weights are read in no time too
# Of 4 bits, parts of a group's range that are tried for the least squared error: a few large weights are cut off for
# the sake of all others. The last is the range that zero is in the middle of.
_PARTS = (*np.linspace(0.7, 1.0, 13), 8 / 7)


def weight_only_products(graph: Graph, settings: Settings) -> dict[str, onnx.NodeProto]:
    """The products, look-ups and 1x1 convolutions whose weights get fewer bits, by name."""
    found = {}
    for node in graph.nodes:
        if not node.domain and node.op_type == "Gather" and _is_table(graph, node, settings):
            found[node.name] = node
        if not node.domain and node.op_type == "Conv" and _is_product(graph, node, settings):
            found[node.name] = node
        if node.domain or node.op_type not in ("MatMul", "Gemm") or node.name in settings.keep:
            continue
        given = attributes_of(node)
        plain = (given.get("alpha", 1.0), given.get("beta", 1.0), given.get("transA", 0)) == (1, 1, 0)
        weights = graph.constant(node.input[1])
        if not plain or weights is None or weights.ndim != 2 or not graph.is_float(node.input[0]):
            continue
        inputs = weights.shape[1 if given.get("transB", 0) else 0]
        if weights.size >= _LEAST_WEIGHTS and inputs % _LEAST_GROUP == 0 and len(graph.shape(node.input[0])) > 1:
            found[node.name] = node
    return found


def quantize_weights_only(graph: Graph, settings: Settings, where: str) -> None:
    """Rewrites those products.

    Raises:
        UserError: there are none.
    """
    products = weight_only_products(graph, settings)
    if not products and not settings.keep:
        what = f"the model has no product or table with {_LEAST_WEIGHTS} constant weights or more"
        raise UserError(what, where, "use --precision int8, int8-dynamic or fp32")
    bits, nodes = WEIGHT_BITS[settings.precision], []
    for node in graph.nodes:
        if node.name not in products:
            nodes.append(node)
            continue
        if node.op_type == "Gather":
            nodes.append(_look_up(graph, node, bits))
            continue
        nodes += (_convolution if node.op_type == "Conv" else _product)(graph, node, bits)
    graph.replace(nodes)


def _product(graph: Graph, node: onnx.NodeProto, bits: int) -> list[onnx.NodeProto]:
    """What stands for a MatMul or Gemm."""
    weights, result = graph.constant(node.input[1]), node.output[0]
    assert weights is not None
    rows = weights if attributes_of(node).get("transB", 0) else weights.T
    bias = node.input[2] if len(node.input) > 2 else ""
    return _multiplied(graph, node.name, node.input[0], rows, bias, result, bits)


def _convolution(graph: Graph, node: onnx.NodeProto, bits: int) -> list[onnx.NodeProto]:
    """What stands for a 1x1 convolution: the product of its places, [N, places, C], and its weights."""
    (data, *_), result, weights = node.input, node.output[0], graph.constant(node.input[1])
    assert weights is not None
    (images, channels, *sizes), outputs = graph.shape(data), len(weights)
    places = math.prod(sizes)
    shapes = [images, channels], [images, outputs]
    if places > 1:
        shapes = [images, channels, places], [images, outputs, places]
    names = [f"{result}/{part}" for part in ("flat", "rows", "sums", "columns")]
    flat = graph.add_constant(f"{result}/flat_shape", np.array(shapes[0]))
    whole = graph.add_constant(f"{result}/shape", np.array([images, outputs, *sizes]))
    bias = node.input[2] if len(node.input) > 2 else ""
    rows, sums = (names[1], names[2]) if places > 1 else (names[0], names[3])
    made = [helper.make_node("Reshape", [data, flat], [names[0]], names[0])]
    if places > 1:
        made.append(helper.make_node("Transpose", [names[0]], [rows], rows, perm=[0, 2, 1]))
    made += _multiplied(graph, node.name, rows, weights.reshape(outputs, channels), bias, sums, bits)
    if places > 1:
        made.append(helper.make_node("Transpose", [sums], [names[3]], names[3], perm=[0, 2, 1]))
    return [*made, helper.make_node("Reshape", [names[3], whole], [result], result)]


def _multiplied(
    graph: Graph, name: str, data: str, rows: Array, bias: str, result: str, bits: int
) -> list[onnx.NodeProto]:
    """data [..., inputs] by weights [outputs, inputs], plus a bias where there is one."""
    group = _group_of(rows, bits)
    packed, scales = pack_groups(np.ascontiguousarray(rows, np.float32), bits, group)
    parts = {"q": packed, "scale": scales}
    inputs = [data, *(graph.add_constant(f"{result}/weights/{part}", array) for part, array in parts.items())]
    product = f"{result}/product" if bias else result
    sizes: dict[str, Any] = {"N": rows.shape[0], "K": rows.shape[1], "bits": bits, "block_size": group}
    made = [helper.make_node("MatMulNBits", inputs, [product], name, domain=FUSED, **sizes)]
    return [*made, helper.make_node("Add", [product, bias], [result], f"{name}/bias")] if bias else made


def _is_product(graph: Graph, node: onnx.NodeProto, settings: Settings) -> bool:
    """Whether a convolution multiplies few places by many constant weights, and each by itself."""
    weights, given, data = graph.constant(node.input[1]), attributes_of(node), graph.shape(node.input[0])
    if weights is None or not graph.is_float(node.input[0]) or node.name in settings.keep or len(data) < 3:
        return False
    moves = {*given.get("strides", ()), *weights.shape[2:], given.get("group", 1)} != {1} or any(given.get("pads", ()))
    places = data[0] * math.prod(data[2:])
    enough = weights.size >= _LEAST_WEIGHTS and weights.shape[1] % _LEAST_GROUP == 0
    return not moves and enough and 0 < places <= _MOST_PLACES


def _is_table(graph: Graph, node: onnx.NodeProto, settings: Settings) -> bool:
    """Whether a Gather looks up rows of a large constant that nobody else reads as floats."""
    table, users = graph.constant(node.input[0]), graph.users[node.input[0]]
    if table is None or table.ndim != 2 or attributes_of(node).get("axis", 0) or not graph.is_float(node.input[0]):
        return False
    alone = all(user.op_type == "Gather" and user.name not in settings.keep for user in users)
    return alone and table.size >= _LEAST_WEIGHTS and table.shape[1] % _LEAST_GROUP == 0


def _look_up(graph: Graph, node: onnx.NodeProto, bits: int) -> onnx.NodeProto:
    name = node.input[0]
    table = graph.constant(name)
    assert table is not None
    group = _group_of(table, bits)
    packed, scales = pack_groups(np.ascontiguousarray(table), bits, group)
    inputs = [
        graph.add_constant(f"{name}/q", packed.reshape(len(table), -1)),
        node.input[1],
        graph.add_constant(f"{name}/scale", scales),
    ]
    sizes: dict[str, Any] = {"bits": bits, "block_size": group, "gather_axis": 0, "quantize_axis": 1}
    return helper.make_node("GatherBlockQuantized", inputs, list(node.output), node.name, domain=FUSED, **sizes)


def _group_of(rows: Array, bits: int) -> int:
    """How many weights of a row share a scale."""
    width = int(rows.shape[1])
    return min(_GROUP[bits], width & -width)


def pack_groups(weights: Array, bits: int, group: int) -> tuple[Array, Array]:
    """Weights [outputs, inputs] in the form of MatMulNBits.

    Returns:
        uint8 [outputs, groups, bytes] of numbers around half of their range, the first in the low bits; scales float32
        [outputs, groups].
    """
    groups = weights.reshape(len(weights), -1, group)
    middle = 1 << (bits - 1)
    at = np.abs(groups).argmax(axis=2)[..., None]
    extreme = np.take_along_axis(groups, at, 2)
    if bits == 8:
        scales = _not_zero(np.abs(extreme) / (middle - 1))
        numbers = np.rint(groups / scales)
    else:  # the number of the largest weight is the one that has no counterpart of the other sign
        best = np.full(extreme.shape, np.inf, np.float32)
        scales, numbers = np.ones_like(extreme), np.zeros_like(groups)
        for part in _PARTS:
            tried = _not_zero(extreme * np.float32(part / -middle))
            rounded = np.clip(np.rint(groups / tried), -middle, middle - 1)
            error = np.square(rounded * tried - groups).sum(axis=2, keepdims=True)
            better = error < best
            best, scales = np.where(better, error, best), np.where(better, tried, scales)
            numbers = np.where(better, rounded, numbers)
    whole = (numbers + middle).astype(np.uint8)
    packed = whole if bits == 8 else whole[..., 0::2] | (whole[..., 1::2] << 4)
    return packed, np.ascontiguousarray(scales[..., 0], np.float32)


def _not_zero(scales: Array) -> Array:
    return np.where(np.abs(scales) > np.finfo(np.float32).tiny, scales, 1).astype(np.float32)
