"""Constant tables of integers, as of labels, in the narrowest type that holds them: what is gathered is widened again.

Converters write them as int64, of which most say less than a byte does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import operator_of, rewrite_calls

_NARROW = ("int8", "uint8", "int16", "uint16", "int32")
_FEWEST = 64  # elements; constants are aligned to as many bytes


def narrow_tables(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites the gathers in `main` from constant tables of integers that a narrower type holds."""
    return rewrite_calls(module, _narrow)


def _narrow(builder: relax.BlockBuilder, call: Any) -> Any:
    if operator_of(call) != "relax.take" or not isinstance(call.args[0], ir.GenericConst):
        return call
    table, dtype = call.args[0].value, str(call.ty.dtype)
    if not dtype.startswith(("int", "uint")) or table.numpy().size < _FEWEST:
        return call
    values = table.numpy()
    least, most = int(values.min()), int(values.max())
    for narrow in _NARROW:
        info = np.iinfo(narrow)
        if info.min <= least and most <= info.max and info.bits < np.iinfo(dtype).bits:
            axis = None if call.attrs.axis is None else int(call.attrs.axis)
            read = relax.op.take(constant(values.astype(narrow)), call.args[1], axis, mode=str(call.attrs.mode))
            return relax.op.astype(builder.emit(read), dtype)
    return call
