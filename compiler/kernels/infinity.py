"""Maxima and minima that know infinity.

TVM begins a maximum with the largest finite number negated, and position -1 for its place: of values that are
all -∞ it makes a finite one, and an index outside the tensor. This comes after scheduling, whose primitives
know a maximum by how it begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm_ffi
from tvm import s_tir, tirx


def begin_with_infinity(func: Any) -> Any:
    """Lets the reductions of a tensor program begin with infinities, and at position 0."""
    return tvm_ffi.structural_map(func, [(s_tir.SBlock, _exact)])


def _exact(block: Any) -> Any:
    if block.name_hint.endswith("_init"):  # of decompose_reduction
        body, init = _begin(block.body, len(block.writes)), block.init
    elif block.init is not None:
        body, init = block.body, _begin(block.init, len(block.writes))
    else:
        return block
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _begin(statement: Any, writes: int) -> Any:
    def on_store(store: Any) -> Any:
        value, dtype = store.value, str(store.value.ty.dtype)
        if isinstance(value, tirx.FloatImm) and dtype in ("float16", "float32", "float64"):
            if abs(value.value) < float(np.finfo(dtype).max):
                return store
            value = tirx.FloatImm(dtype, float(np.copysign(np.inf, value.value)))
        elif isinstance(value, tirx.IntImm) and value.value == -1 and writes > 1:  # the position beside a value
            value = tirx.IntImm(dtype, 0)
        else:
            return store
        return tirx.BufferStore(store.buffer, value, store.indices)

    return tvm_ffi.structural_map(statement, [(tirx.BufferStore, on_store)])
