"""Stores 8-bit tensors with the sign that the target's dot products take: x86 multiplies unsigned data, ARM signed.

A tensor changes as a whole, by 128, where it is quantised, and with it what only moves its elements. Where it becomes
wider the 128 is taken away again, for which there is a zero point already, and sums of products get a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from .constants import constant
from .rewrite import bound_to, operator_of, rewrite_calls

_MOVES = frozenset(
    f"relax.{name}"
    for name in (
        *("reshape", "permute_dims", "strided_slice", "take", "flip"),
        *("nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d"),
    )
)
_PRODUCTS = ("relax.nn.conv1d", "relax.nn.conv2d", "relax.nn.conv3d", "relax.matmul")
_WIDE = ("float32", "int32")


def choose_signs(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Rewrites the 8-bit tensors in `main` that a QuantizeLinear makes with the sign that the target does not take."""
    if len(limits.dot_data) > 1:
        return module  # it takes both
    signs = _Signs(limits.dot_data[0])
    return relax.transform.DeadCodeElimination()(rewrite_calls(module, signs.visit))


class _Signs:
    """
    Attributes:
        good, bad: the type that the target takes, and the other.
        step: what a tensor of the good type is more than one of the other.
        good_ones: by tensor of the bad type, the same of the good one.
        wide: good tensors minus the step in wider types, by variable: the call without the difference.
    """

    def __init__(self, good: str) -> None:
        self.good, self.bad = good, "int8" if good == "uint8" else "uint8"
        self.step = 128 if good == "uint8" else -128
        self.good_ones: dict[Any, Any] = {}
        self.wide: dict[Any, Any] = {}

    def visit(self, builder: relax.BlockBuilder, call: Any) -> Any:
        name = operator_of(call)
        if name == "relax.subtract" and call.args[0] in self.wide and isinstance(call.args[1], ir.GenericConst):
            zero = call.args[1].value.numpy()
            moved = np.asarray(zero + np.asarray(self.step, zero.dtype))
            wide = self.wide[call.args[0]]
            return relax.op.subtract(wide, constant(moved)) if moved.any() else wide
        if name in _PRODUCTS and str(call.ty.dtype) == "int32":
            return self._product(builder, call)
        if name == "relax.astype" and str(call.ty.dtype) in _WIDE and call.args[0] in self.good_ones:
            return self._widened(builder, call)
        if name == "relax.split" and call.args[0] in self.good_ones:
            parts = builder.emit(ir.Call(call.op, [self.good_ones[call.args[0]]], call.attrs, call.ty_args))
            fields = range(len(call.ty.fields))
            return relax.Tuple([self._bad(builder, builder.emit(relax.TupleGetItem(parts, i))) for i in fields])
        made = self._made(builder, name, call)
        return call if made is None else self._bad(builder, builder.emit(made))

    def _bad(self, builder: relax.BlockBuilder, good: Any) -> Any:
        """The tensor of the bad type that has a good one, for what takes no other."""
        wide = builder.emit(relax.op.astype(good, "int16"))
        back = builder.emit(relax.op.subtract(wide, relax.const(self.step, "int16")))
        bad = builder.emit(relax.op.astype(back, self.bad))
        self.good_ones[bad] = good
        return bad

    def _made(self, builder: relax.BlockBuilder, name: str, call: Any) -> Any:
        """What makes the good tensor in the place of a bad one; None if nothing does, or it is another tensor."""
        if not isinstance(call.ty, relax.TensorType) or str(call.ty.dtype) != self.bad:
            return None
        if name == "relax.astype":
            return self._quantised(builder, call)
        if name == "relax.concat":
            fields = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else []
            if not fields or not all(field in self.good_ones for field in fields):
                return None
            return relax.op.concat([self.good_ones[field] for field in fields], call.attrs.axis)
        source = call.args[0] if call.args else None
        if source not in self.good_ones:
            return None
        if name == "relax.nn.pad":
            widths = [int(width) for width in call.attrs.pad_width]
            value = float(call.attrs.pad_value) + self.step
            return relax.op.nn.pad(self.good_ones[source], widths, str(call.attrs.pad_mode), value)
        if name in _MOVES:
            return ir.Call(call.op, [self.good_ones[source], *call.args[1:]], call.attrs, call.ty_args)
        return None

    def _quantised(self, builder: relax.BlockBuilder, call: Any) -> Any:
        """clip(x + zero) cast to the bad type, as the good one."""
        clip: Any = bound_to(builder, call.args[0])
        low, high = (int(limit) for limit in (np.iinfo(self.bad).min, np.iinfo(self.bad).max))
        if operator_of(clip) != "relax.clip" or [float(arg.value) for arg in clip.args[1:]] != [low, high]:
            return None
        x = clip.args[0]
        shift: Any = bound_to(builder, x)
        zero = np.asarray(self.step, str(x.ty.dtype))
        if operator_of(shift) == "relax.add" and isinstance(shift.args[1], ir.GenericConst):
            x, zero = shift.args[0], np.asarray(shift.args[1].value.numpy() + zero)
        if zero.any():
            x = builder.emit(relax.op.add(x, constant(zero)))
        clipped = builder.emit(relax.op.clip(x, low + self.step, high + self.step))
        return relax.op.astype(clipped, self.good)

    def _widened(self, builder: relax.BlockBuilder, call: Any) -> Any:
        dtype = str(call.ty.dtype)
        wide = builder.emit(relax.op.astype(self.good_ones[call.args[0]], dtype))
        made = builder.emit(relax.op.subtract(wide, relax.const(self.step, dtype)))
        self.wide[made] = wide
        return made

    def _product(self, builder: relax.BlockBuilder, call: Any) -> Any:
        data, weight = call.args[:2]
        if data not in self.good_ones or not isinstance(weight, ir.GenericConst) or str(weight.ty.dtype) != "int8":
            return call
        product = ir.Call(call.op, [self.good_ones[data], weight], call.attrs, call.ty_args)
        values = weight.value.numpy().astype(np.int32)
        if operator_of(call) == "relax.matmul":
            if values.ndim != 2:
                return call
            sums, shape = values.sum(axis=0, dtype=np.int32), [-1]
        else:
            kernel, layout = str(call.attrs.kernel_layout), str(call.attrs.out_layout)
            if any(int(pad) for pad in call.attrs.padding):
                return call
            along = tuple(axis for axis, letter in enumerate(kernel) if letter != "O")
            sums, shape = values.sum(axis=along, dtype=np.int32), [-1 if letter == "C" else 1 for letter in layout]
        excess = np.ascontiguousarray((self.step * sums).reshape(shape))
        return relax.op.subtract(builder.emit(product), constant(excess))
