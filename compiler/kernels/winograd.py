"""Winograd convolutions: the transforms of tiles, and the products between them.

The pass that makes these programs (passes/winograd.py) says what they compute. A transform keeps one tile of
one vector of channels in registers; its loops over the tile are written out, so that the selection of a
formula by position, and all zeros, are gone before code is generated.
"""

from __future__ import annotations

from typing import Any

from .analysis import blocks_of
from .generic import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .rule import Offer, Parameters

HALF = "winograd_half"  # blocks that this rule recognises: a tile transformed along one of its two axes


def winograd_rule(sch: Any, limits: Limits) -> Offer | None:
    """Transforms of tiles: of the input into [A, A, N, TH, TW, C], or of sums into an image and its epilogue."""
    blocks = blocks_of(sch)
    halves = [b for b in blocks if b.name.startswith(HALF)]
    if len(halves) != 1 or any(b.reduction for b in blocks):
        return None
    half = halves[0].name
    inline_producers(sch, [b for b in blocks if b.name != half])
    rest = [b for b in blocks_of(sch) if b.name != half]
    if len(rest) != 1 or rest[0].spatial[-1] < 1:
        return None
    channels = rest[0].spatial[-1]
    lanes = limits.lanes
    while lanes > channels:
        lanes //= 2
    inverse = len(rest[0].spatial) == 4
    tile = halves[0].spatial[3]  # of the output

    def apply(_chosen: Parameters) -> None:
        out = sch.get_sblock(rest[0].name)
        sch.set_scope(sch.get_sblock(half), 0, "local")
        if inverse:
            n, h, w, c = sch.get_loops(out)
            ty, y = sch.split(h, [None, tile])
            tx, x = sch.split(w, [None, tile])
        else:
            y, x, n, ty, tx, c = sch.get_loops(out)
        block, lane = split_overlapping(sch, c, lanes, channels)
        sch.reorder(n, ty, tx, block, y, x, lane)
        sch.compute_at(sch.get_sblock(half), block, preserve_unit_loops=True)
        inner = sch.get_loops(sch.get_sblock(half))[4:]
        for loop in [y, x, *inner[:-1]]:
            sch.unroll(loop)
        sch.vectorize(lane)
        sch.vectorize(inner[-1])
        if halves[0].work >= limits.parallel_work:
            sch.parallel(sch.fuse(n, ty))

    return Offer(apply)
