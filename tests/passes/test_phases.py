"""The whole list of phases: what stays of a model's operators, and that its results do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tvm
from tvm import ir, tirx

from compiler.frontend.prepare import load_model, prepare
from compiler.kernels.limits import limits_of
from compiler.passes.lower import phases
from compiler.target import load_target
from tests.kernels.cases_convolution import convolution
from tests.kernels.cases_matrix import product
from tests.kernels.grid import Case, combine, failures, reference
from tests.passes.cases_layout import layouts
from tests.passes.relax_modules import calls, operators


def relax_of(*cases: Case) -> tvm.IRModule:
    """Relax of cases, as it comes from the front end."""
    proto, _arrays = combine(cases, [reference(case) for case in cases])
    return prepare(load_model(proto)).module


def lower(module: tvm.IRModule, last: str | None = None) -> tvm.IRModule:
    """The module after the phases up to `last`, all by default."""
    target = load_target("host")
    with tvm.target.Target(target.tvm_target()):
        for phase in phases(limits_of(target)):
            module = phase.run(module)
            if phase.name == last:
                break
    return module


def test_results_behind_a_convolution_stay(tmp_path: Path) -> None:
    lines = failures(layouts(), "host", tmp_path)
    assert not lines, "\n".join(lines)


def test_channels_come_last_and_weights_are_packed_at_compile_time() -> None:
    chain = layouts()[-2]  # squeeze and excite: three convolutions' worth of element-wise operators between them
    module = lower(relax_of(chain), "layout")
    convolutions = calls(module, "nn.conv2d")
    assert len(convolutions) == 2
    for call in convolutions:
        assert (str(call.attrs.data_layout), str(call.attrs.kernel_layout)) == ("NHWC", "HWIO")
        assert isinstance(call.args[1], ir.GenericConst), "the weights are transposed already"
    assert operators(module)["permute_dims"] == 2, "at the edges of the model, and nowhere else"


def test_a_convolution_and_what_follows_are_one_kernel() -> None:
    module = lower(relax_of(next(case for case in layouts() if case.name == "prelu")))
    names = [var.name_hint for var, func in module.functions.items() if isinstance(func, tirx.PrimFunc)]
    assert any("packed" in name and "add" in name and "prelu" in name for name in names)
    assert operators(module)["call_tir"] == len(names) <= 3


def test_equal_calls_are_made_once() -> None:
    from onnx import helper

    x = convolution((1, 3, 5, 5), 4, (3, 3)).inputs["x"]
    twice = Case(
        "twice",
        [
            helper.make_node("Exp", ["x"], ["a"]),
            helper.make_node("Exp", ["x"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        {"x": x},
    )
    assert operators(lower(relax_of(twice), "common"))["exp"] == 1


@pytest.mark.parametrize(
    "case",
    [convolution((1, 3, 7, 7), 5, (3, 3), pads=[1, 1, 1, 1]), product((3, 4), (4, 5)), *layouts()[::9]],
    ids=lambda case: case.name,
)
def test_only_calls_of_tensor_programs_and_views_are_left(case: Any) -> None:
    module = lower(relax_of(case))
    assert set(operators(module)) <= {"call_tir", "call_tir_inplace", "reshape"}
    used = {call.args[0].name_hint for call in calls(module, "call_tir")}
    made = {var.name_hint for var, func in module.functions.items() if isinstance(func, tirx.PrimFunc)}
    assert used == made, "no tensor program is left over"


def test_phases_have_names_of_their_own() -> None:
    names = [phase.name for phase in phases(limits_of(load_target("host")))]
    assert len(set(names)) == len(names)
