"""One layout inside, which serves every target: channels last, output channels of weights last.

TVM's conversion keeps the old layout around an operator for which it knows no rule. These operators follow the
layout of their first argument, with their axes renumbered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import ir, relax, s_tir

from ..operators.define import attributes_of, axes_of
from ..operators.group_norm import GROUP_NORM, epsilon_of, groups_of
from ..operators.resample import RESAMPLE

_CHANNELS_LAST = {"relax.nn.conv2d": ["NHWC", "HWIO"]}

# The call in another order of axes: from the call, and for each of its axes now, which one it was.
_Renumber = Callable[[Any, list[int]], Any]


def convert_layout(module: tvm.IRModule) -> tvm.IRModule:
    """The module with its images, and what follows from them, in the one layout."""
    return relax.transform.ConvertLayout(_CHANNELS_LAST)(module)


def follow_layout(operator: str, renumber: _Renumber) -> None:
    """Lets calls of an operator take over the layout of their first argument, and their results too.

    Args:
        renumber: returns the call's attributes for the other layout; None if it has to stay in the old one.
    """

    def infer(call: Any, _desired: Any, layouts: Any) -> Any:
        data, attrs = call.args[0], call.attrs
        layout, result = _old_layout(data), _old_layout(call)
        if isinstance(data, relax.Var) and data in layouts:
            order = [ord(letter) - ord("A") for letter in str(layouts[data].layout.name)]
            found = renumber(call, order) if sorted(order) == list(range(len(order))) else None
            if found is not None:
                layout, result, attrs = layouts[data], layouts[data], found
        return ir.make_node(
            "relax.transform.InferLayoutOutput",
            input_layouts=[layout],
            output_layouts=[result],
            new_attrs=attrs,
            new_args={},
        )

    ir.register_op_attr(operator, "FRelaxInferLayout", infer, level=11)


def _old_layout(expr: Any) -> Any:
    layout = s_tir.slayout("ABCDEFGH"[: len(expr.ty.shape)])
    return ir.make_node("relax.transform.LayoutDecision", layout=layout, is_unknown_dim=False)


def _pad(call: Any, order: list[int]) -> Any:
    widths = [int(width) for width in call.attrs.pad_width]
    moved = [width for axis in order for width in widths[2 * axis : 2 * axis + 2]]
    return relax.op.nn.pad(call.args[0], moved, call.attrs.pad_mode, call.attrs.pad_value).attrs


def _take(call: Any, order: list[int]) -> Any:
    data, indices = call.args
    if call.attrs.axis is None or len(indices.ty.shape) != 1:
        return None  # the result has other axes
    axis = order.index(int(call.attrs.axis) % len(order))
    return relax.op.take(data, indices, axis, str(call.attrs.mode)).attrs


def _resample(call: Any, order: list[int]) -> Any:
    return attributes_of(axes=[order.index(axis) for axis in axes_of(call)], weighted=call.attrs["weighted"])


def _group_norm(call: Any, order: list[int]) -> Any:
    axes = [order.index(axis) for axis in axes_of(call)]
    return attributes_of(axes=axes, groups=groups_of(call), epsilon=epsilon_of(call))


follow_layout(GROUP_NORM, _group_norm)
follow_layout(RESAMPLE, _resample)
follow_layout("relax.clip", lambda call, order: call.attrs)
follow_layout("relax.nn.pad", _pad)
follow_layout("relax.take", _take)
