"""Nests of element-wise work and moves: what becomes of their axes, seams and vectors."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import ir, te, tirx, topi

from compiler.kernels.accesses import is_conditional
from compiler.kernels.schedule import Scheduled, schedule
from compiler.target import load_target


def scheduled(*tensors: Any, target: str = "x86-64-v4") -> Scheduled:
    made = schedule(te.create_prim_func(list(tensors), index_dtype_override="int64"), load_target(target))
    assert made.rule == "injective"
    return made


def found(made: Scheduled, kind: Any) -> list[Any]:
    nodes: list[Any] = []
    tvm_ffi.structural_walk(made.func, [(kind, nodes.append)])
    return nodes


def vectors(made: Scheduled) -> list[int]:
    return [int(loop.extent.value) for loop in found(made, tirx.For) if loop.kind == tirx.ForKind.VECTORIZED]


@pytest.mark.parametrize("dtype,lanes", [("float32", 16), ("int8", 64), ("int64", 8), ("float64", 8)])
def test_rows_that_do_not_divide_are_taken_together_in_whole_vectors(dtype: str, lanes: int) -> None:
    x = te.placeholder((1, 58, 29, 31), dtype, name="x")
    made = scheduled(x, te.compute(x.shape, lambda *i: x(*i) + x(*i)))
    assert vectors(made) == [lanes]


def test_padding_is_cut_at_its_borders() -> None:
    x = te.placeholder((1, 28, 28, 58), name="x")
    made = scheduled(x, topi.nn.pad(x, [0, 1, 1, 0], [0, 1, 1, 0]))
    assert not any(is_conditional(call) for call in found(made, ir.Call)), "no element asks where it is"
    assert set(vectors(made)) == {16}


def test_a_concatenation_is_cut_at_its_parts() -> None:
    a, b = te.placeholder((1, 20, 20, 24), name="a"), te.placeholder((1, 20, 20, 40), name="b")
    made = scheduled(a, b, topi.concatenate([a, b], 3))
    assert not any(is_conditional(call) for call in found(made, ir.Call))
    assert len(vectors(made)) == 2


@pytest.mark.parametrize("target,tile", [("x86-64-v4", 16), ("x86-64-v3", 8), ("raspberry-pi-4", 4)])
def test_tiles_of_a_transpose_fill_the_registers(target: str, tile: int) -> None:
    x = te.placeholder((90, 70), name="x")
    made = scheduled(x, topi.transpose(x), target=target)
    assert set(vectors(made)) == {tile}
    assert {len(shuffle.indices) for shuffle in found(made, tirx.Shuffle)} == {tile}


def test_a_gate_is_computed_once_for_each_channel() -> None:
    x, gate = te.placeholder((1, 28, 28, 576), name="x"), te.placeholder((1, 1, 1, 576), name="gate")
    made = scheduled(x, gate, topi.multiply(x, topi.sigmoid(gate)))
    stores = found(made, tirx.BufferStore)
    assert len(stores) == 2, "the gate, then the product"


def test_conditions_in_conditions_do_not_grow_without_bound() -> None:
    value = x = te.placeholder((60, 1), name="x")
    for step in range(6):  # each reads the one before three times
        value = topi.where(topi.greater(value, float(step)), topi.subtract(value, 1.0), topi.add(value, 2.0))
    made = scheduled(x, value)
    assert len(found(made, ir.TensorLoad)) < 200, "all inlined they would read x 729 times"


def test_what_is_read_as_often_as_it_is_made_is_inlined() -> None:
    x = te.placeholder((64, 512), name="x")
    assert len(found(scheduled(x, topi.nn.relu(topi.exp(x))), tirx.BufferStore)) == 1


def test_scalars_are_taken() -> None:
    x = te.placeholder((), name="x")
    assert not scheduled(x, topi.nn.relu(x)).failures
