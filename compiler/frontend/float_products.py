"""What computes with floats in a quantised model, and why, for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from .domains import PROGRAMS
from .graph import describe
from .integer_recurrent import STATE_WEIGHTS
from .quantised import EIGHT_BITS, PRODUCTS, RECURRENT, Values
from .shapes import value_table


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
                found.append(FloatProduct(describe(node), reason))
    return tuple(found)


def _reason(node: onnx.NodeProto, values: Values) -> str:
    if node.op_type in RECURRENT:
        return "its data or weights are not quantised, or not for a state that is quantised when it runs"
    data, weight = (values.dequantised(name) for name in node.input[:2])
    if data is None and values.maker(node.input[0], "DequantizeLinear") is None:
        return "its data is not quantised"
    if weight is None and values.maker(node.input[1], "DequantizeLinear") is None:
        return "its weights are not quantised"
    if data is None or weight is None:
        return "its scales or zero points are no constants of float32 and 8 bits, or of blocks"
    if weight[0] not in values.constants:
        return "it multiplies two values that the model computes"
    if data[1].elem_type not in EIGHT_BITS or weight[1].elem_type not in EIGHT_BITS:
        return "its operands have more than 8 bits"
    if not data[1].single:
        return "its data has several scales"
    return "its weights have several scales along another axis than the results', or its sums do not fit 32 bits"
