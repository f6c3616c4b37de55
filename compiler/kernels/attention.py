"""Attention: for a few queries at a time the scores, their softmax and the product with the values.

The rows of scores stay in the first-level cache; both products keep a tile of sums in registers, as those on
packed weights do. The pass that makes these programs (passes/attention.py) says what they compute. Compare Dao et
al., "FlashAttention", 2022 (arXiv:2205.14135), whose blocks of keys are not needed as long as the keys and values
of one head fit the second-level cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from .accesses import reads
from .limits import Limits
from .rows import Row, write_rows
from .rule import Offer, Parameters, values_up_to
from .stages import stage_of, term_of
from .tile import tile_cost
from .vectors import fold, index, install, lanes_of, local, loop, program, rewrite, store, unravel, vector

# The blocks of the program, over [batch…, query, key], of `mixed` [batch…, query, element]; the result's axes may
# stand in another order.
SCORES, LOGITS, TOP, WEIGHTS, TOTAL, INVERSE, MIXED, RESULT = (
    f"attention_{part}" for part in ("scores", "logits", "top", "weights", "total", "inverse", "mixed", "result")
)
_MAX_VECTORS = 4

# So many queries are not worth a transpose of the keys: their scores are sums along the keys' rows.
FEW_QUERIES = 2
_DOTS = 4  # scores at a time, which hide the latency of additions


def attention_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs that the pass for attention made."""
    blocks = {block.name_hint: block for block in map(sch.get, sch.get_child_blocks(sch.get_sblock("root")))}
    if RESULT not in blocks:
        return None
    writer, func = _Writer(blocks, limits), sch.mod["main"]
    rows, vectors = writer.choose_tile()

    def apply(chosen: Parameters) -> None:
        install(sch, program(func, lambda: writer.write(chosen["rows"], chosen["vectors"])))

    most = min(writer.queries, limits.registers)
    space = {"rows": values_up_to(most, rows), "vectors": tuple(range(1, _MAX_VECTORS + 1))}
    return Offer(apply, {"rows": rows, "vectors": vectors}, space)


class _Writer:
    def __init__(self, blocks: Mapping[str, Any], limits: Limits) -> None:
        self.blocks, self.limits = blocks, limits
        *self.batch, self.queries, self.keys, self.depth = _extents(blocks[SCORES])
        self.width = _extents(blocks[MIXED])[-2]
        *_, key, element = _axes(blocks[SCORES])
        of_keys = [access for access in reads(_sum(blocks[SCORES])[1]) if access.step(key) != 0]
        self.dots = any(access.step(element) == 1 != access.step(key) for access in of_keys)

    def choose_tile(self) -> tuple[int, int]:
        """(rows, vectors) of the products: registers filled, few loads a multiplication, little computed twice."""
        best, best_cost = (1, 1), math.inf
        for vectors in range(1, _MAX_VECTORS + 1):
            for rows in range(1, min(self.queries, (self.limits.registers - 1 - vectors) // vectors) + 1):
                cost = -(-self.queries // rows) * rows * tile_cost(rows, vectors, self.limits)
                if cost < best_cost:
                    best, best_cost = (rows, vectors), cost
        return best

    def write(self, rows: int, vectors: int) -> None:
        tiles = -(-self.queries // rows)
        work = math.prod(self.batch) * self.queries * self.keys * (self.depth + self.width)
        with loop(math.prod(self.batch) * tiles, work >= self.limits.parallel_work) as task:
            *batch, tile = unravel(task, [*self.batch, tiles])
            # The last tile overlaps the one before it.
            first = tirx.min(tile * rows, index(self.queries - rows))
            logits, weights = local(rows, self.keys), local(rows, self.keys)
            numbers = {self._buffer(name): local(rows, 1) for name in (TOTAL, INVERSE)}
            self._write_logits(batch, first, rows, vectors, logits)
            with loop(rows) as row:
                self._write_weights([*batch, first + row], row, logits, weights, numbers)
            self._write_result(batch, first, rows, vectors, weights, numbers)

    def _write_logits(self, batch: list[Any], first: Any, rows: int, vectors: int, logits: Any) -> None:
        axes, score = _sum(self.blocks[SCORES])
        after = self.blocks[LOGITS]

        def term(row: int, key: Any, element: Any) -> Any:
            return rewrite(score, dict(zip(axes, [*batch, first + row, key, element], strict=True)), {})

        def write(row: int, key: Any, total: Any) -> None:
            values = dict(zip(_axes(after), [*batch, first + row, key], strict=True))
            store(logits, rewrite(after.body.value, values, {self._buffer(SCORES): lambda _: total}), index(row), key)

        if self.dots:
            _write_dots(rows, self.keys, self.depth, self.limits, term, write)
        else:
            _write_product(rows, self.keys, self.depth, vectors, self.limits, term, write)

    def _write_weights(self, at: list[Any], row: Any, logits: Any, weights: Any, numbers: Mapping[Any, Any]) -> None:
        shape = (*self.batch, self.queries, self.keys)
        stages = [stage_of(self.blocks[name], shape) for name in (TOP, WEIGHTS, TOTAL, INVERSE)]
        places = {
            self._buffer(LOGITS): (logits, [row]),
            self._buffer(TOP): (local(1), []),
            self._buffer(WEIGHTS): (weights, [row]),
        } | {buffer: (memory, [row]) for buffer, memory in numbers.items()}
        write_rows([stage for stage in stages if stage is not None], self.keys, [Row(at, places)], self.limits)

    def _write_result(
        self, batch: list[Any], first: Any, rows: int, vectors: int, weights: Any, numbers: Mapping[Any, Any]
    ) -> None:
        axes, mixture = _sum(self.blocks[MIXED])
        after, mixed = self.blocks[RESULT], self._buffer(MIXED)

        def term(row: int, element: Any, key: Any) -> Any:
            values = dict(zip(axes, [*batch, first + row, element, key], strict=True))
            return rewrite(mixture, values, {self._buffer(WEIGHTS): lambda _: weights[row, key]})

        def write(row: int, element: Any, total: Any) -> None:
            values = dict(zip(_indices_of(after, mixed), [*batch, first + row, element], strict=True))
            buffers = {mixed: lambda _: total}
            buffers |= {buffer: lambda _, memory=memory: memory[row, 0] for buffer, memory in numbers.items()}
            at = [values[i] for i in after.body.indices]
            store(after.body.buffer, rewrite(after.body.value, values, buffers), *at)

        _write_product(rows, self.width, self.keys, vectors, self.limits, term, write)

    def _buffer(self, name: str) -> Any:
        return self.blocks[name].body.buffer


def _write_product(
    rows: int,
    columns: int,
    depth: int,
    vectors: int,
    limits: Limits,
    term: Callable[[int, Any, Any], Any],
    write: Callable[[int, Any, Any], None],
) -> None:
    """Writes a product of `rows` by `columns`, summed over `depth`, tile by tile.

    Args:
        vectors: of columns in a tile, where there are as many.
        term: of row, column and step: what is summed.
        write: of row, column and sum: stores an element.
    """
    lanes = lanes_of(columns, limits.lanes)
    width = min(vectors, columns // lanes) * lanes

    def tile(begin: Any, count: int) -> None:
        sums = local(rows, count * lanes)
        elements = [(row, number * lanes) for row in range(rows) for number in range(count)]
        for row, place in elements:
            with vector(lanes) as lane:
                store(sums, tirx.const(0.0, "float32"), index(row), lane + place)
        with loop(depth) as step:
            for row, place in elements:
                with vector(lanes) as lane:
                    at = (index(row), lane + place)
                    store(sums, sums[at] + term(row, begin + place + lane, step), *at)
        for row, place in elements:
            with vector(lanes) as lane:
                write(row, begin + place + lane, sums[row, lane + place])

    whole = columns // width
    with loop(whole) as number:
        tile(number * width, width // lanes)
    if columns % width:
        count = -(-(columns % width) // lanes)
        tile(index(columns - count * lanes), count)


def _write_dots(
    rows: int,
    columns: int,
    depth: int,
    limits: Limits,
    term: Callable[[int, Any, Any], Any],
    write: Callable[[int, Any, Any], None],
) -> None:
    """Writes a product whose right side is contiguous along `depth`; see `_write_product`."""
    lanes, count = lanes_of(depth, limits.lanes), min(_DOTS, columns)

    def add(sums: Sequence[Any], row: int, first: Any, begin: Any, repeated: int) -> None:
        for number, partial in enumerate(sums):
            with vector(lanes) as lane:
                total = partial[lane] + term(row, first + number, begin + lane)
                store(partial, tirx.Select(lane >= index(repeated), total, partial[lane]) if repeated else total, lane)

    with loop(-(-columns // count)) as tile:
        first = tirx.min(tile * count, index(columns - count))
        for row in range(rows):
            sums = [local(lanes) for _ in range(count)]
            for partial in sums:
                with vector(lanes) as lane:
                    store(partial, tirx.const(0.0, "float32"), lane)
            with loop(depth // lanes) as step:
                add(sums, row, first, step * lanes, 0)
            if depth % lanes:
                add(sums, row, first, index(depth - lanes), lanes - depth % lanes)
            for number, partial in enumerate(sums):
                fold(partial, lanes, tirx.Add)
                write(row, first + number, partial[index(0)])


def _sum(block: Any) -> tuple[list[Any], Any]:
    """Axes and term of a block that sums."""
    term = term_of(block)
    if term is None:
        raise ValueError(f"{block.name_hint} is no sum")
    return _axes(block), term[0]


def _axes(block: Any) -> list[Any]:
    return [axis.var for axis in block.iter_vars]


def _extents(block: Any) -> list[int]:
    return [int(axis.dom.extent) for axis in block.iter_vars]


def _indices_of(block: Any, buffer: Any) -> list[Any]:
    """The indices at which a block reads a buffer."""
    found: list[Any] = []

    def on_load(load: Any) -> None:
        if load.source.same_as(buffer):
            found.append(list(load.indices))

    tvm_ffi.structural_walk(block.body, [(ir.TensorLoad, on_load)])
    return list(found[0])
