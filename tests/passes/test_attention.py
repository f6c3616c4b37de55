"""Attention becomes one program, where nothing else reads what is inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from compiler.passes.attention import fuse_attention
from tests.kernels.grid import Array, floats
from tests.passes.relax_modules import check_equal, module

op = relax.op
B, H, Q, K, D = 2, 3, 5, 7, 4


def fused(before: tvm.IRModule) -> tuple[tvm.IRModule, list[str]]:
    """The module after the pass, and the names of its tensor programs."""
    after = relax.transform.DeadCodeElimination()(fuse_attention(before))
    return after, sorted(v.name_hint for v in after.functions if v.name_hint != "main")


def attention(
    logits: Callable[[Any], Any] = lambda s: s, weights: Callable[[Any], Any] = lambda p: p, more: bool = False
) -> tvm.IRModule:
    """softmax(logits(q kᵀ)) v, its heads brought together again; with `more`, the softmax is a result too."""

    def body(q: Any, k: Any, v: Any) -> Any:
        scores = op.matmul(q, op.permute_dims(k, [0, 1, 3, 2]))
        softmax = op.nn.softmax(logits(scores), -1)
        mixed = op.permute_dims(op.matmul(weights(softmax), v), [0, 2, 1, 3])
        return relax.Tuple([mixed, softmax]) if more else mixed

    return module([((B, H, Q, D), "float32"), ((B, H, K, D), "float32"), ((B, H, K, D), "float32")], body)


def inputs() -> list[Array]:
    return [floats("q", B, H, Q, D), floats("k", B, H, K, D), floats("v", B, H, K, D)]


@pytest.mark.parametrize(
    "logits",
    [
        lambda s: s,
        lambda s: op.multiply(s, relax.const(0.5)),
        lambda s: op.divide(s, relax.const(np.full((1,), 3, "float32"))),
        lambda s: op.add(relax.const(floats("m", Q, K)), op.multiply(relax.const(2.0), s)),
        lambda s: op.subtract(relax.const(floats("m", K)), s),
        lambda s: op.where(relax.const(floats("c", B, 1, 1, K) > 0), s, relax.const(-1e30)),
        lambda s: op.where(relax.const(floats("c", Q, K) > 0), relax.const(floats("m", Q, 1)), s),
        lambda s: op.multiply(op.tanh(op.divide(s, relax.const(5.0))), relax.const(5.0)),
    ],
)
def test_what_stands_between_scores_and_softmax_joins_them(logits: Callable[[Any], Any]) -> None:
    before = attention(logits)
    after, names = fused(before)
    assert names == ["attention", "attention_keys"]
    assert {"relax.matmul", "relax.nn.softmax", "relax.permute_dims"}.isdisjoint(_operators(after))
    check_equal(before, after, *inputs())


def test_rows_that_are_blanked_join_too() -> None:
    rows = relax.const(np.arange(Q).reshape(1, 1, Q, 1) % 2 == 0)
    before = attention(weights=lambda p: op.where(rows, relax.const(0.0), p))
    after, names = fused(before)
    assert names == ["attention", "attention_keys"]
    check_equal(before, after, *inputs())


def test_rows_of_nan_that_are_blanked_join_too() -> None:
    mask = relax.const(np.where(np.arange(Q)[:, None] == 2, -np.inf, 0).astype("float32") + np.zeros(K, "float32"))
    before = attention(lambda s: op.add(s, mask), lambda p: op.where(op.isnan(p), relax.const(0.0), p))
    after, names = fused(before)
    assert names == ["attention", "attention_keys"]
    check_equal(before, after, *inputs())


@pytest.mark.parametrize(
    "before",
    [
        attention(more=True),
        attention(weights=lambda p: op.multiply(p, relax.const(floats("drop", K)))),
        attention(weights=lambda p: op.where(relax.const(np.arange(K) > 2), relax.const(0.0), p)),
        attention(weights=lambda p: op.where(relax.const(np.ones((Q, 1)) > 0), relax.const(1.0), p)),
        attention(lambda s: op.nn.softmax(s, -2)),
        attention(lambda s: op.exp(s)),
    ],
)
def test_other_things_stay(before: tvm.IRModule) -> None:
    after, names = fused(before)
    assert names == [] and "relax.matmul" in _operators(after)


def test_projections_are_read_where_they_lie() -> None:
    def body(x: Any) -> Any:
        heads = op.permute_dims(op.reshape(x, (B, Q, 3, H, D)), [2, 0, 3, 1, 4])
        q, k, v = (op.take(heads, relax.const(i, "int64"), axis=0, mode="clip") for i in range(3))
        scores = op.matmul(op.multiply(q, relax.const(0.5)), op.permute_dims(k, [0, 1, 3, 2]))
        mixed = op.permute_dims(op.matmul(op.nn.softmax(scores, -1), v), [0, 2, 1, 3])
        return op.reshape(mixed, (B, Q, H * D))

    before = module([((B, Q, 3 * H * D), "float32")], body)
    after, names = fused(before)
    assert names == ["attention", "attention_keys"]
    assert _operators(after) <= {"relax.reshape", "relax.call_tir"}
    check_equal(before, after, floats("x", B, Q, 3 * H * D))


def test_shared_keys_are_not_repeated() -> None:
    def body(q: Any, k: Any) -> Any:
        return op.matmul(op.nn.softmax(op.matmul(q, op.permute_dims(k, [0, 2, 1])), -1), k)

    before = module([((4, Q, D), "float32"), ((1, K, D), "float32")], body)
    after, _names = fused(before)
    keys = next(f for v, f in after.functions.items() if v.name_hint == "attention_keys")
    assert [int(d) for d in keys.params[-1].ty.shape] == [1, D, K]
    check_equal(before, after, floats("q", 4, Q, D), floats("k", 1, K, D))


def test_a_few_queries_leave_keys_as_they_are() -> None:
    def body(q: Any, k: Any) -> Any:
        return op.matmul(op.nn.softmax(op.matmul(q, op.permute_dims(k, [0, 2, 1])), -1), k)

    before = module([((4, 2, D), "float32"), ((4, 9000, D), "float32")], body)
    after, names = fused(before)
    assert names == ["attention"]
    check_equal(before, after, floats("q", 4, 2, D), floats("k", 4, 9000, D))


def test_values_far_apart_are_copied_together() -> None:
    def body(q: Any, k: Any, v: Any) -> Any:
        spread = op.take(op.reshape(v, (B, K, 1 << 14, D)), relax.const(0, "int64"), axis=2)
        return op.matmul(op.nn.softmax(op.matmul(q, k), -1), spread)

    shapes = ((B, Q, D), (B, D, K), (B, K, (1 << 14) * D))
    _after, names = fused(module([(shape, "float32") for shape in shapes], body))
    assert names == ["attention", "attention_values"]


def _operators(mod: tvm.IRModule) -> set[str]:
    values = [binding.value for block in mod["main"].body.blocks for binding in block.bindings]
    return {v.op.name for v in values if hasattr(v, "op") and hasattr(v.op, "name")}
