"""Forests as one kernel each, its loops chosen for the target and the number of rows."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from ..kernels.limits import Limits
from ..operators.by_hand import program
from ..operators.forest import FOREST
from .forest_program import Shape, Writer
from .rewrite import rewrite_calls

_WALKS = 16  # as many as hide the latency of a step; a few on the stack cost less than waiting
_SHARES = 4  # of the rows, for threads
_SUMS = 16 << 10  # bytes of the sums of a block, on the stack


def lower_forests(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Replaces the forests in `main` by calls of their programs."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _lower(builder, call, limits) if getattr(call.op, "name", "") == FOREST else call

    return rewrite_calls(module, visit)


def _lower(builder: relax.BlockBuilder, call: Any, limits: Limits) -> Any:
    attrs, dtype = call.attrs, str(call.ty.dtype)
    (rows, features), (rows, columns) = ([int(n) for n in value.ty.shape] for value in (call.args[0], call))
    trees = int(call.args[-2].ty.shape[0])
    size = 4 if str(call.args[0].ty.dtype) == "float32" else 8
    shape = Shape(
        rows, trees, features, columns, _block(rows, features * size, columns * size, limits), _WALKS,
        max(1, limits.lanes * 4 // size), int(attrs["feature_bits"]), bool(attrs["mixed"]), bool(attrs["shallow"]),
        str(attrs["aggregate"]),
    )  # fmt: skip
    depth = int(call.args[-2].value.numpy()[:, 1].sum())  # of all trees

    def compute(*tensors: Any) -> Any:
        def write(*buffers: Any) -> None:
            Writer(shape, buffers, rows * depth * 4).write()

        return program(list(tensors), [[rows, columns]], [dtype], write, "forest")

    return builder.call_te(compute, *call.args, primfunc_name_hint="forest")


def _block(rows: int, row: int, sums: int, limits: Limits) -> int:
    """Rows of a task: what leaves half of the first-level cache to a tree, but not all rows."""
    most = min(limits.l1 // 2 // row, _SUMS // sums, -(-rows // _SHARES))
    return max(1, -(-min(most, 256) // _WALKS)) * _WALKS
