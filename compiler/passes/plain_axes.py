"""Writes operators in the forms that TVM's layout conversion can follow.

It stops the compiler at `stack`, at reductions of scalars and at axes of `squeeze` that are counted from the end, and
leaves the weights of a layer normalisation over several axes in the old order.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax

from .rewrite import operator_of, rewrite_calls

_REDUCTIONS = frozenset(f"relax.{name}" for name in ("sum", "mean", "max", "min", "prod"))


def make_axes_plain(module: tvm.IRModule) -> tvm.IRModule:
    """`stack` → `concat`, `squeeze` and `expand_dims` → `reshape`, layer norms over several axes → one.

    A reduction of a scalar → the scalar.
    """
    return rewrite_calls(module, _plain)


def _plain(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call)
    if name in ("relax.squeeze", "relax.expand_dims"):
        return builder.normalize(relax.op.reshape(call.args[0], call.ty.shape))
    if name == "relax.nn.layer_norm" and len(call.attrs.axes) > 1:
        return _flat_layer_norm(builder, call)
    if name == "relax.stack":
        return _concat(builder, call)
    if name in _REDUCTIONS and not len(call.args[0].ty.shape):
        return call.args[0]
    return call


def _flat_layer_norm(builder: relax.BlockBuilder, call: Any) -> Any:
    shape, axes = [int(d) for d in call.ty.shape], [int(a) % len(call.ty.shape) for a in call.attrs.axes]
    first = len(shape) - len(axes)
    if axes != list(range(first, len(shape))):
        return call
    data, *weights = (
        builder.emit(relax.op.reshape(arg, [*shape[:kept], math.prod(shape[first:])]))
        for arg, kept in zip(call.args, (first, 0, 0), strict=True)
    )
    attrs = call.attrs
    flat = relax.op.nn.layer_norm(data, *weights, -1, attrs.epsilon, attrs.center, attrs.scale)
    return builder.normalize(relax.op.reshape(builder.emit(flat), shape))


def _concat(builder: relax.BlockBuilder, call: Any) -> Any:
    axis = int(call.attrs.axis) % len(call.ty.shape)
    shape = [1 if i == axis else size for i, size in enumerate(call.ty.shape)]
    fields = call.args[0]
    count = len(fields.ty.fields)
    parts = fields.fields if isinstance(fields, relax.Tuple) else [relax.TupleGetItem(fields, i) for i in range(count)]
    wide = [builder.emit(relax.op.reshape(builder.emit(part), shape)) for part in parts]
    return builder.normalize(relax.op.concat(wide, axis))
