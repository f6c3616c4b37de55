"""Pooling over regions of images that only the model's inputs name (He et al., "Mask R-CNN", section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from .by_hand import independent, program, serial, whole
from .define import define

ALIGN = "edgec.align_regions"


@dataclass(frozen=True)
class Grid:
    """How a region becomes an image.

    Attributes:
        sizes: height and width of the result.
        scale: from the regions' coordinates to the data's.
        samples: along each side of a cell; 0 for as many as it has elements.
        maximum: the largest share of a sample, in place of the samples' mean.
        half_pixel: elements lie at half coordinates; else regions have at least one element.
    """

    sizes: Sequence[int]
    scale: float
    samples: int
    maximum: bool
    half_pixel: bool


def align_regions(data: Any, regions: Any, images: Any, grid: Grid) -> Any:
    """A Relax expression: [regions, channels, *grid.sizes].

    Args:
        data: [images, channels, height, width] of floats.
        regions: [regions, 4] of floats: left, top, right, bottom.
        images: [regions], int64: which image each region is of.
    """
    return _call(
        data,
        regions,
        images,
        sizes=[int(n) for n in grid.sizes],
        scale=float(grid.scale),
        samples=int(grid.samples),
        maximum=int(grid.maximum),
        half_pixel=int(grid.half_pixel),
    )


def _infer_type(call: Any) -> Any:
    data, regions = (argument.ty for argument in call.args[:2])
    shape = [int(regions.shape[0]), int(data.shape[1]), *(int(n) for n in call.attrs["sizes"])]
    return relax.TensorType(shape, str(data.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    attrs = call.attrs
    grid = Grid(
        [int(n) for n in attrs["sizes"]],
        float(attrs["scale"]),
        int(attrs["samples"]),
        bool(attrs["maximum"]),
        bool(attrs["half_pixel"]),
    )
    shape, dtype = [int(n) for n in call.ty.shape], str(call.ty.dtype)
    wide = "float64" if dtype == "float64" else "float32"

    def aligned(data: Any, regions: Any, images: Any) -> Any:
        def write(source: Any, boxes: Any, numbers: Any, result: Any) -> None:
            with independent(shape[0] * shape[1], shape[0] * shape[1] * shape[2] * shape[3] * 64) as both:
                region, channel = tirx.floordiv(both, whole(shape[1])), tirx.floormod(both, whole(shape[1]))
                _pool(source, boxes, numbers, result, region, channel, grid, wide)

        return program([data, regions, images], [shape], [wide], write, "align_regions")

    made = builder.call_te(aligned, *call.args, primfunc_name_hint="align_regions")
    return made if dtype == wide else builder.normalize(relax.op.astype(builder.emit(made), dtype))


def _pool(
    source: Any, boxes: Any, numbers: Any, result: Any, region: Any, channel: Any, grid: Grid, dtype: str
) -> None:
    """Writes one channel of one region."""
    zero, one = tirx.const(0, dtype), tirx.const(1, dtype)
    local = T.alloc_buffer((6,), dtype, scope="local")  # begin and step of a cell by axis; value; largest or total
    counts = T.alloc_buffer((2,), "int64", scope="local")
    offset = tirx.const(0.5 if grid.half_pixel else 0.0, dtype)
    scale = tirx.const(grid.scale, dtype)
    for axis in (0, 1):
        first, last = (boxes[region, whole(n)].astype(dtype) * scale - offset for n in (1 - axis, 3 - axis))
        side = last - first if grid.half_pixel else tirx.max(last - first, one)
        T.buffer_store(local, first, [axis])
        T.buffer_store(local, side / tirx.const(grid.sizes[axis], dtype), [2 + axis])
        count = whole(grid.samples) if grid.samples else tirx.ceil(local[2 + axis]).astype("int64")
        T.buffer_store(counts, tirx.max(count, whole(0)), [axis])
    image = tirx.min(tirx.max(numbers[region].astype("int64"), whole(0)), whole(int(source.shape[0]) - 1))
    with serial(grid.sizes[0]) as row, serial(grid.sizes[1]) as column:
        T.buffer_store(local, zero, [5])
        with serial(counts[0]) as down, serial(counts[1]) as across:
            at = []
            for axis, cell, step in ((0, row, down), (1, column, across)):
                share = (step.astype(dtype) + tirx.const(0.5, dtype)) / counts[axis].astype(dtype)
                at.append(local[axis] + (cell.astype(dtype) + share) * local[2 + axis])
            T.buffer_store(local, _sample(source, image, channel, at, grid.maximum, dtype), [4])
            if grid.maximum:
                start = tirx.all(down == 0, across == 0)
                T.buffer_store(local, tirx.Select(start, local[4], tirx.max(local[5], local[4])), [5])
            else:
                T.buffer_store(local, local[5] + local[4], [5])
        total = tirx.max(counts[0] * counts[1], whole(1)).astype(dtype)
        T.buffer_store(result, local[5] if grid.maximum else local[5] / total, [region, channel, row, column])


def _sample(source: Any, image: Any, channel: Any, at: Sequence[Any], maximum: bool, dtype: str) -> Any:
    """The sum of the shares of the four elements around a point, or the largest one; zero far outside."""
    zero, one, sizes = tirx.const(0, dtype), tirx.const(1, dtype), [int(size) for size in source.shape][2:]
    inside, lows, highs, shares = [], [], [], []
    for place, size in zip(at, sizes, strict=True):
        inside += [place >= tirx.const(-1, dtype), place <= tirx.const(size, dtype)]
        clamped = tirx.min(tirx.max(place, zero), tirx.const(size - 1, dtype))
        low = tirx.min(tirx.floor(clamped).astype("int64"), whole(size - 1))
        lows.append(low)
        highs.append(tirx.min(low + whole(1), whole(size - 1)))
        shares.append(clamped - low.astype(dtype))
    terms = []
    for row, down in ((lows[0], one - shares[0]), (highs[0], shares[0])):
        for column, across in ((lows[1], one - shares[1]), (highs[1], shares[1])):
            terms.append(source[image, channel, row, column].astype(dtype) * down * across)
    mixed = (
        tirx.max(tirx.max(terms[0], terms[1]), tirx.max(terms[2], terms[3])) if maximum else sum(terms[1:], terms[0])
    )
    return tirx.if_then_else(tirx.all(*inside), mixed, zero)


_call = define(ALIGN, _infer_type, _legalize)
