"""Transposes move behind other operators, cancel, and change no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from compiler.operators.resample import resample
from compiler.passes.sink_transposes import reshape_groups, sink_transposes
from tests.passes.relax_modules import check_equal, module, operators

op = relax.op
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def through(f: Callable[..., Any], *others: tuple[int, ...]) -> Any:
    """NHWC [2, 4, 6, 8] → NCHW, f, → NHWC; further inputs have the given shapes."""

    def body(x: Any, *rest: Any) -> Any:
        return op.permute_dims(f(op.permute_dims(x, TO_NCHW), *rest), TO_NHWC)

    return module([((2, 4, 6, 8), "float32"), *((shape, "float32") for shape in others)], body)


@pytest.mark.parametrize(
    "f,others",
    [
        (lambda x: op.clip(x, 0.0, 6.0), ()),
        (lambda x: op.nn.leakyrelu(x, 0.1), ()),
        (lambda x: op.nn.prelu(x, relax.const(np.linspace(-1, 1, 8, dtype="float32")), 1), ()),
        (lambda x: op.nn.prelu(x, relax.const(np.linspace(-1, 1, 6, dtype="float32")), -1), ()),
        (lambda x: op.erf(op.exp(x)), ()),
        (lambda x: op.add(x, relax.const(np.arange(8, dtype="float32").reshape(1, 8, 1, 1))), ()),
        (lambda x: op.add(x, relax.const(np.arange(6, dtype="float32"))), ()),
        (lambda x: op.multiply(relax.const(2.0, "float32"), x), ()),
        (lambda x, s: op.multiply(x, s), ((2, 8, 1, 1),)),
        (lambda x: op.multiply(x, op.sigmoid(x)), ()),
        (lambda x: op.concat([x, op.negative(x)], 1), ()),
        (lambda x, y: op.concat([y, x, op.negative(x)], 1), ((2, 1, 4, 6),)),
        (lambda x, y: op.concat([x, op.sigmoid(op.reshape(y, (2, 1, 4, 6)))], 1), ((2, 4, 6, 1),)),
        (lambda x: op.nn.pad(x, [0, 0, 1, 2, 3, 0, 0, 4]), ()),
        (lambda x: op.nn.softmax(x, 1), ()),
        (lambda x: op.take(x, relax.const(np.array([2, 0])), 1), ()),
        (lambda x: resample(x, {2: (np.array([[0], [3], [1]]), None), 3: (np.array([[5], [0]]), None)}), ()),
        (lambda x: op.multiply(x, op.mean(x, [2, 3], True)), ()),
        (lambda x: op.multiply(x, op.max(x, [1], True)), ()),
        (lambda x: op.strided_slice(x, [1, 3], [2, 0], [8, 6], [2, 1]), ()),
        (lambda x: op.add(*(op.split(x, 2, 1)[i] for i in range(2))), ()),
        (lambda x: op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1)), ()),
        (lambda x: op.nn.avg_pool2d(x, (2, 2), (1, 1), (0, 1), ceil_mode=True), ()),
        (lambda x: op.reshape(op.reshape(x, (2, 2, 4, 4, 6)), (2, 8, 4, 6)), ()),
    ],
)
def test_a_pair_around_an_operator_cancels(f: Callable[..., Any], others: tuple[tuple[int, ...], ...]) -> None:
    before = through(f, *others)
    after = sink_transposes(before)
    assert operators(before)["permute_dims"] >= 2
    assert operators(after)["permute_dims"] == 0
    rng = np.random.default_rng(0)
    shapes = [(2, 4, 6, 8), *others]
    check_equal(before, after, *(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


def test_a_channel_shuffle_takes_one_transpose() -> None:
    def shuffle(x: Any) -> Any:
        wide = op.permute_dims(op.reshape(x, (2, 2, 4, 4, 6)), [0, 2, 1, 3, 4])
        return op.reshape(wide, (2, 8, 4, 6))

    before = through(shuffle)
    after = sink_transposes(before)
    assert operators(after)["permute_dims"] == 1
    check_equal(before, after, np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32))


def test_depth_to_space_of_channels_first_stays_one_transpose() -> None:
    def depth_to_space(x: Any) -> Any:
        wide = op.permute_dims(op.reshape(x, (2, 2, 2, 2, 4, 6)), [0, 3, 4, 1, 5, 2])
        return op.reshape(wide, (2, 2, 8, 12))

    before = module([((2, 8, 4, 6), "float32")], depth_to_space)
    after = sink_transposes(before)
    assert operators(after)["permute_dims"] == 1
    check_equal(before, after, np.random.default_rng(0).standard_normal((2, 8, 4, 6)).astype(np.float32))


def test_depth_to_space_takes_one_transpose() -> None:
    def depth_to_space(x: Any) -> Any:
        wide = op.permute_dims(op.reshape(x, (2, 2, 2, 2, 4, 6)), [0, 3, 4, 1, 5, 2])
        return op.reshape(wide, (2, 2, 8, 12))

    before = through(depth_to_space)
    after = sink_transposes(before)
    assert operators(after)["permute_dims"] == 1
    check_equal(before, after, np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32))


def test_heads_are_merged_by_one_transpose() -> None:
    """[B, heads, S, D] → [B, S, heads D] is one transpose and a view, as it was."""
    before = module([((2, 3, 5, 4), "float32")], lambda x: op.reshape(op.permute_dims(x, [0, 2, 1, 3]), (2, 5, 12)))
    after = sink_transposes(before)
    assert operators(after) == {"permute_dims": 1, "reshape": 1}
    check_equal(before, after, np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32))


def test_a_concatenation_with_what_is_not_transposed_stays() -> None:
    """To transpose the rest would be more work."""
    before = through(lambda x, y: op.concat([x, y], 1), (2, 3, 4, 6))
    after = sink_transposes(before)
    assert operators(after)["permute_dims"] == 2
    rng = np.random.default_rng(0)
    check_equal(
        before, after, *(rng.standard_normal(shape).astype(np.float32) for shape in [(2, 4, 6, 8), (2, 3, 4, 6)])
    )


def test_moving_axes_of_size_one_is_a_view() -> None:
    before = module([((2, 1, 1, 8), "float32")], lambda x: op.permute_dims(x, TO_NCHW))
    assert operators(sink_transposes(before)) == {"reshape": 1}


sizes = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=5)


@given(sizes, st.randoms(use_true_random=False))
def test_groups_of_a_reshape_have_equal_sizes(before: list[int], random: Any) -> None:
    after = list(before)
    random.shuffle(after)
    groups = reshape_groups(before, after)
    assert [i for ins, _ in groups for i in ins] == list(range(len(before)))
    assert [j for _, outs in groups for j in outs] == list(range(len(after)))
    for ins, outs in groups:
        assert np.prod([before[i] for i in ins]) == np.prod([after[j] for j in outs])


@settings(max_examples=25, deadline=None)
@given(st.permutations([2, 3, 1, 4]), st.permutations(range(4)), st.permutations([4, 2, 3]), st.permutations(range(3)))
def test_random_chains_compute_the_same(shape: Any, first: Any, merged: Any, second: Any) -> None:
    def body(x: Any) -> Any:
        y = op.nn.relu(op.reshape(op.permute_dims(x, list(first)), tuple(merged)))
        return op.exp(op.permute_dims(y, list(second)))

    before = module([(tuple(shape), "float32")], body)
    after = sink_transposes(before)
    assert operators(after)["permute_dims"] <= operators(before)["permute_dims"]
    check_equal(before, after, np.random.default_rng(0).standard_normal(tuple(shape)).astype(np.float32))
