"""Products that quantise what they read when they run, with weights that are 8-bit integers from the beginning.

Convolutions do where the target has instructions for dot products: a pass over the data finds their range, another
rounds them, and what is multiplied often enough then takes less in all. Measured beside float32 with VNNI: of 1x1 from
1.2 times as fast (16 multiplications of an element) over 1.7 (144) to 3.1 (1024), of 3x3 beside Winograd's from 1.1 on.

Recurrent layers keep their operators, with dequantised data and weights: what says that their state may be rounded in
each step as well is that the data are (frontend/integer_recurrent.py).
"""

from __future__ import annotations

import math

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
# Of a convolution: multiplications of each element of the data, and all of them.
_LEAST_REUSE, _LEAST_MACS = 16, 1 << 19
_UNSIGNED = 128  # onnxruntime has no ConvInteger of weights with signs


def quantize_dynamically(graph: Graph, settings: Settings, where: str) -> None:
    """Rewrites products with constant weights: x @ w + b becomes (xq @ wq) * (xs * ws) + b, where DynamicQuantizeLinear
    makes xq (uint8), its scale xs and its zero point of x; and recurrent layers.

    Raises:
        UserError: there is no such product.
    """
    places = find_places(graph, settings).products
    products = {name for name, node in places.items() if node.op_type in _MATRICES}
    products |= {name for name, node in places.items() if node.op_type == "Conv" and _pays(graph, node, settings)}
    if not settings.keep and not products and not recurrent_layers(graph, settings):
        reason = "no Gemm, MatMul, LSTM, GRU, RNN or large Conv outside of branches has fixed weights"
        what = f"nothing in the model can be quantised when it runs: {reason}"
        raise UserError(what, where, "use --precision int8 with --calibration DATA, or fp32")
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.nodes:
        if node.name not in products:
            nodes.append(node)
            continue
        data, result = node.input[0], node.output[0]
        parts = _parts(data)
        if data not in quantized:
            quantized.add(data)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [data], parts, name=parts[0]))
        weights = graph.constant(node.input[1])
        assert weights is not None
        convolution, column = node.op_type == "Conv", [1] * (weights.ndim - 2)
        axis = channel_axis(node) if settings.per_channel else None
        integers, scales = quantize_weights(weights, axis, limit_of(graph, node, weights, settings))
        if attributes_of(node).get("transB", 0):
            integers = integers.T
        if scales.ndim:
            scales = scales.reshape(-1, *column)
        inputs = [parts[0], "", parts[2]]
        if convolution:
            integers = (integers.astype(np.int16) + _UNSIGNED).astype(np.uint8)
            inputs.append(graph.add_constant(f"{result}/weights/zero_point", np.asarray(_UNSIGNED, np.uint8)))
        inputs[1] = graph.add_constant(f"{result}/weights/q", integers)
        ws = graph.add_constant(f"{result}/weights/scale", scales)
        bias = node.input[2] if len(node.input) > 2 else ""
        total = f"{result}/scaled" if bias else result
        sums, floats, step = f"{result}/sums", f"{result}/floats", f"{result}/step"
        product = helper.make_node("ConvInteger" if convolution else "MatMulInteger", inputs, [sums], name=node.name)
        if convolution:
            product.attribute.extend(node.attribute)
        nodes += [
            product,
            helper.make_node("Cast", [sums], [floats], name=floats, to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [parts[1], ws], [step], name=step),
            helper.make_node("Mul", [floats, step], [total], name=total),
        ]
        if bias and convolution:
            shape = graph.add_constant(f"{result}/column", np.array([-1, *column]))
            nodes.append(helper.make_node("Reshape", [bias, shape], [f"{result}/bias"], name=f"{result}/bias"))
            bias = f"{result}/bias"
        if bias:
            nodes.append(helper.make_node("Add", [total, bias], [result], name=result))
    graph.replace(nodes)
    quantize_recurrent(graph, settings)


def recurrent_layers(graph: Graph, settings: Settings) -> list[str]:
    """Names of the recurrent layers that `quantize_recurrent` rewrites."""
    return [node.name for node in graph.nodes if _is_layer(graph, node) and node.name not in settings.keep]


def quantize_recurrent(graph: Graph, settings: Settings) -> None:
    """Rewrites recurrent layers with constant weights."""
    layers, nodes, made = set(recurrent_layers(graph, settings)), list[onnx.NodeProto](), set(graph.producer)
    for node in graph.nodes:
        if node.name in layers:
            parts, real = _parts(node.input[0]), f"{node.name}/data"
            if parts[0] not in made:
                made.add(parts[0])
                nodes.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], parts, name=parts[0]))
            nodes.append(helper.make_node("DequantizeLinear", parts, [real], name=real))
            nodes += _with_integers(graph, node, real, settings)
        else:
            nodes.append(node)
    graph.replace(nodes)


def _parts(data: str) -> list[str]:
    """The names of data in 8 bits, of their scale and of their zero point."""
    return [f"{data}/dynamic", f"{data}/dynamic_scale", f"{data}/dynamic_zero_point"]


def _pays(graph: Graph, node: onnx.NodeProto, settings: Settings) -> bool:
    """Whether a convolution saves more than finding the range of its data and rounding them takes."""
    if not settings.dots or attributes_of(node).get("group", 1) != 1:
        return False
    data, weights, result = (graph.shape(name) for name in (*node.input[:2], node.output[0]))
    macs = math.prod(result) * math.prod(weights[1:])
    return macs >= max(_LEAST_MACS, _LEAST_REUSE * math.prod(data))


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
