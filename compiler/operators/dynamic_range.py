"""Scale and zero point of a tensor's own range, as DynamicQuantizeLinear has them, in one pass over it."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.vectors import fold, index, lanes_of, loop, store, vector
from .by_hand import independent, program, serial
from .define import define

DYNAMIC_RANGE = "edgec.dynamic_range"

STEPS = 255
_LANES, _VECTORS = 16, 4  # of minima and maxima that do not wait for each other
_BLOCK = 1 << 15  # elements that a thread takes at least


def dynamic_range(data: Any) -> Any:
    """A Relax expression: the tuple of scale (float32) and zero point (uint8), both of shape [], of float32 `data`."""
    return _call(data)


def store_range(low: Any, high: Any, step: Any, zero: Any, lowest: int, *at: Any) -> None:
    """Writes the step and the zero point of a range around 0; the first of the 256 numbers is `lowest`."""
    width = high - low
    store(step, tirx.Select(width > _float(0), width / _float(STEPS), _float(1)), *at)
    place = tirx.nearbyint(tirx.max(tirx.min(-low / step[at], _float(STEPS)), _float(0)))
    dtype = str(zero.dtype)
    store(zero, (place.astype("int32") + tirx.const(lowest, "int32")).astype(dtype), *at)


def bounds_around_zero(lanes: int) -> list[Any]:
    """Buffers for the least and the greatest of values and 0, in each of some lanes."""
    bounds = [T.alloc_buffer((lanes,), "float32", scope="local") for _ in range(2)]
    with vector(lanes) as lane:
        for bound in bounds:
            store(bound, _float(0), lane)
    return bounds


def widen_bounds(bounds: list[Any], value: Any, lane: Any) -> None:
    for bound, choose in zip(bounds, (tirx.min, tirx.max), strict=True):
        store(bound, choose(bound[lane], value), lane)


def fold_bounds(bounds: list[Any], lanes: int) -> None:
    for bound, choose in zip(bounds, (tirx.min, tirx.max), strict=True):
        fold(bound, lanes, choose)


def _infer_type(call: Any) -> Any:
    return relax.TupleType([relax.TensorType([], "float32"), relax.TensorType([], "uint8")])


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    size = math.prod(int(extent) for extent in call.args[0].ty.shape)
    blocks = max(1, size // _BLOCK)
    part = -(-size // blocks)

    def ranged(data: Any) -> Any:
        def write(source: Any, step: Any, zero: Any, parts: Any) -> None:
            with independent(blocks, size) as block:
                bounds = _bounds(source, tirx.min(block * part, index(size - part)), part)
                for which, bound in enumerate(bounds):
                    store(parts, bound[0], block, which)
            whole = bounds_around_zero(1)
            with serial(blocks) as block:
                for bound, choose, which in zip(whole, (tirx.min, tirx.max), range(2), strict=True):
                    store(bound, choose(bound[0], parts[block, which]), index(0))
            store_range(whole[0][0], whole[1][0], step, zero, 0)

        return program([data], [[], [], [blocks, 2]], ["float32", "uint8", "float32"], write, "dynamic_range")

    data = builder.emit(relax.op.reshape(call.args[0], [size]))
    made = builder.emit(builder.call_te(ranged, data, primfunc_name_hint="dynamic_range"))
    return relax.Tuple([builder.emit(relax.TupleGetItem(made, i)) for i in range(2)])


def _bounds(source: Any, begin: Any, size: int) -> list[Any]:
    """The least and greatest of `size` elements and 0, in the first places of two buffers."""
    lanes = lanes_of(size, _LANES)
    vectors = lanes_of(size // lanes, _VECTORS)
    together = lanes * vectors
    bounds = bounds_around_zero(together)
    with loop(-(-size // together)) as place:
        first = begin + tirx.min(place * together, index(size - together))
        for n in range(vectors):
            with vector(lanes) as lane:
                widen_bounds(bounds, source[first + n * lanes + lane], n * lanes + lane)
    fold_bounds(bounds, lanes * vectors)
    return bounds


def _float(value: float) -> Any:
    return tirx.const(float(value), "float32")


_call = define(DYNAMIC_RANGE, _infer_type, _legalize)
