"""The harness itself: it notices what is wrong, and survives what crashes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scripts.onnx_cases import road
from scripts.onnx_cases.cases import Case
from scripts.onnx_cases.check import check_artifacts, check_onnxruntime
from scripts.onnx_cases.compare import difference
from scripts.onnx_cases.isolated import Send, in_child
from scripts.onnx_cases.reasons import Expectations, expect, group_of, kind_of


def case_of(name: str, operator: str, dtype: int = TensorProto.FLOAT) -> Case:
    """An operator on two numbers, a constant among its initializers; expects Add's result."""
    x, y = (helper.make_tensor_value_info(name, dtype, [2]) for name in "xy")
    array = np.array([1, 2], helper.tensor_dtype_to_np_dtype(dtype))
    constant = onnx.numpy_helper.from_array(array, "c")
    graph = helper.make_graph([helper.make_node(operator, ["x", "c"], ["y"])], name, [x], [y], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Case(name, operator, model, (array,), (array + array,), 1e-3, 1e-7, model, (0,))


@pytest.fixture
def cases() -> list[Case]:
    return [case_of("one", "Add"), case_of("two", "Add", TensorProto.INT32), case_of("three", "Add")]


def test_only_the_wrong_case_of_a_batch_fails(cases: list[Case]) -> None:
    cases[1] = case_of("two", "Sub", TensorProto.INT32)
    for check in (check_artifacts, check_onnxruntime):
        results = check(cases)
        assert results["one"] is None and results["three"] is None
        assert kind_of(results["two"] or "") == "differs"


def test_bfloat16_travels_as_bits() -> None:
    assert check_artifacts([case_of("wide", "Add", TensorProto.BFLOAT16)]) == {"wide": None}


def test_a_refused_case_has_the_reason() -> None:
    results = check_artifacts([case_of("strange", "Strange")])
    assert results == {"strange": "refused: Strange 'y': the ONNX standard has no such operator"}


@pytest.mark.parametrize("step", ["lower", "run"])
def test_a_crash_is_of_one_case(cases: list[Case], step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = getattr(road, step)

    def crash(work: Any, *rest: Any) -> Any:
        names = [part.case.name for part in work] if isinstance(work, Sequence) else [work.name]
        if "two" in names:
            os.abort()
        return original(work, *rest)

    monkeypatch.setattr(road, step, crash)
    assert check_artifacts(cases) == {"one": None, "two": "crash: died of SIGABRT", "three": None}


def test_messages_before_a_death_arrive() -> None:
    def work(send: Send) -> None:
        send({"number": 1})
        os.write(2, b"the last words\n")
        os._exit(3)

    assert in_child(work, 60) == ([{"number": 1}], "exit status 3: the last words")


def test_a_process_that_hangs_is_killed() -> None:
    assert in_child(lambda send: time.sleep(600), 0.1) == ([], "not done after 0 s")


def test_differences_are_of_kind_type_shape_and_value(cases: list[Case]) -> None:
    case = cases[0]
    (good,) = case.outputs
    assert difference([good], case) is None
    assert difference([good * (1 + 5e-4)], case) is None
    assert difference([good * (1 + 5e-3)], case) is not None
    assert difference([good.astype(np.float64)], case) == "output 0: float64[2], not float32[2]"
    assert difference([good[:1]], case) == "output 0: float32[1], not float32[2]"
    assert difference([[good]], case) == "output 0: a list"
    assert difference([good, good], case) == "2 outputs, not 1"
    half = replace(case, outputs=(good.astype(np.float16),))
    assert "steps of float16" in (difference([(good * 1.003).astype(np.float16)], half) or "")
    assert "steps" not in (difference([(good * 1.01).astype(np.float16)], half) or "")
    sequence = replace(case, outputs=([good, good],))
    assert difference([[good, good]], sequence) is None
    assert difference([[good, -good]], sequence) is not None
    texts = replace(case, outputs=(np.array(["a", "b"], object),))
    assert difference([np.array(["a", "c"], object)], texts) is not None


def test_expectations_tell_what_changed() -> None:
    results = {"a": None, "b": "refused: the input holds strings", "c": "output 0: 1 of 3 values differ, first at [0]"}
    expected = expect(results)
    assert expected.groups == {
        "wrong results": {"output 0: values differ": ["c"]},
        "strings": {"refused: the input holds strings": ["b"]},
    }
    assert expected.deviations(results) == []
    assert expected.deviations({"a": "crash: died of SIGSEGV"}) == ["a does not pass: crash: died of SIGSEGV"]
    assert expected.deviations({"b": None}) == ["b passes now: take it off the list"]
    assert "for another reason" in expected.deviations({"b": "output 0: a list"})[0]
    assert Expectations("", {}).deviations(results | {"c": None}) == [
        "b does not pass: refused: the input holds strings"
    ]


def test_every_reason_has_a_group() -> None:
    assert group_of("refused: whatever") == "refused for another reason"
    assert group_of("crash: died of SIGSEGV") == "crashes"
