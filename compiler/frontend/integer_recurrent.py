"""Recurrent layers whose data and weights have 8 bits, and whose state gets them in each step (operators/recurrent.py).

The data come from a DynamicQuantizeLinear. Weights are DequantizeLinear of constants; where their steps are those of
rows, they lie along one axis, and a Reshape gives the rows back to their directions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

from .domains import PROGRAMS
from .programs import type_attributes
from .quantised import Array, quantises_when_run

if TYPE_CHECKING:
    from .integer_form import Rewriter

STATE_WEIGHTS = 6  # the place of R among the inputs of such a node


def recurrent(rewriter: Rewriter, node: onnx.NodeProto) -> bool:
    """Rewrites an LSTM, GRU or RNN to one of integers; returns whether it can be one."""
    values = rewriter.values
    if not quantises_when_run(node, values.makers):
        return False
    shape = values.shape(node.input[0])
    weights = [_weights(rewriter, name) for name in node.input[1:3]]
    results = [values.shape(name) if name else (0,) for name in node.output]  # of no name is of no interest
    if shape is None or 0 in shape or None in results:
        return False
    (w, ws), (r, rs) = (found or (np.zeros((0, 0, 0)), np.zeros(0)) for found in weights)
    if not w.size or not r.size or not all(rewriter.fits(part.shape[-1]) for part in (w, r)):
        return False
    tables = {"w_scale": ws, "r_scale": rs, "w": w, "r": r}
    constants = [rewriter.constant(node, part, array) for part, array in tables.items()]
    data = values.makers[node.input[0]].input
    types = [(TensorProto.FLOAT, result or ()) for result in results]
    made = onnx.helper.make_node(
        node.op_type,
        [*data, *constants, *node.input[3:]],
        list(node.output),
        node.name,
        domain=PROGRAMS,
        **type_attributes(*types),
    )
    made.attribute.extend(node.attribute)
    rewriter.made.append(made)
    return True


def _weights(rewriter: Rewriter, name: str) -> tuple[Array, Array] | None:
    """Constant weights [direction, row, column] as int8, and their scales float32 [direction, row]."""
    values, shape = rewriter.values, rewriter.values.shape(name)
    reshape = values.maker(name, "Reshape")
    found = values.dequantised(reshape.input[0] if reshape is not None else name)
    integers = values.constant(found[0]) if found is not None else None
    if found is None or integers is None or shape is None or len(shape) != 3:
        return None
    step, rows = found[1], math.prod(shape[:2])
    if not step.single and (step.axis != 0 or len(step.scale) != rows):
        return None
    along = [-1] + [1] * (integers.ndim - 1)
    exact = integers.astype(np.int16) - (step.zero.reshape(along) if step.zero.ndim else step.zero)
    if exact.min() < np.iinfo(np.int8).min or exact.max() > np.iinfo(np.int8).max:
        return None
    scales = np.broadcast_to(step.scale, (rows,)).reshape(shape[:2])
    return exact.astype(np.int8).reshape(shape), np.ascontiguousarray(scales, np.float32)
