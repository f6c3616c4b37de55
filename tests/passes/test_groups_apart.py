"""Convolutions of wide groups become convolutions of their own, with what follows them, and change no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tvm import relax

from compiler.kernels.limits import limits_of
from compiler.passes.choices import Choices
from compiler.passes.groups_apart import take_groups_apart
from compiler.target import load_target
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op
LIMITS = replace(limits_of(load_target("x86-64-v4")), lanes=16)


def grouped(x: Any, groups: int, inputs: int, outputs: int, kernel: int = 3, name: str = "w", **attributes: Any) -> Any:
    weight = relax.const(floats(name, kernel, kernel, inputs, groups * outputs))
    return op.nn.conv2d(x, weight, groups=groups, data_layout="NHWC", kernel_layout="HWIO", **attributes)


def build(shape: tuple[int, ...], body: Callable[[Any], Any]) -> Any:
    return module([(shape, "float32")], body)


def channel(name: str, count: int = 36) -> Any:
    return relax.const(floats(name, 1, 1, 1, count))


@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 1]}, {"dilation": [1, 2]}], ids=str)
def test_each_group_is_a_convolution(attributes: dict[str, Any]) -> None:
    before = build((2, 40, 20, 24), lambda x: grouped(x, 3, 8, 12, 5, **attributes))
    after = take_groups_apart(before, LIMITS)
    assert [int(call.attrs.groups) for call in calls(after, "nn.conv2d")] == [1] * 3
    check_equal(before, after, floats("x", 2, 40, 20, 24))


def test_what_follows_is_computed_of_each_group() -> None:
    def body(x: Any) -> Any:
        y = op.add(grouped(x, 3, 8, 12, 5), channel("bias"))
        y = op.nn.prelu(op.multiply(y, relax.const(0.5)), relax.const(floats("slope", 36)), 3)
        return op.clip(op.multiply(y, op.sigmoid(y)), -1.0, 6.0)

    shape = 1, 40, 20, 24
    before = build(shape, body)
    after = take_groups_apart(before, LIMITS)
    for name in ("add", "nn.prelu", "sigmoid", "clip"):
        assert [int(call.args[0].ty.shape[3]) for call in calls(after, name)] == [12] * 3, name
    check_equal(before, after, floats("x", *shape))


@pytest.mark.parametrize(
    "follow",
    [
        lambda y, x: op.add(y, channel("all", 1)),
        lambda y, x: op.add(y, op.mean(y, [1, 2], True)),  # as of a squeeze and excitation
        lambda y, x: op.add(y, relax.const(floats("rows", 1, 36, 1, 1))),
        lambda y, x: op.add(y, op.strided_slice(op.concat([x, x], 3), [1, 2, 3], [2, 2, 5], [38, 18, 41])),
        lambda y, x: op.add(y, grouped(x, 2, 12, 18, 5, "other")),
        lambda y, x: op.nn.prelu(y, relax.const(floats("slope", 16)), 2),
    ],
)
def test_every_result_stays(follow: Callable[[Any, Any], Any]) -> None:
    def body(x: Any) -> Any:
        return follow(grouped(x, 3, 8, 12, 5), x)

    shape = 1, 40, 20, 24
    before = build(shape, body)
    after = take_groups_apart(before, LIMITS)
    assert operators(after)["nn.conv2d"] > operators(before)["nn.conv2d"]
    check_equal(before, after, floats("x", *shape))


@pytest.mark.parametrize(
    "shape,groups,inputs,outputs",
    [
        ((1, 24, 20, 12), 12, 1, 20),  # each channel by itself
        ((1, 40, 40, 12), 3, 4, 3),  # narrow
        ((1, 6, 6, 12), 3, 4, 12),  # little to do
        ((1, 24, 20, 12), 1, 12, 12),
    ],
)
def test_others_stay_together(shape: tuple[int, ...], groups: int, inputs: int, outputs: int) -> None:
    before = build(shape, lambda x: grouped(x, groups, inputs, outputs))
    assert operators(take_groups_apart(before, LIMITS)) == {"nn.conv2d": 1}


def test_a_tuner_may_decide_otherwise() -> None:
    shape = 1, 40, 20, 24
    before = build(shape, lambda x: grouped(x, 3, 8, 12, 5))
    asked = Choices()
    take_groups_apart(before, LIMITS, asked)
    ((key, choice),) = asked.made.items()
    assert (choice.kind, choice.taken, choice.options) == ("groups", 1, (0, 1))
    after = take_groups_apart(before, LIMITS, Choices({key: 0}))
    assert operators(after) == {"nn.conv2d": 1}
