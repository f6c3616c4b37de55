"""Vector loops that rules write themselves, where TVM's schedule primitives cannot keep a value in a register.

Rows of any length are read in whole vectors: the last one begins early and overlaps the one before it. What is
counted, as a sum is, leaves out the lanes that the overlap repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

INDEX = "int64"  # of loop variables and indices, as in programs that TVM makes
_ON_STACK = 1 << 15  # bytes of the largest local buffer


def index(value: int) -> Any:
    return tirx.IntImm(INDEX, value)


def lanes_of(extent: int, most: int) -> int:
    """Lanes of the widest vector that fits into `extent` elements: a power of two, at most `most`."""
    return min(most, 1 << (extent.bit_length() - 1))


def program(func: Any, body: Callable[[], None]) -> Any:
    """The tensor program with another body, which `body` writes to the IR builder that is open."""
    with IRBuilder() as builder:
        with T.seq_scope():
            body()
        statement = builder.get().body  # without the attribute that marks the scope
    root = s_tir.SBlock([], [], [], "root", statement)
    return func.with_body(s_tir.SBlockRealize([], tirx.IntImm("bool", 1), root))


def install(sch: Any, func: Any) -> None:
    """Makes `func` the schedule's program; no primitive can be applied after that."""
    sch.mod.update_func(sch.mod.get_global_var("main"), func)


def substitute(node: Any, values: Mapping[Any, Any]) -> Any:
    """An expression or statement with expressions in place of variables."""
    return tvm_ffi.structural_map(node, [(ir.Var, lambda var: values.get(var, var))]) if values else node


def rewrite(expr: Any, values: Mapping[Any, Any], buffers: Mapping[Any, Callable[[list[Any]], Any]]) -> Any:
    """An expression with values in place of variables, and of loads from some buffers.

    Args:
        buffers: by buffer, what takes the place of a load; a function of its indices, which are rewritten already.
    """

    def on_load(load: Any) -> Any:
        instead = next((f for buffer, f in buffers.items() if buffer.same_as(load.source)), None)
        return load if instead is None else instead(list(load.indices))

    return tvm_ffi.structural_map(substitute(expr, values), [(ir.TensorLoad, on_load)])


def local(*shape: int, dtype: str = "float32") -> Any:
    """A buffer for one task: on the stack, from where it may move to registers, unless it is large."""
    scope = "local" if 4 * math.prod(shape) <= _ON_STACK else "global"
    return T.alloc_buffer(shape, dtype, scope=scope)


@contextmanager
def loop(extent: int, parallel: bool = False) -> Iterator[Any]:
    """A serial or parallel loop, as a variable; no loop for a single value."""
    if extent == 1:
        yield index(0)
    else:
        with (T.parallel if parallel else T.serial)(index(0), index(extent)) as var:
            yield var


@contextmanager
def vector(lanes: int) -> Iterator[Any]:
    """A vector, as the number of the lane."""
    if lanes == 1:
        yield index(0)
    else:
        with T.vectorized(index(0), index(lanes)) as lane:
            yield lane


def store(buffer: Any, value: Any, *at: Any) -> None:
    T.buffer_store(buffer, value, list(at))


def load_vector(buffer: Any, begin: int, lanes: int) -> Any:
    """Elements of a buffer of one axis, as one value."""
    return tirx.BufferLoad(buffer, [tirx.Ramp(index(begin), index(1), lanes)])


def store_vector(buffer: Any, begin: int, value: Any, lanes: int) -> None:
    T.buffer_store(buffer, value, [tirx.Ramp(index(begin), index(1), lanes)])


def shuffle(vectors: Sequence[Any], picks: Sequence[int]) -> Any:
    """The vector of the elements with these numbers, those of all vectors counted one after the other."""
    return tirx.Shuffle(vectors, [tirx.IntImm("int32", pick) for pick in picks])


def fold(buffer: Any, size: int, combine: Callable[[Any, Any], Any]) -> None:
    """Combines the first `size` elements, a power of two, into element 0, half by half."""
    while size > 1:
        size //= 2
        with vector(size) as lane:
            store(buffer, combine(buffer[lane], buffer[lane + size]), lane)


def unravel(value: Any, extents: Sequence[int]) -> list[Any]:
    """The position in an array of these extents of its element number `value`."""
    at: list[Any] = []
    for extent in reversed(extents):
        at.append(index(0) if extent == 1 else tirx.floormod(value, index(extent)))
        value = value if extent == 1 else tirx.floordiv(value, index(extent))
    return at[::-1]
