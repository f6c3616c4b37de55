"""Which programs may write their result over an argument."""

from __future__ import annotations

from typing import Any

import pytest
from tvm.script import tirx as T

from compiler.kernels.in_place import writes_in_place


@T.prim_func(s_tir=True)
def once(x: T.Buffer((4, 8), "float32"), z: T.Buffer((4, 8), "float32"), y: T.Buffer((4, 8), "float32")):
    for i, j in T.grid(4, 8):
        with T.sblock("y"):
            a, b = T.axis.remap("SS", [i, j])
            y[a, b] = x[a, b] * T.float32(2) + z[3 - a, b]


@T.prim_func(s_tir=True)
def twice(x: T.Buffer((4, 8), "float32"), z: T.Buffer((4, 8), "float32"), y: T.Buffer((4, 8), "float32")):
    for i, j in T.grid(2, 8):
        for k in range(3):
            with T.sblock("y"):
                a = T.axis.spatial(4, T.min(i * 3, 1) + k)
                b = T.axis.spatial(8, j)
                y[a, b] = x[a, b] + z[a, b]


@T.prim_func(s_tir=True)
def accumulated(x: T.Buffer((4, 8), "float32"), z: T.Buffer((4, 8), "float32"), y: T.Buffer((4, 8), "float32")):
    for i, j in T.grid(4, 8):
        with T.sblock("y"):
            a, b = T.axis.remap("SS", [i, j])
            y[a, b] = x[a, b]
    for i, j in T.grid(4, 8):
        with T.sblock("z"):
            a, b = T.axis.remap("SS", [i, j])
            y[a, b] = y[a, b] + z[a, b]


@T.prim_func(s_tir=True)
def read_before(x: T.Buffer((4, 8), "float32"), z: T.Buffer((4, 8), "float32"), y: T.Buffer((4, 8), "float32")):
    for i, j in T.grid(4, 8):
        with T.sblock("y"):
            a, b = T.axis.remap("SS", [i, j])
            T.reads(x[a, b], z[a, b])
            T.writes(y[a, b])
            if x[0, 0] > T.float32(0):
                y[a, b] = z[a, b]


@pytest.mark.parametrize(
    ("func", "argument", "expected"),
    [(once, 0, True), (once, 1, False), (twice, 0, False), (accumulated, 0, False), (read_before, 0, False)],
)
def test_what_is_stored_once_where_it_is_read(func: Any, argument: int, expected: bool) -> None:
    assert writes_in_place(func, argument) == expected
