"""Buffers of tensor programs without symbolic offsets.

Programs that TVM writes by hand, as scatters and scans, declare buffers at an unknown offset in their memory;
ours begin where their pointer says.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx


def make_buffers_plain(module: tvm.IRModule) -> tvm.IRModule:
    """Replaces the symbolic offset of every parameter by 0, in all tensor programs."""
    changed = tvm.IRModule(dict(module.functions.items()), attrs=module.attrs)
    for var, func in module.functions.items():
        if isinstance(func, tirx.PrimFunc):
            changed.update_func(var, _plain(func))
    return changed


def _plain(func: Any) -> Any:
    offsets = [getattr(param.ty, "elem_offset", None) for param in func.params]
    symbolic = [offset for offset in offsets if isinstance(offset, ir.Var)]
    if not symbolic:
        return func

    def replace(var: Any) -> Any:
        return tirx.IntImm(str(var.ty.dtype), 0) if any(var.same_as(o) for o in symbolic) else var

    return tvm_ffi.structural_map(func, [(ir.Var, replace)])
