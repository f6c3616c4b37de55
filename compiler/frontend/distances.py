"""Pairwise distances: a Scan that takes one point after another becomes one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .composer import Composer
from .domains import PROGRAMS
from .graph import attributes_of
from .programs import type_attributes

LARGEST_POWER = 8


def scanned_distances(call: Composer) -> Sequence[str] | None:
    """`Scan(x, points)` whose body leaves x [N, K] as it is, and makes Σ |x[i, k] - point[k]| ^ p for each point.

    So skl2onnx writes the metrics euclidean, manhattan and minkowski.
    """
    data, points = call.node.input if len(call.node.input) == 2 else ("", "")
    (elem_type, shape), (_, other) = call.type(data), call.type(points)
    lists = ("scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions")
    if any(any(call.attributes.get(name, ())) for name in lists) or call.attributes["num_scan_inputs"] != 1:
        return None
    if elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE) or not shape or not other:
        return None
    if len(shape) != 2 or len(other) != 2 or shape[1] != other[1] or 0 in (*shape, *other):
        return None
    power = _power_of(call.attributes["body"])
    if power is None:
        return None
    attributes = type_attributes((elem_type, (shape[0], other[0])))
    turned = call("Transpose", points, perm=[1, 0])
    made = call("Distances", data, turned, domain=PROGRAMS, power=power, **attributes)
    return [data, call("Transpose", made, perm=[1, 0])]


def _power_of(body: onnx.GraphProto) -> int | None:
    """p, if the body is one of those described above."""
    producers = {name: node for node in body.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}
    for node in body.node:
        if node.op_type == "Constant" and not node.domain and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def maker(name: str) -> onnx.NodeProto | None:
        """The node that makes a value; nodes without effect are passed over."""
        node = producers.get(name)
        while node is not None and node.op_type == "Identity" and not node.domain:
            name = node.input[0]
            node = producers.get(name)
        return node

    def source(name: str) -> str:
        while name in producers and producers[name].op_type == "Identity" and not producers[name].domain:
            name = str(producers[name].input[0])
        return name

    if len(body.input) != 2 or len(body.output) != 2 or source(body.output[0].name) != body.input[0].name:
        return None
    total = maker(body.output[1].name)
    if total is None or total.domain or total.op_type not in ("ReduceSumSquare", "ReduceSum"):
        return None
    attributes = attributes_of(total)
    axes: Any = attributes.get("axes")
    if axes is None and len(total.input) > 1 and total.input[1] in constants:
        axes = constants[total.input[1]].tolist()
    if list(axes or []) not in ([1], [-1]) or attributes.get("keepdims", 1):
        return None
    inner, power = maker(total.input[0]), 2
    if total.op_type == "ReduceSum":
        power = 1
        if inner is not None and inner.op_type == "Pow" and not inner.domain:
            exponent = constants.get(inner.input[1], np.zeros(0))
            if exponent.size != 1 or exponent.item() != round(exponent.item()):
                return None
            inner, power = maker(inner.input[0]), round(exponent.item())
        even = power % 2 == 0 and inner is not None and inner.op_type == "Sub"
        if not even:
            if inner is None or inner.op_type != "Abs" or inner.domain:
                return None
            inner = maker(inner.input[0])
    if inner is None or inner.op_type != "Sub" or inner.domain or not 1 <= power <= LARGEST_POWER:
        return None
    return power if {source(name) for name in inner.input} == {value.name for value in body.input} else None
