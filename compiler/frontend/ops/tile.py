"""Tile and the like: TVM's converter writes a finished kernel, whose remainders LLVM computes wrongly for AVX-512."""

from __future__ import annotations

from typing import Any


def tile(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [d0…], repeats (constant) → x that many times along each axis."""
    from tvm import ir, relax

    x, repeats = inputs
    if not isinstance(repeats, ir.GenericConst):
        raise ValueError("its repeats are not constant")
    sizes, counts = [int(size) for size in x.ty.shape], [int(count) for count in repeats.value.numpy()]
    if all(count == 1 for count in counts):
        return x
    apart = [n for size, count in zip(sizes, counts, strict=True) for n in ([1] if count != 1 else []) + [size]]
    spread = [n for size, count in zip(sizes, counts, strict=True) for n in ([count] if count != 1 else []) + [size]]
    x = bb.emit(relax.op.broadcast_to(bb.emit(relax.op.reshape(x, apart)), spread))
    return bb.normalize(relax.op.reshape(x, [size * count for size, count in zip(sizes, counts, strict=True)]))
