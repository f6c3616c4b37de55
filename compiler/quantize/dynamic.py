"""Products that quantise what they read when they run, with weights that are 8-bit integers from the beginning.

Recurrent layers keep their operators, with dequantised data and weights: what says that their state may be rounded in
each step as well is that the data are (frontend/integer_recurrent.py).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from ..errors import UserError
from ..frontend.graph import attributes_of
from ..frontend.quantised import RECURRENT
from .affine import channel_axis
from .graphs import Graph
from .places import find_places
from .settings import Settings
from .weight_range import limit_of
from .weights import quantize_weights

_MATRICES = ("Gemm", "MatMul")


def quantize_dynamically(graph: Graph, settings: Settings, where: str) -> None:
    """Rewrites products of matrices with constant weights: x @ w + b becomes (xq @ wq) * (xs * ws) + b, where
    DynamicQuantizeLinear makes xq (uint8), its scale xs and its zero point of x; and recurrent layers.

    Raises:
        UserError: there is no such product.
    """
    products = {name: node for name, node in find_places(graph, settings).products.items() if node.op_type in _MATRICES}
    layers = {node.name for node in graph.nodes if _is_layer(graph, node) and node.name not in settings.keep}
    if not settings.keep and not products and not layers:
        reason = "no Gemm, MatMul, LSTM, GRU or RNN outside of branches has fixed weights"
        what = f"nothing in the model can be quantised when it runs: {reason}"
        raise UserError(what, where, "use --precision int8 with --calibration DATA, or fp32")
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.nodes:
        if node.name not in products and node.name not in layers:
            nodes.append(node)
            continue
        data, result = node.input[0], node.output[0]
        parts = [f"{data}/dynamic", f"{data}/dynamic_scale", f"{data}/dynamic_zero_point"]
        if data not in quantized:
            quantized.add(data)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [data], parts, name=parts[0]))
        if node.name in layers:
            real = f"{node.name}/data"
            nodes.append(helper.make_node("DequantizeLinear", parts, [real], name=real))
            nodes += _with_integers(graph, node, real, settings)
            continue
        weights = graph.constant(node.input[1])
        assert weights is not None
        limit = limit_of(graph, node, weights, settings)
        axis = channel_axis(node) if settings.per_channel else None
        integers, scales = quantize_weights(weights, axis, limit)
        if attributes_of(node).get("transB", 0):
            integers = integers.T
        w = graph.add_constant(f"{result}/weights/q", integers)
        ws = graph.add_constant(f"{result}/weights/scale", scales)
        bias = node.input[2] if len(node.input) > 2 else ""
        total = f"{result}/scaled" if bias else result
        sums, floats, step = f"{result}/sums", f"{result}/floats", f"{result}/step"
        nodes += [
            helper.make_node("MatMulInteger", [parts[0], w, parts[2]], [sums], name=node.name),
            helper.make_node("Cast", [sums], [floats], name=floats, to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [parts[1], ws], [step], name=step),
            helper.make_node("Mul", [floats, step], [total], name=total),
        ]
        if bias:
            nodes.append(helper.make_node("Add", [total, bias], [result], name=result))
    graph.replace(nodes)


def _is_layer(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a recurrent layer has constant weights, and anything to compute."""
    if node.domain or node.op_type not in RECURRENT or not graph.is_float(node.input[0]):
        return False
    return all(map(graph.is_constant, node.input[1:3])) and 0 not in graph.shape(node.input[0])


def _with_integers(graph: Graph, node: onnx.NodeProto, data: str, settings: Settings) -> list[onnx.NodeProto]:
    """A recurrent layer with weights of 8 bits, [direction, row, column] with a scale for each row."""
    nodes, inputs = [], [data]
    for place in (1, 2):
        weights = graph.constant(node.input[place])
        assert weights is not None
        name = f"{node.name}/weights{place}"
        rows = weights.reshape(-1, weights.shape[2])
        integers, scales = quantize_weights(rows, 0 if settings.per_channel else None)
        parts = [
            graph.add_constant(f"{name}/q", integers),
            graph.add_constant(f"{name}/scale", scales),
            graph.add_constant(f"{name}/zero_point", np.zeros_like(scales, np.int8)),
        ]
        shape = graph.add_constant(f"{name}/shape", np.array(weights.shape))
        nodes += [
            helper.make_node("DequantizeLinear", parts, [f"{name}/rows"], name=f"{name}/rows", axis=0),
            helper.make_node("Reshape", [f"{name}/rows", shape], [name], name=name),
        ]
        inputs.append(name)
    node.input[:3] = inputs
    return [*nodes, node]
