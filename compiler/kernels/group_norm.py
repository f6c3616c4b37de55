"""Group and instance normalisation with the channels last: what the operator (operators/group_norm.py) computes.

Pixels are taken a few at a time, which stay in the first-level cache while their mean and then the squares of their
distances from it are summed, vectors along the channels. Those of all parts are joined as Chan, Golub and LeVeque do
("Updating formulae and a pairwise algorithm for computing sample variances", 1979): the image is read twice, once for
the statistics and once for the result, and no digits are lost where the mean is far from 0.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tvm import s_tir, tirx
from tvm.script.ir_builder import tirx as T

from .accesses import reads
from .injective import write_nest
from .limits import Limits
from .nest import nest_of
from .rule import Offer, Parameters
from .style import Style
from .vectors import fold, index, install, lanes_of, local, loop, program, rewrite, store, unravel, vector

# The blocks of the program: over [image, group] the sums and means, over [image, channel] what the result is made of.
SUM, MEAN, SQUARES, CENTRE, FACTOR, RESULT = (
    f"group_norm_{part}" for part in ("sum", "mean", "squares", "centre", "factor", "result")
)
_STATISTICS = (SUM, MEAN, SQUARES, CENTRE, FACTOR)

_PIXELS = 32  # of one part
_VECTORS = 4  # of channels at a time, whose sums are in registers


def group_norm_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs of float32 that the operator made, with whatever element-wise follows."""
    names = [block.name_hint for block in _blocks(sch)]
    if not set(_STATISTICS) <= set(names):
        return None
    for rv in sch.get_child_blocks(sch.get_sblock("root")):
        if sch.get(rv).name_hint not in _STATISTICS:
            with contextlib.suppress(s_tir.ScheduleError):  # it writes a result
                sch.compute_inline(rv)
    blocks = {block.name_hint: block for block in _blocks(sch)}
    results = [nest_of(block) for name, block in blocks.items() if name not in _STATISTICS]
    if len(results) != 1 or results[0] is None or str(blocks[SUM].body.value.ty.dtype) != "float32":
        return None
    func, writer, nest = sch.mod["main"], _Writer(blocks, limits), results[0]

    def write(pixels: int, vectors: int) -> None:
        kept = writer.write_statistics(pixels, vectors)
        buffers = {blocks[name].body.buffer: _load(memory) for name, memory in kept.items()}
        value = rewrite(nest.store.value, {}, buffers)
        write_nest(replace(nest, store=tirx.BufferStore(nest.store.buffer, value, nest.store.indices)), Style(limits))

    def apply(chosen: Parameters) -> None:
        install(sch, program(func, lambda: write(chosen["pixels"], chosen["vectors"])))

    space = {"pixels": (8, 16, 32, 64, 128), "vectors": (1, 2, 4, 8)}
    return Offer(apply, {"pixels": _PIXELS, "vectors": _VECTORS}, space)


def _blocks(sch: Any) -> list[Any]:
    return [sch.get(rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]


def _load(memory: Any) -> Callable[[list[Any]], Any]:
    return lambda indices: memory[tuple(indices)]


class _Writer:
    def __init__(self, blocks: Mapping[str, Any], limits: Limits) -> None:
        self.blocks, self.limits = blocks, limits
        (self.data,) = {access.buffer for access in reads(blocks[SUM].body.value)} - {blocks[SUM].body.buffer}
        self.images, *spatial, self.channels = (int(size) for size in self.data.ty.shape)
        self.spatial = tuple(spatial)
        self.size = math.prod(self.spatial)  # pixels of one image
        self.groups = int(blocks[SUM].iter_vars[1].dom.extent)

    def write_statistics(self, pixels: int, vectors: int) -> dict[str, Any]:
        """Writes the loops that compute CENTRE and FACTOR; where they are."""
        parts = -(-self.size // pixels)
        means, squares = (T.alloc_buffer((self.images, parts, self.channels), "float32") for _ in range(2))
        kept = {name: T.alloc_buffer((self.images, self.channels), "float32") for name in (CENTRE, FACTOR)}

        def pixels_of(part: Any) -> Any:
            return index(pixels) if self.size % pixels == 0 else tirx.min(self.size - part * pixels, index(pixels))

        shared = self.images * self.size * self.channels >= self.limits.parallel_work
        with loop(self.images * parts, shared) as task:
            image, part = unravel(task, (self.images, parts))
            self._write_part(image, part, pixels, pixels_of(part), vectors, means, squares)
        with loop(self.images, self.images * parts * self.channels >= self.limits.parallel_work) as image:
            joined, spread = local(self.channels), local(self.channels)
            self._join(image, parts, pixels_of, means, squares, joined, spread)
            self._write_groups(image, joined, spread, kept)
        return kept

    def _write_part(
        self, image: Any, part: Any, pixels: int, count: Any, vectors: int, means: Any, squares: Any
    ) -> None:
        """Mean, and sum of the squares of distances from it, of a few pixels for each channel."""
        lanes = lanes_of(self.channels, self.limits.lanes)
        width = min(vectors, self.channels // lanes) * lanes
        with loop(-(-self.channels // width)) as tile:
            begin = tirx.min(tile * width, index(self.channels - width))  # the last tile overlaps the one before it
            sums, centre = local(width), local(width)

            def add(term: Callable[[Any, Any], Any]) -> None:
                for first in range(0, width, lanes):
                    with vector(lanes) as lane:
                        store(sums, tirx.const(0.0, "float32"), lane + first)
                with T.serial(index(0), count) as number:
                    at = [image, *unravel(part * pixels + number, self.spatial)]
                    for first in range(0, width, lanes):
                        with vector(lanes) as lane:
                            place = (*at, begin + first + lane)
                            value = self.data[place]
                            store(sums, sums[lane + first] + term(value, lane + first), lane + first)

            def distance(value: Any, place: Any) -> Any:
                return (value - centre[place]) * (value - centre[place])

            add(lambda value, _: value)
            for first in range(0, width, lanes):
                with vector(lanes) as lane:
                    store(centre, sums[lane + first] * (tirx.const(1.0, "float32") / _float(count)), lane + first)
            add(distance)
            for first in range(0, width, lanes):
                with vector(lanes) as lane:
                    at = [image, part, begin + first + lane]
                    store(means, centre[lane + first], *at)
                    store(squares, sums[lane + first], *at)

    def _join(
        self,
        image: Any,
        parts: int,
        pixels_of: Callable[[Any], Any],
        means: Any,
        squares: Any,
        joined: Any,
        spread: Any,
    ) -> None:
        """Mean, and sum of squares around it, of all parts of an image for each channel."""
        lanes = lanes_of(self.channels, self.limits.lanes)
        zero, share = tirx.const(0.0, "float32"), tirx.const(1 / self.size, "float32")
        with loop(-(-self.channels // lanes)) as tile:
            begin = tirx.min(tile * lanes, index(self.channels - lanes))
            sums, centre = local(lanes), local(lanes)
            with vector(lanes) as lane:
                store(sums, zero, lane)
            with loop(parts) as part, vector(lanes) as lane:
                mean = means[image, part, begin + lane]
                store(sums, sums[lane] + mean * _float(pixels_of(part)), lane)
            with vector(lanes) as lane:
                store(centre, sums[lane] * share, lane)
            with vector(lanes) as lane:
                store(sums, zero, lane)
            with loop(parts) as part, vector(lanes) as lane:
                apart = means[image, part, begin + lane] - centre[lane]
                own = squares[image, part, begin + lane] + apart * apart * _float(pixels_of(part))
                store(sums, sums[lane] + own, lane)
            with vector(lanes) as lane:
                store(joined, centre[lane], begin + lane)
                store(spread, sums[lane], begin + lane)

    def _write_groups(self, image: Any, joined: Any, spread: Any, kept: Mapping[str, Any]) -> None:
        """CENTRE and FACTOR of an image, from the statistics of its channels."""
        size = self.channels // self.groups
        centre, factor = self.blocks[CENTRE], self.blocks[FACTOR]

        def write(channel: Any, mean: Any, total: Any) -> None:
            for block, source, number in ((centre, MEAN, mean), (factor, SQUARES, total)):
                values = dict(zip((axis.var for axis in block.iter_vars), (image, channel), strict=True))
                buffers = {self.blocks[source].body.buffer: lambda _, n=number: n}
                store(kept[block.name_hint], rewrite(block.body.value, values, buffers), image, channel)

        if size == 1:
            lanes = lanes_of(self.channels, self.limits.lanes)
            with loop(-(-self.channels // lanes)) as tile:
                begin = tirx.min(tile * lanes, index(self.channels - lanes))
                with vector(lanes) as lane:
                    write(begin + lane, joined[begin + lane], spread[begin + lane])
            return
        lanes = min(size & -size, self.limits.lanes)  # whole vectors
        with loop(self.groups) as group:
            mean, total = local(lanes), local(lanes)
            self._sum(mean, group * size, size, lambda at: joined[at])
            store(mean, mean[index(0)] * tirx.const(1 / size, "float32"), index(0))

            def around(at: Any) -> Any:
                apart = joined[at] - mean[index(0)]
                return spread[at] + apart * apart * tirx.const(float(self.size), "float32")

            self._sum(total, group * size, size, around)
            with loop(size // lanes) as step, vector(lanes) as lane:
                write(group * size + step * lanes + lane, mean[index(0)], total[index(0)])

    def _sum(self, sums: Any, begin: Any, size: int, term: Callable[[Any], Any]) -> None:
        """The sum of terms into the first element of `sums`, one vector."""
        lanes = int(sums.ty.shape[0])
        with vector(lanes) as lane:
            store(sums, tirx.const(0.0, "float32"), lane)
        with loop(size // lanes) as step, vector(lanes) as lane:
            store(sums, sums[lane] + term(begin + step * lanes + lane), lane)
        fold(sums, lanes, lambda a, b: a + b)


def _float(value: Any) -> Any:
    return value.astype("float32")
