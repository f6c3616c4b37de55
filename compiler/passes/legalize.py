"""Operators as tensor programs: TVM's, and ours where TVM's needs its runtime or cannot be compiled.

TVM sorts with a function of its runtime library, which devices lack. Ours counts for each element those that
stand before it, which takes quadratic time but no branches: vectors and threads share it like any reduction.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, te, tirx, topi
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T


def legalize(module: tvm.IRModule) -> tvm.IRModule:
    """The module with every operator in `main` turned into a call of a tensor program, where there is one."""
    return relax.transform.LegalizeOps(_OURS)(module)


def _sorted(builder: relax.BlockBuilder, data: Any, axis: int, count: int, descending: bool, dtype: str) -> Any:
    """Values and their positions, the first `count` along `axis` in sorted order; equals keep their order.

    NaN counts as larger than every number, as in NumPy.
    """
    axis %= len(data.ty.shape)
    rank = builder.emit(builder.call_te(_rank, data, axis, descending, primfunc_name_hint="rank"))
    index = builder.emit(builder.call_te(_position, rank, axis, count, dtype, primfunc_name_hint="position"))
    values = builder.emit(builder.call_te(_pick, data, index, axis, primfunc_name_hint="pick"))
    return values, index


def _rank(data: Any, axis: int, descending: bool) -> Any:
    """How many elements along `axis` stand before each one in sorted order."""
    other = te.reduce_axis((0, data.shape[axis]), "other")

    def before(*i: Any) -> Any:
        mine, theirs = data(*i), data(*i[:axis], other, *i[axis + 1 :])
        less = theirs > mine if descending else theirs < mine
        equal = theirs == mine
        if "float" in str(data.dtype):
            mine_nan, theirs_nan = tirx.isnan(mine), tirx.isnan(theirs)
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


def _topk(builder: relax.BlockBuilder, call: Any) -> Any:
    attrs = call.attrs
    size = int(call.args[0].ty.shape[int(attrs.axis)])
    count = size if int(attrs.k) < 1 else min(int(attrs.k), size)
    results = _sorted(builder, call.args[0], int(attrs.axis), count, bool(attrs.largest), str(attrs.dtype))
    return {"both": relax.Tuple(results), "values": results[0], "indices": results[1]}[str(attrs.ret_type)]


def _sort(builder: relax.BlockBuilder, call: Any) -> Any:
    data, axis = call.args[0], int(call.attrs.axis)
    return _sorted(builder, data, axis, int(data.ty.shape[axis]), bool(call.attrs.descending), "int32")[0]


def _argsort(builder: relax.BlockBuilder, call: Any) -> Any:
    data, axis, dtype = call.args[0], int(call.attrs.axis), str(call.attrs.dtype)
    return _sorted(builder, data, axis, int(data.ty.shape[axis]), bool(call.attrs.descending), dtype)[1]


def _scatter_elements(builder: relax.BlockBuilder, call: Any) -> Any:
    """As TVM's, which takes the indices' strides for the data's where their shapes differ."""
    axis = int(call.attrs.axis) % len(call.ty.shape)
    reduction = str(call.attrs.reduction)
    combine = _COMBINE.get(reduction)
    if combine is None:
        return call

    def scatter(data: Any, indices: Any, updates: Any) -> Any:
        return _scatter(data, indices, updates, axis, combine)

    return builder.call_te(scatter, *call.args, primfunc_name_hint="scatter_elements")


_COMBINE: dict[str, Any] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": tirx.min,
    "max": tirx.max,
}


def _scatter(data: Any, indices: Any, updates: Any, axis: int, combine: Any) -> Any:
    shape, around = list(data.shape), [d for i, d in enumerate(indices.shape) if i != axis]

    def program(ins: Any, outs: Any) -> Any:
        (source, index, update), (out,) = ins, outs
        with IRBuilder() as made:
            with T.seq_scope():
                with T.serial(0, math.prod(shape)) as flat:
                    at = _unravel(flat, shape)
                    T.buffer_store(out, source[tuple(at)], at)
                # Along the axis in order: of several updates of one element, the last one stays.
                with T.serial(0, math.prod(around)) as flat, T.serial(0, indices.shape[axis]) as step:
                    at = _unravel(flat, around)
                    at.insert(axis, step)
                    to = [*at[:axis], index[tuple(at)], *at[axis + 1 :]]
                    T.buffer_store(out, combine(out[tuple(to)], update[tuple(at)]), to)
            return made.get()

    return te.extern(
        [data.shape],
        [data, indices, updates],
        program,
        dtype=[data.dtype],
        name="scatter_elements",
    )


def _unravel(flat: Any, shape: list[Any]) -> list[Any]:
    at = []
    for size in reversed(shape):
        at.append(flat % size)
        flat = flat // size
    return at[::-1]


def _scan(function: Any) -> Any:
    def scan(builder: relax.BlockBuilder, call: Any) -> Any:
        attrs = call.attrs
        axis = None if attrs.axis is None else int(attrs.axis)
        exclusive = int(attrs.exclusive or 0)
        return builder.call_te(function, call.args[0], axis=axis, dtype=str(call.ty.dtype), exclusive=exclusive)

    return scan


def _cast(builder: relax.BlockBuilder, call: Any) -> Any:
    """float64 → float16 goes through float32: the direct way is a function that some C libraries lack."""
    data, dtype = call.args[0], str(call.ty.dtype)
    if str(data.ty.dtype) != "float64" or dtype != "float16":
        return _CAST(builder, call)

    def cast(value: Any) -> Any:
        return te.compute(value.shape, lambda *i: value(*i).astype("float32").astype("float16"), name="cast")

    return builder.call_te(cast, data, primfunc_name_hint="cast")


def _libm(name: str) -> Any:
    """A function that LLVM has no intrinsic for; libm's float32 and float64 versions do."""

    def compute(data: Any) -> Any:
        dtype = str(data.dtype)
        wide = "float64" if dtype == "float64" else "float32"
        symbol = name if wide == "float64" else name + "f"

        def element(*i: Any) -> Any:
            return tirx.call_pure_extern(wide, symbol, data(*i).astype(wide)).astype(dtype)

        return te.compute(data.shape, element, name=name)

    return lambda builder, call: builder.call_te(compute, call.args[0], primfunc_name_hint=name)


_CAST = tvm.ir.Op.get("relax.astype").get_attr("FLegalize")

_OURS = {
    "relax.astype": _cast,
    "relax.topk": _topk,
    "relax.sort": _sort,
    "relax.argsort": _argsort,
    "relax.scatter_elements": _scatter_elements,
    "relax.cumsum": _scan(topi.cumsum),
    "relax.cumprod": _scan(topi.cumprod),
    "relax.sinh": _libm("sinh"),
    "relax.cosh": _libm("cosh"),
}
