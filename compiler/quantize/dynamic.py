"""Products that quantise what they read when they run, with weights that are 8-bit integers from the beginning."""

from __future__ import annotations

import onnx
from onnx import helper

from ..errors import UserError
from ..frontend.graph import attributes_of
from .affine import channel_axis
from .graphs import Graph
from .places import find_places
from .settings import Settings
from .weight_range import limit_of
from .weights import quantize_weights


def quantize_dynamically(graph: Graph, settings: Settings, where: str) -> None:
    """Rewrites products of matrices with constant weights: x @ w + b becomes (xq @ wq) * (xs * ws) + b, where
    DynamicQuantizeLinear makes xq (uint8), its scale xs and its zero point of x.

    Raises:
        UserError: there is no such product.
    """
    products = find_places(graph, settings).products
    if not settings.keep and not any(node.op_type in ("Gemm", "MatMul") for node in products.values()):
        reason = "no Gemm or MatMul outside of branches has fixed weights"
        what = f"nothing in the model can be quantised when it runs: {reason}"
        raise UserError(what, where, "use --precision int8 with --calibration DATA, or fp32")
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.nodes:
        if node.name not in products or node.op_type not in ("Gemm", "MatMul"):
            nodes.append(node)
            continue
        data, result = node.input[0], node.output[0]
        parts = [f"{data}/dynamic", f"{data}/dynamic_scale", f"{data}/dynamic_zero_point"]
        if data not in quantized:
            quantized.add(data)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [data], parts, name=parts[0]))
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
