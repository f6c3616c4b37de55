"""Keeps indices that come from the model's inputs inside the tensors they point into.

ONNX leaves an index out of range undefined; TVM's kernels would read or write memory that is not theirs.
Clamping costs two instructions an index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .rewrite import operator_of, rewrite_calls

# Operators with an axis, and those whose last index axis runs over several.
_AXIS = {"relax.gather_elements", "relax.scatter_elements"}
_ND = {"relax.gather_nd", "relax.scatter_nd"}


def bound_indices(module: tvm.IRModule) -> tvm.IRModule:
    """Clamps the indices of gathers and scatters in `main`, unless they are constants within bounds."""
    return rewrite_calls(module, _bound)


def _bound(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call)
    if name == "relax.take":
        if str(call.attrs.mode) in ("wrap", "clip"):
            return call  # inside already; and -1 means another element to each of them
        axis = None if call.attrs.axis is None else int(call.attrs.axis)
        return builder.normalize(relax.op.take(call.args[0], call.args[1], axis, mode="clip"))
    if name not in _AXIS | _ND:
        return call
    data, indices = call.args[0], call.args[1]
    shape = [int(d) for d in data.ty.shape]
    if name in _AXIS:
        limits = [shape[int(call.attrs.axis)]]
    else:
        batch = int(getattr(call.attrs, "batch_dims", 0) or 0)
        depth = int(indices.ty.shape[-1])
        limits = shape[batch : batch + depth]
    dtype = str(indices.ty.dtype)
    highest = np.maximum(np.asarray(limits) - 1, 0).astype(dtype)
    if isinstance(indices, ir.GenericConst):
        values = indices.value.numpy()
        if ((values >= 0) & (values <= highest)).all():
            return call
    # Without its type named, `relax.const` makes 32-bit integers of 64-bit ones.
    zero, last = relax.const(np.zeros_like(highest), dtype), relax.const(highest, dtype)
    if dtype.startswith("int"):  # negative ones count from the end
        size = relax.const(highest + np.ones_like(highest), dtype)
        negative = builder.emit(relax.op.less(indices, zero))
        indices = builder.emit(relax.op.where(negative, builder.emit(relax.op.add(indices, size)), indices))
    bounded = builder.emit(relax.op.maximum(relax.op.minimum(indices, last), zero))
    return ir.Call(call.op, [data, bounded, *call.args[2:]], call.attrs, call.ty_args, ret_ty=call.ty)
