"""How operators tie the channels of their inputs to those of their results; see `dead_channels.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from .channel_layers import bias_of, is_padded
from .channels import Array, Graph, Joined, Link, attribute_of
from .elementwise import ELEMENTWISE


def _element_wise(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """Operators that make each element of one of each input, spread to one shape."""
    result = graph.shape(node.output[0])
    if result is None:
        return None
    tracked = [name for name in node.input if name in graph.values]
    axes = {graph.values[name].axis - len(graph.shape(name) or ()) for name in tracked}
    sizes = {graph.values[name].size for name in tracked}
    if len(axes) != 1 or sizes != {result[(axis := axes.pop())]}:
        return None
    along: dict[str, int] = {}
    for name in filter(None, node.input):
        shape = graph.shape(name)
        wide = shape is not None and len(shape) >= -axis and shape[axis] > 1
        if name in graph.constants and wide:
            along[name] = len(shape or ()) + axis
        elif shape is None or (name not in graph.values and wide):
            return None
    constant, known = _evaluate(graph, node, tracked, axis)
    graph.follow(node.output[0], len(result) + axis, constant, known)
    return Link(node, tracked, constants=along)


def _evaluate(graph: Graph, node: onnx.NodeProto, tracked: list[str], axis: int) -> tuple[Array, Array]:
    """What an element-wise node makes of channels that are numbers."""
    known = np.logical_and.reduce([graph.values[name].known for name in tracked])
    none = np.zeros(len(known)), np.zeros(len(known), bool)
    feeds, values = {}, []
    for name in dict.fromkeys(filter(None, node.input)):
        shape = [1] * len(graph.shape(name) or ())
        if name in graph.values:
            shape[axis] = len(known)
            kind = helper.tensor_dtype_to_np_dtype(graph.types[name][0])
            feeds[name] = np.where(known, graph.values[name].constant, 1).astype(kind).reshape(shape)
            continue
        array = graph.array(name) if name in graph.constants else None
        if array is None or array.size not in (1, len(known) if len(shape) >= -axis and array.shape[axis] > 1 else 1):
            return none
        feeds[name] = array
    if not known.any():
        return none
    values = [helper.make_tensor_value_info(name, graph.types[name][0], array.shape) for name, array in feeds.items()]
    made = helper.make_graph([node], "constants", values, [onnx.ValueInfoProto(name=node.output[0])])
    single = helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    try:
        with np.errstate(all="ignore"):
            (result,) = ReferenceEvaluator(single).run(None, feeds)
    except Exception:  # the reference lacks the operator or the case: then nothing is known
        return none
    result = np.asarray(result).reshape(-1).astype(np.float64)
    return (result, known & np.isfinite(result)) if result.size == len(known) else none


def _normalise(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """BatchNormalization."""
    (data, *rest), value = node.input, graph.values[node.input[0]]
    if value.axis != 1 or any(name not in graph.constants for name in rest):
        return None
    scale, shift, mean, variance = (graph.array(name).astype(np.float64) for name in rest)
    factor = scale / np.sqrt(variance + attribute_of(node, "epsilon", 1e-5))
    graph.follow(node.output[0], 1, (value.constant - mean) * factor + shift, value.known | (factor == 0))
    return Link(node, [data], constants=dict.fromkeys(rest, 0))


def _depthwise(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """A Conv with a filter a channel."""
    value, size = graph.values.get(node.input[0]), attribute_of(node, "group", 1)
    if value is None or node.input[1] not in graph.constants or any(n not in graph.constants for n in node.input[2:]):
        return None
    weight = graph.array(node.input[1])
    if value.axis != 1 or not size == value.size == len(weight):
        return None
    weight, bias = weight.reshape(size, -1).astype(np.float64), bias_of(graph, node, size)
    fits = value.known & ((value.constant == 0) | ~np.bool_(is_padded(node)))
    sums = np.where(fits, value.constant, 0) * weight.sum(axis=1)
    assert bias is not None
    graph.follow(node.output[0], 1, sums + bias, fits | ~weight.any(axis=1))
    return Link(node, [node.input[0]], constants=dict.fromkeys(filter(None, node.input[1:]), 0))


def _pool(graph: Graph, node: onnx.NodeProto) -> Link | None:
    value = graph.values[node.input[0]]
    if value.axis != 1:
        return None
    counts_zeros = bool(attribute_of(node, "count_include_pad", 0)) and (
        is_padded(node) or bool(attribute_of(node, "ceil_mode", 0))
    )
    known = value.known & ((value.constant == 0) | ~np.bool_(counts_zeros))
    graph.follow(node.output[0], 1, value.constant, known)
    return Link(node, [node.input[0]])


def _reduce(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """Means and extrema along other axes than that of the channels."""
    value, rank = graph.values[node.input[0]], len(graph.shape(node.input[0]) or ())
    if len(node.input) < 2 or node.input[1] not in graph.constants:
        return None
    axes = {int(axis) % rank for axis in graph.array(node.input[1])}
    if not axes or value.axis in axes:
        return None
    before = 0 if attribute_of(node, "keepdims", 1) else sum(axis < value.axis for axis in axes)
    graph.follow(node.output[0], value.axis - before, value.constant, value.known)
    return Link(node, [node.input[0]])


def _reshape(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """Flatten, Reshape, Squeeze and Unsqueeze that leave what is before the channels, and each channel together."""
    value = graph.values[node.input[0]]
    shape, result = graph.shape(node.input[0]), graph.shape(node.output[0])
    axis, size = value.axis, value.size
    if shape is None or result is None or len(result) <= axis or shape[:axis] != result[:axis]:
        return None
    if node.op_type == "Reshape" and node.input[1] not in graph.constants:
        return None
    inside = math.prod(shape[axis + 1 :])
    if result[axis] == size:
        each = 1
    elif len(result) == axis + 1:
        each = inside
    else:
        return None
    graph.follow(node.output[0], axis, np.repeat(value.constant, each), np.repeat(value.known, each))
    return Link(node, [node.input[0]], each)


def _transpose(graph: Graph, node: onnx.NodeProto) -> Link | None:
    value, rank = graph.values[node.input[0]], len(graph.shape(node.input[0]) or ())
    order = list(attribute_of(node, "perm", range(rank - 1, -1, -1)))
    graph.follow(node.output[0], order.index(value.axis), value.constant, value.known)
    return Link(node, [node.input[0]])


def _concatenate(graph: Graph, node: onnx.NodeProto) -> Link | None:
    tracked = [name for name in node.input if name in graph.values]
    axis, axes = attribute_of(node, "axis", 0), {graph.values[name].axis for name in tracked}
    axis += len(graph.shape(tracked[0]) or ()) if axis < 0 else 0
    if len(tracked) < len(node.input) or axes != {axis} or len(set(tracked)) < len(tracked):
        return None
    values = [graph.values[name] for name in tracked]
    constant, known = (np.concatenate([getattr(value, key) for value in values]) for key in ("constant", "known"))
    graph.follow(node.output[0], axis, constant, known)
    return Joined(node, tracked)


def _pad(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """Pad, but not by channels."""
    value, shape, result = graph.values[node.input[0]], graph.shape(node.input[0]), graph.shape(node.output[0])
    if shape is None or result is None or any(node.input[3:]) or node.input[1] not in graph.constants:
        return None
    pads = graph.array(node.input[1])
    if pads[value.axis] or pads[value.axis + len(shape)]:
        return None
    filler = node.input[2] if len(node.input) > 2 else ""
    if filler and filler not in graph.constants:
        return None
    same = value.constant == (float(graph.array(filler).reshape(-1)[0]) if filler else 0.0)
    known = value.known & (same | (attribute_of(node, "mode", b"constant") != b"constant"))
    graph.follow(node.output[0], value.axis, value.constant, known)
    return Link(node, [node.input[0]])


def _resize(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """By factors; what is interpolated of equal numbers may differ in the last place."""
    value = graph.values[node.input[0]]
    given = [name for name in node.input[1:] if name and graph.shape(name) != (0,)]
    if given != list(node.input[2:3]) or given[0] not in graph.constants or attribute_of(node, "axes", ()):
        return None
    if graph.array(given[0])[value.axis] != 1:
        return None
    nearest = attribute_of(node, "mode", b"nearest") == b"nearest"
    graph.follow(node.output[0], value.axis, value.constant, value.known & nearest)
    return Link(node, [node.input[0]])


LINKS: dict[str, Callable[[Graph, onnx.NodeProto], Link | None]] = {
    **dict.fromkeys(ELEMENTWISE, _element_wise),
    "AveragePool": _pool,
    "BatchNormalization": _normalise,
    "Concat": _concatenate,
    "Conv": _depthwise,
    "Flatten": _reshape,
    "GlobalAveragePool": _pool,
    "GlobalMaxPool": _pool,
    "MaxPool": _pool,
    "Pad": _pad,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "Reshape": _reshape,
    "Resize": _resize,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
