"""Convolutions of wide groups as convolutions of their own.

Each then has the kernels that convolutions have, Winograd's among them; the groups' channels lie side by side in the
data and in the result, so that nothing is copied. Narrow groups share vectors, and those with little to do share
threads: they stay together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from .choices import Choices
from .constants import constant
from .rewrite import is_channels_last, operator_of, rewrite_calls, shape_of
from .sink_transposes import is_elementwise

_LEAST_WORK = 500_000  # multiply-adds of a group, for which threads can share it
_LEAST_OUTPUTS = 4  # of a group, for which there is a choice


def take_groups_apart(module: tvm.IRModule, limits: Limits, choices: Choices | None = None) -> tvm.IRModule:
    """Rewrites conv2d (NHWC) of groups in `main`, and what follows them element by element."""
    return rewrite_calls(module, _Groups(limits, choices).visit)


class _Groups:
    """One pass.

    Attributes:
        parts: of the results that were put together, by variable.
    """

    def __init__(self, limits: Limits, choices: Choices | None) -> None:
        self.limits, self.choices = limits, choices
        self.parts: dict[Any, list[Any]] = {}

    def visit(self, builder: relax.BlockBuilder, call: Any) -> Any:
        if operator_of(call) == "relax.nn.conv2d":
            return self._convolve(builder, call) if self._is_better_apart(call) else call
        slopes = operator_of(call) == "relax.nn.prelu" and int(call.attrs.axis) % len(shape_of(call)) == 3
        return self._elementwise(builder, call) if slopes or is_elementwise(call) else call

    def _is_better_apart(self, call: Any) -> bool:
        groups, shape = int(call.attrs.groups), shape_of(call)
        if groups == 1 or not is_channels_last(call) or 0 in shape or not isinstance(call.args[1], ir.GenericConst):
            return False
        *kernel, inputs, channels = shape_of(call.args[1])
        outputs, lanes = channels // groups, self.limits.lanes
        if inputs == 1 or outputs < _LEAST_OUTPUTS:
            return False
        # Blocks of integers do not straddle groups; those of floats do.
        wide = outputs > lanes // 2 and outputs % lanes if str(call.ty.dtype) == "int32" else outputs >= lanes // 2
        default = int(bool(wide) and math.prod(shape) // groups * math.prod(kernel) * inputs >= _LEAST_WORK)
        return bool(default if self.choices is None else self.choices.pick("groups", call, default, (0, 1)))

    def _convolve(self, builder: relax.BlockBuilder, call: Any) -> Any:
        (data, weight), attrs, groups = call.args, call.attrs, int(call.attrs.groups)
        made = [
            relax.op.nn.conv2d(
                *own,
                strides=list(attrs.strides),
                padding=list(attrs.padding),
                dilation=list(attrs.dilation),
                data_layout="NHWC",
                kernel_layout="HWIO",
                out_layout="NHWC",
                out_dtype=attrs.out_dtype,
            )
            for own in zip(_split(builder, data, groups), _split(builder, weight, groups), strict=True)
        ]
        return self._together(builder, made)

    def _together(self, builder: relax.BlockBuilder, calls: list[Any]) -> Any:
        parts = [builder.emit(call) for call in calls]
        whole = builder.emit(relax.op.concat(parts, 3))
        self.parts[whole] = parts
        return whole

    def _elementwise(self, builder: relax.BlockBuilder, call: Any) -> Any:
        """Of the parts, if each operand has some, is one number for each channel, or one for all."""
        found = next((self.parts[arg] for arg in call.args if arg in self.parts), None)
        if found is None:
            return call
        operands = [self._parts_of(builder, arg, len(found)) for arg in call.args]
        if any(one is None for one in operands):
            return call
        return self._together(
            builder, [ir.Call(call.op, list(own), call.attrs, call.ty_args) for own in zip(*operands, strict=True)]
        )

    def _parts_of(self, builder: relax.BlockBuilder, arg: Any, count: int) -> list[Any] | None:
        if arg in self.parts:
            return self.parts[arg] if len(self.parts[arg]) == count else None
        if not isinstance(arg.ty, relax.TensorType) or math.prod(shape_of(arg)) == 1:
            return [arg] * count
        shape = shape_of(arg)
        if math.prod(shape[:-1]) != 1 or shape[-1] % count:
            return None
        return _split(builder, arg, count)


def _split(builder: relax.BlockBuilder, value: Any, count: int) -> list[Any]:
    """So many equal parts along the last axis."""
    if isinstance(value, ir.GenericConst):
        return [constant(part) for part in np.split(value.value.numpy(), count, -1)]
    split = builder.emit(relax.op.split(value, count, len(shape_of(value)) - 1))
    return [builder.emit(relax.TupleGetItem(split, part)) for part in range(count)]
