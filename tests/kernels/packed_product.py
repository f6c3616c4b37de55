"""A product on packed weights, as the pass that packs them makes it."""

from __future__ import annotations

from typing import Any

from tvm import te

from compiler.kernels.packed import ACCUMULATOR


def packed_product(rows: int, depth: int, channels: int, width: int) -> Any:
    """[rows, depth] by weights `w` [blocks, depth, width], of which the last block may have channels too many."""
    shape = (rows, -(-channels // width), width)
    x, w = te.placeholder((rows, depth), name="x"), te.placeholder((shape[1], depth, width), name="w")
    k = te.reduce_axis((0, depth), "k")
    sums = te.compute(shape, lambda i, b, l: te.sum(x[i, k] * w[b, k, l], axis=k), name=ACCUMULATOR)
    y = te.compute((rows, channels), lambda i, j: sums[i, j // width, j % width], name="y")
    return te.create_prim_func([x, w, y], index_dtype_override="int64")
