"""Moves what is computed element by element ahead of a rearrangement of a convolution's channels into blocks.

There it joins the convolution's kernel, and there are fewer bytes to rearrange if it makes 8-bit integers. Such
rearrangements are ONNX's DepthToSpace, and the end of a transposed convolution; see operators/subpixel.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .rewrite import bound_to, cut, definitions_of, operator_of, rearrange, rewrite_calls, shape_of
from .sink_transposes import is_elementwise, reshape_groups

_LEAST_CHANNELS = 16  # of the convolution; fewer do not fill vectors, and what is rearranged does
_MOST_CALLS = 20  # between a convolution and the rearrangement


@dataclass(frozen=True)
class _Rearrangement:
    """[batch, channels, *sizes] as `parts`, transposed and merged.

    Attributes:
        order: of the parts.
        whole: the shape in the end.
        cuts: axis, begin and end of what is sliced from it.
        channels: of the result, that each of the source's channels belongs to.
    """

    parts: tuple[int, ...]
    order: tuple[int, ...]
    whole: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...]
    channels: tuple[int, ...]

    def of(self, builder: relax.BlockBuilder, source: Any) -> Any:
        return cut(builder, rearrange(builder, source, self.parts, self.order, self.whole), self.cuts)


def raise_elementwise(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites `main`; layouts as imported."""
    if not any(operator_of(value) == "relax.permute_dims" for value in definitions_of(module).values()):
        return module
    return relax.transform.DeadCodeElimination()(rewrite_calls(module, _raise))


def _raise(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call).removeprefix("relax.")
    if name in ("nn.batch_norm", "nn.prelu"):
        return _by_channel(builder, call)
    return _elementwise(builder, call) if is_elementwise(call) else call


def _elementwise(builder: relax.BlockBuilder, call: Any) -> Any:
    found = [_source(builder, arg) for arg in call.args]
    sources = [one for one in found if one is not None]
    if not sources or any(one[1] != sources[0][1] for one in sources):
        return call
    moved = sources[0][1]
    operands = []
    for arg, source in zip(call.args, found, strict=True):
        operand = source[0] if source is not None else _for_channels(builder, arg, moved, len(shape_of(sources[0][0])))
        if operand is None:
            return call
        operands.append(operand)
    return moved.of(builder, builder.emit(ir.Call(call.op, operands, call.attrs, call.ty_args)))


def _by_channel(builder: relax.BlockBuilder, call: Any) -> Any:
    """A batch normalisation or a PReLU, which have vectors with a number for each channel."""
    found = _source(builder, call.args[0])
    is_prelu = operator_of(call) == "relax.nn.prelu"
    if found is None or int(call.attrs.axis) % len(shape_of(call.args[0])) != 1:
        return call
    if not is_prelu and bool(call.attrs.training):
        return call  # statistics of what it gets
    source, moved = found
    vectors = [_taken(builder, vector, moved, 0) for vector in list(call.args)[1:]]
    made = builder.emit(ir.Call(call.op, [source, *vectors], call.attrs, call.ty_args))
    if is_prelu:
        return moved.of(builder, made)
    return relax.Tuple([moved.of(builder, builder.emit(relax.TupleGetItem(made, 0))), *list(call.args)[3:]])


def _for_channels(builder: relax.BlockBuilder, arg: Any, moved: _Rearrangement, rank: int) -> Any:
    """An operand that is broadcast, for a source of this rank; None if it is not the same for all of a channel."""
    if not isinstance(arg.ty, relax.TensorType):
        return arg  # a clip's bounds
    shape = shape_of(arg)
    if math.prod(shape) == 1:
        return builder.emit(relax.op.reshape(arg, ())) if shape else arg
    channel = len(shape) - len(moved.whole) + 1
    if channel < 0 or any(size != 1 for axis, size in enumerate(shape) if axis != channel):
        return None
    return builder.emit(
        relax.op.reshape(_taken(builder, arg, moved, channel), [len(moved.channels), *[1] * (rank - 2)])
    )


def _taken(builder: relax.BlockBuilder, arg: Any, moved: _Rearrangement, axis: int) -> Any:
    """What belongs to each of the source's channels."""
    return builder.emit(relax.op.take(arg, relax.const(np.array(moved.channels, np.int64)), axis))


def _source(builder: relax.BlockBuilder, expr: Any) -> tuple[Any, _Rearrangement] | None:
    """x and how it is rearranged, if `expr` is that of a convolution's results."""
    whole: Any = bound_to(builder, expr)
    cuts: tuple[tuple[int, int, int], ...] = ()
    if operator_of(whole) == "relax.strided_slice":
        axes, begins, ends, *steps = ([int(one) for one in arg.fields] for arg in list(whole.args)[1:])
        if any(axis < 2 for axis in axes) or any(set(one) != {1} for one in steps):
            return None
        cuts, whole = tuple(zip(axes, begins, ends, strict=True)), bound_to(builder, whole.args[0])
    mixed: Any = bound_to(builder, whole.args[0]) if operator_of(whole) == "relax.reshape" else whole
    split: Any = bound_to(builder, mixed.args[0]) if operator_of(mixed) == "relax.permute_dims" else None
    if operator_of(split) != "relax.reshape" or not mixed.attrs.axes:
        return None
    x, parts = split.args[0], shape_of(split)
    if len(shape_of(x)) < 3 or shape_of(x)[1] < _LEAST_CHANNELS or not _is_of_convolution(builder, x):
        return None
    order = tuple(int(axis) % len(parts) for axis in mixed.attrs.axes)
    channels = _channels(shape_of(x), parts, order, shape_of(whole))
    return None if channels is None else (x, _Rearrangement(parts, order, shape_of(whole), cuts, channels))


def _channels(
    before: Sequence[int], parts: Sequence[int], order: Sequence[int], whole: Sequence[int]
) -> tuple[int, ...] | None:
    """Of the result, the channel that each channel of the source belongs to; None if it belongs to several."""
    if 0 in before:
        return None
    inner = next((outs for ins, outs in reshape_groups(before, parts) if ins == [1]), None)
    outer = next((ins for ins, outs in reshape_groups([parts[a] for a in order], whole) if outs == [1]), None)
    if inner is None or outer is None or not {order[place] for place in outer} <= set(inner):
        return None
    axes = [order[place] for place in outer]
    numbers = np.arange(whole[1]).reshape([parts[axis] for axis in axes]).transpose(np.argsort(axes))
    numbers = numbers.reshape([parts[axis] if axis in axes else 1 for axis in inner])
    return tuple(np.broadcast_to(numbers, [parts[axis] for axis in inner]).reshape(-1).tolist())


def _is_of_convolution(builder: relax.BlockBuilder, expr: Any) -> bool:
    """Whether it is a convolution's results, or what is computed of them element by element."""
    shape = shape_of(expr)
    for _ in range(_MOST_CALLS):
        bound = bound_to(builder, expr)
        if isinstance(bound, relax.TupleGetItem):
            bound = bound_to(builder, bound.tuple_value)
        name = operator_of(bound).removeprefix("relax.")
        if name.startswith("nn.conv"):
            return True
        if not (name in ("nn.batch_norm", "nn.prelu") or is_elementwise(bound)):
            return False
        inner = [arg for arg in bound.args if isinstance(arg, relax.Var) and shape_of(arg) == shape]
        if not inner:
            return False
        expr = inner[0]
    return False
