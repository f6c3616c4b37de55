"""Resampling along axes: each result is a weighted sum of a few elements, which tables name.

Images are resized by it. Tables cost a load where formulas would cost a dozen operations for each pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te

from .define import axes_of, define

RESAMPLE = "edgec.resample"
_WIDE = 8  # elements along the last axis that make vectors of their own


def resample(data: Any, tables: dict[int, tuple[Any, Any]]) -> Any:
    """A Relax expression: `data` float32 (any type if nothing has weights), resampled along some axes.

    Args:
        tables: by axis, integers [size, taps] inside of the axis, and float weights of that shape; None for one tap.
    """
    constants = []
    for places, weights in tables.values():
        constants.append(relax.const(np.asarray(places, "int32")))
        constants += [] if weights is None else [relax.const(np.asarray(weights, "float32"))]
    weighted = [int(weights is not None) for _, weights in tables.values()]
    return _call(data, *constants, axes=list(tables), weighted=weighted)


def _infer_type(call: Any) -> Any:
    shape = [int(size) for size in call.args[0].ty.shape]
    for axis, (places, _weights) in _tables(call, list(call.args[1:])).items():
        shape[axis] = int(places.ty.shape[0])
    return relax.TensorType(shape, str(call.args[0].ty.dtype))


def _tables(call: Any, constants: Sequence[Any]) -> dict[int, tuple[Any, Any]]:
    """Places and weights by axis, of whatever stands for the call's constants."""
    rest = iter(constants)
    weighted = [bool(w) for w in call.attrs["weighted"]]
    return {axis: (next(rest), next(rest) if w else None) for axis, w in zip(axes_of(call), weighted, strict=True)}


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    """All axes in one program, or one after the other where elements of neighbouring pixels share a vector."""
    data, tables = call.args[0], _tables(call, list(call.args[1:]))
    shape = [int(size) for size in data.ty.shape]
    last = max((axis for axis, size in enumerate(shape) if size > 1), default=0)
    together = last not in tables and shape[last] >= _WIDE
    if together or all(weights is None for _, weights in tables.values()):
        return _program(builder, data, tables)
    # What shrinks comes first; of the rest the outer axes, along which whole rows are mixed.
    order = sorted(tables, key=lambda axis: (int(tables[axis][0].ty.shape[0]) >= shape[axis], axis))
    for axis in order[:-1]:
        data = builder.emit(_program(builder, data, {axis: tables[axis]}))
    return _program(builder, data, {order[-1]: tables[order[-1]]})


def _program(builder: relax.BlockBuilder, data: Any, tables: dict[int, tuple[Any, Any]]) -> Any:
    constants = [constant for table in tables.values() for constant in table if constant is not None]
    # A vector of neighbouring pixels needs formulas.
    narrow = int(data.ty.shape[-1]) < _WIDE or len(data.ty.shape) - 1 in tables
    repeats = {axis: n for axis, table in tables.items() if narrow and (n := _repeats(*table)) is not None}

    def resampled(values: Any, *given: Any) -> Any:
        rest = iter(given)
        known = {axis: (next(rest), None if w is None else next(rest)) for axis, (_, w) in tables.items()}
        shape = list(values.shape)
        for axis, (places, _) in known.items():
            shape[axis] = places.shape[0]

        def mixed(at: list[Any], axes: list[int]) -> Any:
            if not axes:
                return values(*at)
            axis, *inner = axes
            places, weights = known[axis]
            total = None
            for tap in range(int(places.shape[1])):
                place = at[axis] // repeats[axis] if axis in repeats else places[at[axis], tap]
                term = mixed([place if n == axis else i for n, i in enumerate(at)], inner)
                term = term if weights is None else term * weights[at[axis], tap]
                total = term if total is None else total + term
            return total

        return te.compute(shape, lambda *at: mixed(list(at), list(known)), name="resample")

    # What comes before is not computed again for each tap; what comes after joins.
    return builder.call_te(resampled, data, *constants, primfunc_name_hint="resample", primfunc_attrs={"op_pattern": 4})


def _repeats(places: Any, weights: Any) -> int | None:
    """How often each element is repeated, if that is all that happens to it."""
    table = places.value.numpy()
    size = int(table.max(initial=0)) + 1
    count = len(table) // size
    same = weights is None and count > 0 and np.array_equal(table[:, 0], np.arange(len(table)) // count)
    return count if same else None


_call = define(RESAMPLE, _infer_type, _legalize)
