"""Moves transposes behind the operators that do not mind, where most of them meet another and cancel.

TVM's layout conversion stops at operators it has no rule for, a clip or a leaky ReLU among them, and puts a
transpose before and one behind. Here f(transpose(x)) becomes transpose(f(x)), two in a row become one, and one
that moves no element becomes a reshape, which is a view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import ir, relax, tirx

from ..operators.define import attributes_of, axes_of
from ..operators.dynamic_range import DYNAMIC_RANGE, dynamic_range
from ..operators.group_norm import GROUP_NORM, epsilon_of, groups_of
from ..operators.resample import RESAMPLE
from .rewrite import bound_to, operator_of, rewrite_calls, shape_of

Axes = list[int]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNARY = _names(
    "abs acos acosh asin asinh atan atanh astype ceil clip cos cosh erf exp floor isfinite isinf isnan log logical_not "
    "negative bitwise_not round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc nn.relu nn.relu6 nn.leakyrelu "
    "nn.gelu nn.gelu_tanh nn.silu nn.selu nn.softplus nn.dropout"
)
ELEMENTWISE = _names(
    "add subtract multiply divide floor_divide mod floor_mod power maximum minimum equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor where"
)
_REDUCTIONS = _names("mean sum max min prod variance std")


def is_elementwise(call: Any) -> bool:
    """Whether an operator computes each element of its result from one of each operand, or of some broadcast."""
    name = operator_of(call).removeprefix("relax.")
    return name in UNARY or name in ELEMENTWISE


def sink_transposes(module: tvm.IRModule) -> tvm.IRModule:
    """The module with the transposes in `main` as late as they can be, and fewer of them."""
    return relax.transform.DeadCodeElimination()(rewrite_calls(module, _sink))


def _sink(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call).removeprefix("relax.")
    if name == "permute_dims":
        return _composed(builder, call)
    if name == "reshape":
        return _reshaped(builder, call)
    rule = _RULES.get(name)
    if name in UNARY:
        rule = _unary
    elif name in ELEMENTWISE:
        rule = _elementwise
    elif name in _REDUCTIONS:
        rule = _reduction
    moved = rule(builder, call) if rule else None
    return call if moved is None else moved


def _source(builder: relax.BlockBuilder, expr: Any) -> tuple[Any, Axes] | None:
    """x and axes, if `expr` is permute_dims(x, axes), or the reshape that this is of an image of one pixel."""
    bound: Any = bound_to(builder, expr)
    name = operator_of(bound)
    if name == "relax.permute_dims":
        return bound.args[0], _axes(bound)
    if name == "relax.reshape" and len(shape_of(bound)) == 4:
        images, channels, height, width = shape_of(bound)
        if height == width == 1 < channels and shape_of(bound.args[0]) == (images, 1, 1, channels):
            return bound.args[0], [0, 3, 1, 2]
    return None


def _axes(call: Any) -> Axes:
    rank = len(call.ty.shape)
    return [int(a) % rank for a in call.attrs.axes] if call.attrs.axes else list(range(rank))[::-1]


def _permuted(builder: relax.BlockBuilder, x: Any, axes: Axes) -> Any:
    """permute_dims(x, axes), or x, or a reshape of it."""
    shape = shape_of(x)
    if axes == sorted(axes):
        return x
    if 0 in shape:  # to Relax's reshape a 0 is the size that was there before
        return builder.normalize(relax.op.zeros([shape[a] for a in axes], str(x.ty.dtype)))
    if _moves_nothing(shape, axes):
        return builder.normalize(relax.op.reshape(x, [shape[a] for a in axes]))
    return builder.normalize(relax.op.permute_dims(x, axes))


def _moves_nothing(shape: Sequence[int], axes: Axes) -> bool:
    """Whether a transpose leaves all elements where they are."""
    longer = [a for a in axes if shape[a] != 1]
    return longer == sorted(longer)


def _behind(builder: relax.BlockBuilder, value: Any, axes: Axes) -> Any:
    return _permuted(builder, builder.emit(value), axes)


def _composed(builder: relax.BlockBuilder, call: Any) -> Any:
    x, axes = call.args[0], _axes(call)
    source = _source(builder, x)
    if source is not None:
        x, axes = source[0], [source[1][a] for a in axes]
    return _permuted(builder, x, axes)


def _reshaped(builder: relax.BlockBuilder, call: Any) -> Any:
    x, shape = call.args[0], shape_of(call)
    bound: Any = bound_to(builder, x)
    if operator_of(bound) == "relax.reshape":
        x = bound.args[0]
    if shape_of(x) == shape:
        return x
    source = _source(builder, x)
    moved = _reshape_of_transpose(builder, *source, shape) if source is not None and 0 not in shape else None
    if moved is not None:
        return moved
    return call if x is call.args[0] else builder.normalize(relax.op.reshape(x, shape))


def _reshape_of_transpose(builder: relax.BlockBuilder, x: Any, axes: Axes, shape: Sequence[int]) -> Any:
    """reshape(permute_dims(x, axes), shape) as a transpose behind a reshape, or None.

    Axes that a reshape splits or merges are a group, as are those that it leaves alone. If the axes of each group
    stand side by side in x, a reshape of x splits and merges them there, after a transpose among themselves if
    need be. An image whose groups are apart is rearranged with its channels last if they are so in x, as its
    convolutions want it.
    """
    before = shape_of(x)
    groups = [
        ([axes[i] for i in ins if before[axes[i]] != 1], outs)
        for ins, outs in reshape_groups([before[a] for a in axes], shape)
    ]
    beside = all(len(ins) == sum(d != 1 for d in before[min(ins) : max(ins) + 1]) for ins, _ in groups if ins)
    channels_last = any(len(before) - 1 in ins for ins, outs in groups if outs == [1])
    if not beside and not (len(shape) == 4 and channels_last):
        return None
    groups.sort(key=lambda group: min(group[0], default=-1))
    order = [a for a, size in enumerate(before) if size == 1] + [a for ins, _ in groups for a in ins]
    outs = [o for _, group in groups for o in group]
    inner = _bound(builder, _permuted(builder, x, order))
    return _behind(builder, relax.op.reshape(inner, [shape[o] for o in outs]), _inverse(outs))


def reshape_groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[Axes, Axes]]:
    """The smallest runs of axes of two shapes that have as many elements, in order; axes of size 1 join any."""
    groups: list[tuple[Axes, Axes]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        ins: Axes = []
        outs: Axes = []
        left = right = 1
        if i < len(before) and j < len(after) and before[i] == after[j]:
            groups.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        while not (ins or outs) or left != right:
            if left <= right and i < len(before):
                left *= before[i]
                ins.append(i)
                i += 1
            else:
                right *= after[j]
                outs.append(j)
                j += 1
        groups.append((ins, outs))
    return groups


def _unary(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    return _behind(builder, ir.Call(call.op, [x, *list(call.args)[1:]], call.attrs, call.ty_args), axes)


def _prelu(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    return _behind(builder, relax.op.nn.prelu(x, call.args[1], axes[int(call.attrs.axis) % len(axes)]), axes)


def _elementwise(builder: relax.BlockBuilder, call: Any) -> Any:
    """In the order of the operand whose transpose is most work; the others are transposed the other way."""
    rank, sources = len(call.ty.shape), [_source(builder, arg) for arg in call.args]
    weight: dict[tuple[int, ...], int] = {}
    for arg, source in zip(call.args, sources, strict=True):
        order = tuple(source[1]) if source else tuple(range(rank))
        if source and len(order) != rank:
            return None
        if source or not isinstance(arg, ir.GenericConst):
            weight[order] = weight.get(order, 0) + math.prod(shape_of(arg))
    axes = list(max(weight.items(), key=lambda item: item[1], default=((), 0))[0])
    if axes == sorted(axes):
        return None
    operands = []
    for arg, source in zip(call.args, sources, strict=True):
        if source and source[1] == axes:
            operands.append(source[0])
        elif not shape_of(arg):
            operands.append(arg)
        else:
            if missing := rank - len(shape_of(arg)):
                arg = builder.emit(relax.op.reshape(arg, [*[1] * missing, *shape_of(arg)]))
            back = _inverse(axes)
            inner = _source(builder, arg)
            arg, back = (inner[0], [inner[1][a] for a in back]) if inner else (arg, back)
            operands.append(_bound(builder, _permuted(builder, arg, back)))
    return _behind(builder, ir.Call(call.op, operands, call.attrs, call.ty_args), axes)


def _bound(builder: relax.BlockBuilder, expr: Any) -> Any:
    return builder.emit(expr) if isinstance(expr, ir.Call) else expr


def _inverse(axes: Axes) -> Axes:
    return [axes.index(position) for position in range(len(axes))]


def _reduction(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    rank = len(axes)
    reduced = [int(a) % rank for a in call.attrs.axis] if call.attrs.axis is not None else list(range(rank))
    function: Callable[..., Any] = getattr(relax.op, call.op.name.removeprefix("relax."))
    value = function(x, [axes[a] for a in reduced], bool(call.attrs.keepdims))
    if call.attrs.keepdims:
        return _behind(builder, value, axes)
    kept = [axes[a] for a in range(rank) if a not in reduced]
    return _behind(builder, value, [sorted(kept).index(a) for a in kept])


def _pad(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    widths = [int(w) for w in call.attrs.pad_width]
    moved = [0] * len(widths)
    for position, axis in enumerate(axes):
        moved[2 * axis : 2 * axis + 2] = widths[2 * position : 2 * position + 2]
    value = relax.op.nn.pad(x, moved, str(call.attrs.pad_mode), float(call.attrs.pad_value))
    return _behind(builder, value, axes)


def _take(builder: relax.BlockBuilder, call: Any) -> Any:
    source, indices = _source(builder, call.args[0]), call.args[1]
    if source is None or call.attrs.axis is None or len(indices.ty.shape) != 1:
        return None  # the result has other axes
    x, axes = source
    return _behind(
        builder, relax.op.take(x, indices, axes[int(call.attrs.axis) % len(axes)], str(call.attrs.mode)), axes
    )


def _resample(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    attrs = attributes_of(axes=[axes[axis] for axis in axes_of(call)], weighted=call.attrs["weighted"])
    return _behind(builder, ir.Call(call.op, [x, *list(call.args)[1:]], attrs, call.ty_args), axes)


def _dynamic_range(builder: relax.BlockBuilder, call: Any) -> Any:
    """The range of all elements, in any order."""
    source = _source(builder, call.args[0])
    return None if source is None else builder.normalize(dynamic_range(source[0]))


def _group_norm(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    moved = [axes[axis] for axis in axes_of(call)]
    attrs = attributes_of(axes=moved, groups=groups_of(call), epsilon=epsilon_of(call))
    return _behind(builder, ir.Call(call.op, [x, *list(call.args)[1:]], attrs, call.ty_args), axes)


def _concat(builder: relax.BlockBuilder, call: Any) -> Any:
    fields = call.args[0]
    if not isinstance(fields, relax.Tuple) or not fields.fields:
        return None
    sources = [_source(builder, field) for field in fields.fields]
    axes = next((source[1] for source in sources if source is not None), None)
    if axes is None:
        return None
    parts, back = [], _inverse(axes)
    for field, source in zip(fields.fields, sources, strict=True):
        if source is not None and source[1] == axes:
            parts.append(source[0])
        elif len(shape_of(field)) == len(back) and _moves_nothing(shape_of(field), back):
            parts.append(_bound(builder, _permuted(builder, field, back)))
        else:
            return None
    return _behind(builder, relax.op.concat(parts, axes[int(call.attrs.axis) % len(axes)]), axes)


def _softmax(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    function = getattr(relax.op.nn, call.op.name.rsplit(".", 1)[1])
    return _behind(builder, function(x, axes[int(call.attrs.axis) % len(axes)]), axes)


def _split(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    sections = call.attrs.indices_or_sections
    parts = builder.emit(
        relax.op.split(
            x,
            int(sections) if isinstance(sections, tirx.IntImm) else [int(s) for s in sections],
            axes[int(call.attrs.axis) % len(axes)],
        )
    )
    count = len(call.ty.fields)
    return relax.Tuple([_bound(builder, _behind(builder, relax.TupleGetItem(parts, i), axes)) for i in range(count)])


def _strided_slice(builder: relax.BlockBuilder, call: Any) -> Any:
    source = _source(builder, call.args[0])
    if source is None:
        return None
    x, axes = source
    along = [axes[int(a) % len(axes)] for a in call.args[1].fields]
    begin, end, *strides = ([int(v) for v in arg.fields] for arg in call.args[2:])
    return _behind(builder, relax.op.strided_slice(x, along, begin, end, *strides), axes)


def _pool(builder: relax.BlockBuilder, call: Any) -> Any:
    """An image with its channels last inside stays so."""
    source = _source(builder, call.args[0])
    attrs = call.attrs
    if source is None or source[1] != [0, 3, 1, 2] or str(attrs.layout) != "NCHW" or str(attrs.out_layout) != "NCHW":
        return None
    function = getattr(relax.op.nn, call.op.name.rsplit(".", 1)[1])
    sizes = {name: [int(v) for v in getattr(attrs, name)] for name in ("pool_size", "strides", "padding", "dilation")}
    flags = {"ceil_mode": bool(attrs.ceil_mode), "count_include_pad": bool(attrs.count_include_pad)}
    return _behind(builder, function(source[0], **sizes, **flags, layout="NHWC"), source[1])


_RULES = {
    DYNAMIC_RANGE: _dynamic_range,
    GROUP_NORM: _group_norm,
    RESAMPLE: _resample,
    "take": _take,
    "nn.avg_pool2d": _pool,
    "nn.max_pool2d": _pool,
    "split": _split,
    "strided_slice": _strided_slice,
    "concat": _concat,
    "nn.pad": _pad,
    "nn.prelu": _prelu,
    "nn.softmax": _softmax,
    "nn.log_softmax": _softmax,
}
