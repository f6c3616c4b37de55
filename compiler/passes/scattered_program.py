"""The program of a product with zeros here and there among the weights: vectors run along the rows.

For each output it goes over the weights that are not zero. A weight, the same for all rows, is multiplied with what
some rows have of one input, which lies side by side if the data are transposed. See Elsen et al., "Fast Sparse
ConvNets", CVPR 2020 (arXiv:1911.09723).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.limits import Limits
from ..kernels.vectors import store, vector
from ..operators.by_hand import independent, program, serial, whole

Array = np.ndarray[Any, Any]

# The time that half a cycle takes, of which a load or a multiply-add of a vector needs one, is a slot. The numbers are
# measured on an AMD Zen 5 with one thread, for 196x256 by 256x256, 49x512 by 512x512, 784x128 by 128x128, 3136x64 by
# 64x256, 197x192 by 192x768 and 128x768 by 768x768: with 80 % of the weights zero, here and there, these are 1.1 to 1.7
# times as fast as dense ones, with 90 % 2.0 to 3.2 times. Of none that was slower the rule says that it pays.
_LATENCY = 4  # slots that a weight takes at least, of two that are summed at once
_BESIDE = 2  # loads of a weight and of its place
_FAR = 2.5  # slots of a load from the second-level cache
_NEAR = 0.75  # of the first-level cache, what a tile may fill
_TURNED = 30  # slots for a vector of the data or the result to be transposed
_DENSE = 1.15  # slots of a multiply-add of a dense kernel
_MARGIN = 1.2

_UNROLLED = 2  # weights of an output that are summed apart, to hide the latency of a multiply-add
_MOST_VECTORS = 8
_TASKS = 8  # that threads can share evenly


@dataclass(frozen=True)
class Scattered:
    """How the work is cut.

    Attributes:
        rows, inputs, outputs: of the product.
        lanes: of a vector.
        vectors: of a tile of rows; the last tile overlaps the one before.
        shares: of the outputs, tasks of their own for each tile.
        weights: in all that are not zero, filled up.
    """

    rows: int
    inputs: int
    outputs: int
    lanes: int
    vectors: int
    shares: int
    weights: int

    @staticmethod
    def plan(rows: int, inputs: int, outputs: int, weights: int, limits: Limits) -> Scattered:
        """For at least as many rows as a vector has lanes."""
        most = min(_MOST_VECTORS, (limits.registers - 2) // _UNROLLED, rows // limits.lanes)
        vectors = min(range(1, most + 1), key=lambda count: _slots(rows, inputs, count, limits))
        tiles = -(-rows // (vectors * limits.lanes))
        shares = max((n for n in range(1, _TASKS + 1) if outputs % n == 0 and (n - 1) * tiles < _TASKS), default=1)
        return Scattered(rows, inputs, outputs, limits.lanes, vectors, shares, weights)

    def share(self, limits: Limits) -> float:
        """The time that this takes, with the transposing of data and result, as a share of a dense kernel's."""
        sparse = self.weights * _slots(self.rows, self.inputs, self.vectors, limits)
        sparse += _TURNED * self.rows * (self.inputs + self.outputs) / self.lanes
        return _MARGIN * sparse / (_DENSE * self.rows * self.inputs * self.outputs / self.lanes)

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    def program(self, data: Any, weights: Any, inputs: Any, starts: Any) -> Any:
        """data [I, rows], weights [W] with their inputs [W] by output, whose first are starts [O + 1] → [O, rows]."""
        return program(
            [data, weights, inputs, starts], [[self.outputs, self.rows]], ["float32"], self._write, "scattered"
        )

    def _write(self, data: Any, weights: Any, inputs: Any, starts: Any, result: Any) -> None:
        tiles, each = -(-self.rows // self.width), self.outputs // self.shares
        with independent(tiles * self.shares, self.weights * self.rows) as task:
            tile, share = tirx.floordiv(task, whole(self.shares)), tirx.floormod(task, whole(self.shares))
            begin = tirx.min(tile * whole(self.width), whole(self.rows - self.width))
            with serial(each) as number:
                output = share * whole(each) + number
                self._sum(data, weights, inputs, starts, result, begin, output)

    def _sum(self, data: Any, weights: Any, inputs: Any, starts: Any, result: Any, begin: Any, output: Any) -> None:
        sums = T.alloc_buffer((_UNROLLED * self.width,), "float32", scope="local")
        places = [(part, v * self.lanes) for part in range(_UNROLLED) for v in range(self.vectors)]
        for part, v in places:
            with vector(self.lanes) as lane:
                store(sums, tirx.const(0, "float32"), whole(part * self.width + v) + lane)
        first = starts[output].astype("int64")
        with serial((starts[output + whole(1)].astype("int64") - first) // whole(_UNROLLED)) as step:
            for part, v in places:
                weight = first + step * whole(_UNROLLED) + whole(part)
                with vector(self.lanes) as lane:
                    at = whole(part * self.width + v) + lane
                    x = data[inputs[weight].astype("int64") + begin + whole(v) + lane]
                    store(sums, sums[at] + weights[weight] * x, at)
        for v in range(0, self.width, self.lanes):
            with vector(self.lanes) as lane:
                total = sums[whole(v) + lane]
                for part in range(1, _UNROLLED):
                    total = total + sums[whole(part * self.width + v) + lane]
                store(result, total, output, begin + whole(v) + lane)


def _slots(rows: int, inputs: int, vectors: int, limits: Limits) -> float:
    """Slots that a weight takes for all rows, in tiles of so many vectors."""
    width = vectors * limits.lanes
    load = _FAR if 4 * inputs * width > _NEAR * limits.l1 else 1
    return -(-rows // width) * max(_LATENCY, vectors * load + _BESIDE)


def compress(weight: Array, rows: int) -> Sequence[Array]:
    """Of weights [I, O], those that are not zero, by output; where the rows of their inputs begin; and where each
    output's weights begin, the end in the last place. Filled up with zeros."""
    values, inputs, starts = [], [], [0]
    for column in weight.T:
        found = np.flatnonzero(column)
        missing = -len(found) % _UNROLLED
        values += [column[found], np.zeros(missing, column.dtype)]
        inputs += [found, np.zeros(missing, found.dtype)]
        starts.append(starts[-1] + len(found) + missing)
    if not starts[-1]:  # a buffer cannot be empty
        values, inputs = [np.zeros(1, weight.dtype)], [np.zeros(1, np.int64)]
    places = (np.concatenate(inputs) * rows).astype(np.int32)
    return np.concatenate(values), places, np.array(starts, np.int32)
