"""Computes large images band by band, through several layers, so that what lies between them stays in the cache.

A value of many rows and channels that one layer writes and the next one reads goes out to memory and comes back. Here a
region of layers is computed for some rows of its result at a time; what neighbouring bands both take is computed twice.
The memory plan needs room for a band alone. See Alwani, Chen, Ferdman and Milder, "Fused-Layer CNN Accelerators",
MICRO 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
from tvm import relax

from ..kernels.limits import Limits
from .band_rows import Region, Row, Rows
from .choices import Choices
from .rewrite import (
    count_uses,
    definitions_of,
    item_bytes,
    operator_of,
    readers_of,
    replace_bindings,
    shape_of,
    variables_of,
)

_ANCHORS = ("relax.nn.conv2d", "relax.nn.max_pool2d")
_MOST_CALLS = 48  # in a region
_EFFICIENCY = 0.85  # of multiply-adds, two vectors a cycle; as of packed kernels in kernels/estimate.py
_CALL_CYCLES = 400.0  # between those of a call (kernels/estimate.py) and of a launch of threads (kernels/limits.py)
# For less these estimates are not exact enough: cycles saved for one lost, and the gain's share of the region's work.
_LEAST_GAIN, _LEAST_SHARE = 1.5, 0.05
_CROWDED = 0.75  # of what is saved, where a band leaves little room in the cache


def use_bands(module: tvm.IRModule, limits: Limits, choices: Choices | None = None) -> tvm.IRModule:
    """Computes regions of `main` band by band where that saves more than it costs.

    Args:
        choices: gets the rows of each region's bands, 0 for all at once, as a choice of the kind `bands`.
    """
    made = {}
    for region, rows, options in _regions(module, limits):
        if choices is not None:
            rows = choices.pick("bands", region.first, rows, options)
        if rows:
            made[region.result] = partial(region.emit, rows=rows)
    if not made:
        return module
    return relax.transform.DeadCodeElimination()(replace_bindings(module, made))


@dataclass(frozen=True)
class _Plan:
    """Bands of so many rows.

    Attributes:
        saved: cycles.
        lost: cycles.
    """

    region: Region
    rows: int
    saved: float
    lost: float

    @property
    def gain(self) -> float:
        return self.saved - self.lost


def _regions(module: tvm.IRModule, limits: Limits) -> Iterator[tuple[Region, int, tuple[int, ...]]]:
    """Regions that share no call, the rows that their bands shall have or 0, and what else these could be.

    Those whose values might just stay in the cache are left as they are, for a tuner to try.
    """
    definitions = definitions_of(module)
    rows_of = {var: Row.of(call) for var, call in definitions.items()}
    readers, uses = readers_of(definitions), count_uses(module)
    anchors = [var for var, call in definitions.items() if operator_of(call) in _ANCHORS and rows_of[var] is not None]
    grown = {first: list(_grow(first, rows_of, definitions, readers, uses)) for first in anchors}
    taken: set[Any] = set()
    for least, is_default in ((limits.l2_whole, True), (limits.l2_whole // 2, False)):
        plans = {
            first: [_best_plan(region, readers, limits, least) for region in regions if taken.isdisjoint(region.rows)]
            for first, regions in grown.items()
        }
        for plan in _best_plans(anchors, plans):
            taken |= plan.region.rows.keys()
            sizes = sorted({plan.rows // 2, plan.rows, 2 * plan.rows})
            options = [rows for rows in sizes if 0 < rows < plan.region.height and plan.region.is_possible(rows)]
            yield plan.region, plan.rows if is_default else 0, (0, *options)


def _best_plans(anchors: Sequence[Any], plans: Mapping[Any, Sequence[_Plan | None]]) -> list[_Plan]:
    """Those that gain the most together, of which none begins before the one before it ends.

    Args:
        plans: by the first call of their regions; None for a region that is better left as it is.
    """
    places = {var: place for place, var in enumerate(anchors)}
    best: list[tuple[float, list[_Plan]]] = [(0.0, [])] * (len(anchors) + 1)  # of what comes after
    for place in reversed(range(len(anchors))):
        best[place] = best[place + 1]
        for plan in plans[anchors[place]]:
            if plan is not None:
                after = 1 + max(places[var] for var in plan.region.rows if var in places)
                gain = plan.gain + best[after][0]
                if gain > best[place][0]:
                    best[place] = gain, [plan, *best[after][1]]
    return best[0][1]


def _grow(
    first: Any,
    rows_of: Mapping[Any, Row | None],
    definitions: Mapping[Any, Any],
    readers: Mapping[Any, Sequence[Any]],
    uses: Mapping[Any, int],
) -> Iterator[Region]:
    """The regions that begin with a call, and of whose values only the last is read elsewhere; the shortest first."""
    inside: dict[Any, Row] = {}
    unread: dict[Any, int] = {}  # how often the region's values are read by what is not in it
    variables = list(definitions)
    for var in variables[variables.index(first) :]:
        read = [value for value in variables_of(definitions[var]) if value in inside]
        if var is not first and not read:
            continue
        row = rows_of[var]
        if row is None or any(value not in [image for image, _ in row.images] for value in read):
            return
        for value in read:
            unread[value] -= 1
        inside[var], unread[var] = row, uses.get(var, 0)
        after = [rows_of[reader] for reader in readers.get(var, ())]
        # What fusion joins to one kernel, and a padding and what reads it, are not parted.
        joined = _is_padding(row) or (bool(after) and all(one is not None and one.elementwise for one in after))
        if not joined and not any(count for value, count in unread.items() if value is not var):
            yield Region(dict(inside))
        if len(inside) == _MOST_CALLS:
            return


def _is_padding(row: Row) -> bool:
    return operator_of(row.call) == "relax.nn.pad"


def _best_plan(region: Region, readers: Mapping[Any, Sequence[Any]], limits: Limits, least: int) -> _Plan | None:
    """None if no bands save much more than they lose."""
    best = max(_plans(region, readers, limits, least), key=lambda plan: plan.gain, default=None)
    if best is None or best.saved < _LEAST_GAIN * best.lost:
        return None
    work = sum(row.height * _row_cycles(row, limits) for row in _anchors(region).values())
    return best if best.gain > _LEAST_SHARE * work else None


def _anchors(region: Region) -> dict[Any, Row]:
    return {var: row for var, row in region.rows.items() if operator_of(row.call) in _ANCHORS}


def _plans(region: Region, readers: Mapping[Any, Sequence[Any]], limits: Limits, least: int) -> Iterator[_Plan]:
    """Bands with which a region's values stay in the second-level cache.

    Args:
        least: bytes of a value and the next one that do not stay there together.
    """
    stored = {
        var: row
        for var, row in region.rows.items()
        if var is not region.result
        and not _is_padding(row)  # its operand is written into it
        and not all(region.rows[reader].elementwise for reader in readers[var])
    }
    vector = 4 * limits.lanes
    sizes = [row.nbytes * row.height for row in (*stored.values(), region.rows[region.result])]
    large = [(size, size + after) for size, after in itertools.pairwise(sizes) if size + after > least]
    near, *far = limits.moving
    # What is written to and read from beyond the second-level cache.
    saved = sum(2 * size / vector * (far[together > limits.l3] - near) for size, together in large)
    for rows in _numbers(region.height) if saved else ():
        needs = region.needs_of_bands(rows)
        if needs is None:
            continue
        room = max(sum((need[var][1] - need[var][0]) * row.nbytes for var, row in stored.items()) for need, _ in needs)
        if room > limits.l2_whole // 2:
            return
        share = 1.0 if room <= limits.l2_whole // 4 else _CROWDED
        yield _Plan(region, rows, saved * share, _lost(region, rows, needs, limits))


def _lost(region: Region, rows: int, needs: Sequence[tuple[Mapping[Any, Rows], int]], limits: Limits) -> float:
    """Cycles: rows that are computed again, calls, and weights, which every band reads.

    Args:
        needs: of the region's bands.
    """
    cycles, bands = 0.0, len(region.bands(rows))
    for var, row in _anchors(region).items():
        computed = sum((need[var][1] - need[var][0]) * count for need, count in needs)
        cycles += (computed - row.height) * _row_cycles(row, limits)
        weights = sum(math.prod(shape_of(arg)) * item_bytes(arg) for arg in row.call.args[1:])
        cycles += (bands - 1) * (_CALL_CYCLES + weights / (4 * limits.lanes))
    return cycles


def _numbers(height: int) -> list[int]:
    """Rows of bands to look at, in steps of about a third, the least first."""
    counts = {round(2 * 1.35**step) for step in range(12)}  # up to 54 bands: each takes time to compile
    return sorted({-(-height // count) for count in counts if count <= height})


def _row_cycles(row: Row, limits: Limits) -> float:
    """Of a row of the result of a convolution or pooling."""
    data, *weights = row.call.args
    taps = math.prod(shape_of(weights[0])[:3] if weights else map(int, row.call.attrs.pool_size))
    together = limits.lanes * (4 / item_bytes(data) if limits.dots or item_bytes(data) > 1 else 2)
    return row.nbytes / item_bytes(row.call) * taps / (2 * _EFFICIENCY * together)
