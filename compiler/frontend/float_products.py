"""What computes with floats in a quantised model, and why, for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx

from .domains import PROGRAMS
from .few_bits import LEAST_WEIGHTS
from .graph import all_nodes, describe
from .infer import FEW_BITS
from .integer_recurrent import STATE_WEIGHTS
from .quantised import EIGHT_BITS, PRODUCTS, RECURRENT, Values
from .shapes import value_table

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class FloatProduct:
    """A product that is computed with floats.

    Attributes:
        node: `Conv 'name'`.
        reason: why.
    """

    node: str
    reason: str


def float_products(graph: onnx.GraphProto) -> tuple[FloatProduct, ...]:
    """The products of floats in a settled graph."""
    values = Values(graph, value_table(graph))
    names = (*PRODUCTS, *RECURRENT)
    nodes = (node for node in graph.node if node.op_type in names and not node.domain)
    return tuple(FloatProduct(describe(node), _reason(node, values)) for node in nodes)


def has_few_bits(model: onnx.ModelProto) -> bool:
    """Whether a model holds weights of 4 or 8 bits that stand for floats."""
    return any(node.op_type in (*FEW_BITS, "DequantizeLinear") for node in all_nodes(model.graph.node))


def float_weights(graph: onnx.GraphProto) -> tuple[FloatProduct, ...]:
    """Of a model with weights of few bits, the large products whose weights are floats in the artifact."""
    large = {t.name for t in graph.initializer if t.data_type == _FLOAT and math.prod(t.dims) >= LEAST_WEIGHTS}
    nodes = (node for node in graph.node if node.op_type in PRODUCTS and not node.domain and node.input[1] in large)
    reason = "its weights are floats: given as such, or not in blocks of one scale along the sum"
    return tuple(FloatProduct(describe(node), reason) for node in nodes)


def float_states(graph: onnx.GraphProto, rounds: Callable[[int, int], bool]) -> tuple[FloatProduct, ...]:
    """The recurrent layers of integers whose state stays in floats.

    Args:
        rounds: whether it gets 8 bits, of so many gates and units.
    """
    values = Values(graph, value_table(graph))
    found = []
    for node in graph.node:
        if node.domain == PROGRAMS and node.op_type in RECURRENT:
            rows, hidden = (values.shape(node.input[STATE_WEIGHTS]) or (0, 0, 0))[1:]
            if not rounds(rows // max(hidden, 1), hidden):
                reason = "rounding its state would take what a product of integers saves"
                plain = onnx.helper.make_node(node.op_type, [], node.output, node.name)
                found.append(FloatProduct(describe(plain), reason))
    return tuple(found)


def _reason(node: onnx.NodeProto, values: Values) -> str:
    if node.op_type in RECURRENT:
        return "its data or weights are not quantised, or not for a state that is quantised when it runs"
    data, weight = (values.dequantised(name) for name in node.input[:2])
    quantised = [values.maker(name, "DequantizeLinear") for name in node.input[:2]]
    if (quantised[1].input[0] if quantised[1] is not None else node.input[1]) not in values.constants:
        return "it multiplies two values that the model computes"
    if quantised[0] is None:
        return "its data is not quantised"
    if quantised[1] is None:
        return "its weights are not quantised"
    if data is None or weight is None:
        return "its scales or zero points are no constants of float32 and 8 bits, or of blocks"
    if data[1].elem_type not in EIGHT_BITS or weight[1].elem_type not in EIGHT_BITS:
        return "its operands have more than 8 bits"
    if not data[1].single:
        return "its data has several scales"
    return "its weights have several scales along another axis than the results', or its sums do not fit 32 bits"
