"""Sorting, without the function of TVM's runtime library that TVM sorts with.

Along short axes it counts for each element those that stand before it, which takes quadratic time but no
branches: vectors and threads share it like any reduction. Long ones are sorted by digits (radix.py), or their first
few elements selected (select.py).
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ...operators.by_hand import around, reshaped
from .radix import Order, sorted_positions
from .select import LARGEST, selected_positions

_LONG = 128  # elements from which digits are faster than counting


def _sorted(builder: relax.BlockBuilder, data: Any, axis: int, count: int, descending: bool, dtype: str) -> Any:
    """Values and their positions, the first `count` along `axis` in sorted order; equals keep their order.

    NaN counts as larger than every number, as in NumPy.
    """
    axis %= len(data.ty.shape)
    if int(data.ty.shape[axis]) > _LONG:
        index = _by_digits(builder, data, axis, count, descending, dtype)
        return builder.emit(builder.call_te(_pick, data, index, axis, primfunc_name_hint="pick")), index
    rank = builder.emit(builder.call_te(_rank, data, axis, descending, primfunc_name_hint="rank"))
    index = builder.emit(builder.call_te(_position, rank, axis, count, dtype, primfunc_name_hint="position"))
    values = builder.emit(builder.call_te(_pick, data, index, axis, primfunc_name_hint="pick"))
    return values, index


def _by_digits(builder: relax.BlockBuilder, data: Any, axis: int, count: int, descending: bool, dtype: str) -> Any:
    shape = [int(size) for size in data.ty.shape]
    outer, size, inner = around(shape, axis)
    flat = reshaped(builder, data, [outer, size, inner])
    if count <= LARGEST:
        rows = Order(outer * inner, size, 1, count, descending, str(data.ty.dtype))
        if inner > 1:
            flat = builder.emit(relax.op.permute_dims(flat, [0, 2, 1]))
        flat = reshaped(builder, flat, [rows.outer, size, 1])
        made = builder.emit(builder.call_te(lambda x: selected_positions(x, rows), flat, primfunc_name_hint="select"))
        if inner > 1:
            made = builder.emit(relax.op.permute_dims(reshaped(builder, made, [outer, inner, count]), [0, 2, 1]))
    else:
        order = Order(outer, size, inner, count, descending, str(data.ty.dtype))
        made = builder.emit(builder.call_te(lambda x: sorted_positions(x, order), flat, primfunc_name_hint="sort"))
        made = builder.emit(relax.TupleGetItem(made, 0))
    shape[axis] = count
    places = reshaped(builder, made, shape)
    return places if dtype == "int32" else builder.emit(relax.op.astype(places, dtype))


def _rank(data: Any, axis: int, descending: bool) -> Any:
    """How many elements along `axis` stand before each one in sorted order."""
    other = te.reduce_axis((0, data.shape[axis]), "other")

    def before(*i: Any) -> Any:
        mine, theirs = data(*i), data(*i[:axis], other, *i[axis + 1 :])
        less = theirs > mine if descending else theirs < mine
        equal = theirs == mine
        if "float" in str(data.dtype):
            mine_nan, theirs_nan = (tirx.isnan(value.astype("float32")) for value in (mine, theirs))
            first, second = (theirs_nan, mine_nan) if descending else (mine_nan, theirs_nan)
            less = tirx.any(less, tirx.all(first, tirx.Not(second)))
            equal = tirx.any(equal, tirx.all(mine_nan, theirs_nan))
        ahead = tirx.any(less, tirx.all(equal, other.var < i[axis].astype(str(other.var.ty.dtype))))
        return te.sum(ahead.astype("int32"), axis=other)

    return te.compute(data.shape, before, name="rank")


def _position(rank: Any, axis: int, count: int, dtype: str) -> Any:
    """Where the elements of rank 0 … count - 1 are; always inside the tensor."""
    shape = [*rank.shape[:axis], count, *rank.shape[axis + 1 :]]
    source = te.reduce_axis((0, rank.shape[axis]), "source")

    def find(*i: Any) -> Any:
        hit = rank(*i[:axis], source, *i[axis + 1 :]) == i[axis].astype("int32")
        found = tirx.Select(hit, source.var.astype(dtype), tirx.const(0, dtype))
        return te.sum(found, axis=source)

    return te.compute(shape, find, name="position")


def _pick(data: Any, index: Any, axis: int) -> Any:
    return te.compute(index.shape, lambda *i: data(*i[:axis], index(*i), *i[axis + 1 :]), name="pick")


def topk(builder: relax.BlockBuilder, call: Any) -> Any:
    attrs = call.attrs
    size = int(call.args[0].ty.shape[int(attrs.axis)])
    count = size if int(attrs.k) < 1 else min(int(attrs.k), size)
    results = _sorted(builder, call.args[0], int(attrs.axis), count, bool(attrs.largest), str(attrs.dtype))
    return {"both": relax.Tuple(results), "values": results[0], "indices": results[1]}[str(attrs.ret_type)]


def sort(builder: relax.BlockBuilder, call: Any) -> Any:
    data, axis = call.args[0], int(call.attrs.axis)
    return _sorted(builder, data, axis, int(data.ty.shape[axis]), bool(call.attrs.descending), "int32")[0]


def argsort(builder: relax.BlockBuilder, call: Any) -> Any:
    data, axis, dtype = call.args[0], int(call.attrs.axis), str(call.attrs.dtype)
    return _sorted(builder, data, axis, int(data.ty.shape[axis]), bool(call.attrs.descending), dtype)[1]
