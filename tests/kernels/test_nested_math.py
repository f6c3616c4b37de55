"""Functions of functions are computed one after the other."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import ir, te, tirx

from compiler.kernels.nested_math import separate_nested_math
from compiler.kernels.vector_math import is_expanded


def calls(node: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(node, [(ir.Call, lambda call: found.append(call) if is_expanded(call) else None)])
    return found


def separated(element: Any) -> Any:
    x = te.placeholder((16,), name="x")
    func = te.create_prim_func([x, te.compute((16,), lambda i: element(x[i]))])
    return separate_nested_math()(tvm.IRModule({"main": func}))["main"]


def test_no_function_is_left_inside_of_another() -> None:
    made = separated(lambda v: v * tirx.tanh(tirx.log(1 + tirx.exp(v))))
    found = calls(made.body)
    assert sorted(call.op.name for call in found) == ["tirx.exp", "tirx.log", "tirx.tanh"]
    assert not any(calls(call.args[0]) for call in found)


def test_what_may_not_be_computed_stays_behind_its_condition() -> None:
    made = separated(lambda v: tirx.if_then_else(v > 0, tirx.log(tirx.exp(v)), v))
    assert any(calls(call.args[0]) for call in calls(made.body))


def test_functions_beside_each_other_stay_as_they_are() -> None:
    stores: list[Any] = []
    tvm_ffi.structural_walk(separated(lambda v: tirx.exp(v) + tirx.log(v)).body, [(tirx.BufferStore, stores.append)])
    assert len(stores) == 1


def test_a_variable_beside_it_does_not_stop_that() -> None:
    def element(v: Any) -> Any:
        twice = tirx.Var("twice", "float32")
        return tirx.Let(twice, tirx.tanh(tirx.log(v)), twice * twice)

    assert not any(calls(call.args[0]) for call in calls(separated(element).body))


def test_what_depends_on_a_variable_stays_where_that_is() -> None:
    def element(v: Any) -> Any:
        twice = tirx.Var("twice", "float32")
        return tirx.Let(twice, v + v, tirx.tanh(tirx.log(twice)))

    assert any(calls(call.args[0]) for call in calls(separated(element).body))
