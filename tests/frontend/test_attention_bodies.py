"""Attention operators of com.microsoft against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compiler.verify.reference import run_reference
from tests.frontend.checks import prepared, refusal, run_prepared
from tests.frontend.test_bodies import MS, build, check, floats, quantised
from tests.models import node

B, S, D, N = 2, 5, 12, 3
LAST = np.asarray([3, 5], np.int32)
RAW = np.asarray([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
SQUARE = np.tril(np.ones((B, S, S), np.int32))
PAST = floats(2, B, N, 4, D // N, seed=7)


@pytest.mark.parametrize(
    ("names", "extra", "attributes", "outputs"),
    [
        ("x w b", {}, {}, "y"),
        ("x w b", {}, {"scale": 0.3}, "y"),
        ("x w b mask", {"mask": RAW}, {}, "y"),
        ("x w b mask", {"mask": SQUARE}, {}, "y"),
        ("x w b mask", {"mask": LAST}, {}, "y"),
        ("x w b mask", {"mask": np.asarray([3, 5, 1, 0], np.int32)}, {}, "y"),
        ("x w b mask", {"mask": RAW}, {"unidirectional": 1, "mask_filter_value": -50.0}, "y"),
        ("x w b _ past", {"past": PAST}, {"unidirectional": 1}, "y present"),
        ("x w b _ _ bias", {"bias": floats(1, N, S, S, seed=9)}, {}, "y"),
    ],
)
def test_attention(names: str, extra: dict[str, Any], attributes: dict[str, Any], outputs: str) -> None:
    tested = node("Attention", names, outputs, MS, num_heads=N, **attributes)
    constants = {"w": floats(D, 3 * D, seed=1), "b": floats(3 * D, seed=2)}
    check(tested, {"x": floats(B, S, D)} | extra, constants, dict.fromkeys(outputs.split(), "float32"))


def test_attention_of_other_sizes() -> None:
    tested = node("Attention", "x w b", "y", MS, num_heads=N, qkv_hidden_sizes=[6, 6, 12])
    check(tested, {"x": floats(B, S, D)}, {"w": floats(D, 24), "b": floats(24)}, {"y": "float32"})


@pytest.mark.parametrize(
    ("names", "extra", "attributes", "outputs"),
    [
        ("x w b xs ws _ xz wz", {}, {}, "y"),
        ("x w b xs ws mask xz wz", {"mask": RAW}, {"unidirectional": 1}, "y"),
        ("x w b xs ws mask", {"mask": LAST}, {}, "y"),
        ("x w b xs ws _ xz wz past", {"past": PAST}, {"unidirectional": 1}, "y present"),
    ],
)
def test_quantised_attention(names: str, extra: dict[str, Any], attributes: dict[str, Any], outputs: str) -> None:
    tested = node("QAttention", names, outputs, MS, num_heads=N, **attributes)
    constants = {"w": quantised(D, 3 * D, dtype="int8"), "b": floats(3 * D, seed=2)}
    constants |= {"xs": np.float32(0.02), "ws": np.float32(0.01), "xz": np.uint8(121), "wz": np.int8(0)}
    constants = {name: array for name, array in constants.items() if name in names.split()}
    check(tested, {"x": quantised(B, S, D)} | extra, constants, dict.fromkeys(outputs.split(), "float32"))


def qkv(keys: int = S) -> dict[str, Any]:
    return {"q": floats(B, S, D), "k": floats(B, keys, D, seed=1), "v": floats(B, keys, D, seed=2)}


@pytest.mark.parametrize(
    ("names", "inputs", "attributes", "outputs"),
    [
        ("q k v", qkv(7), {}, "y"),
        ("q k v b", qkv(7) | {"b": floats(3 * D, seed=3)}, {"scale": 0.2}, "y"),
        ("q k v _ mask", qkv() | {"mask": RAW}, {}, "y"),
        ("q k v _ mask", qkv() | {"mask": LAST}, {}, "y"),
        ("q k v _ _ bias", qkv(7) | {"bias": floats(B, 1, S, 7, seed=3)}, {}, "y"),
        ("q k v", qkv(), {"unidirectional": 1}, "y"),
        ("q k v", {"q": floats(B, S, D), "k": floats(B, N, 7, 4), "v": floats(B, N, 7, 4, seed=2)}, {}, "y"),
        ("q k v _ _ _ pk pv", qkv() | {"pk": PAST[0], "pv": PAST[1]}, {"unidirectional": 1}, "y nk nv"),
    ],
)
def test_multi_head_attention(names: str, inputs: dict[str, Any], attributes: dict[str, Any], outputs: str) -> None:
    tested = node("MultiHeadAttention", names, outputs, MS, num_heads=N, **attributes)
    check(tested, inputs, {}, dict.fromkeys(outputs.split(), "float32"))


def test_packed_inputs_of_multi_head_attention() -> None:
    """onnxruntime has these on some devices only; they mean the same as the inputs one by one."""
    given = qkv()
    heads = [given[name].reshape(B, S, N, 1, 4) for name in ("q", "k", "v")]
    plain = build(node("MultiHeadAttention", "q k v", "y", MS, num_heads=N), given, {}, {"y": "float32"}, 17)
    want = run_reference(plain, given)[1]["y"]
    for names, inputs in (
        ("q", {"q": np.concatenate(heads, 3)}),
        ("q k", {"q": given["q"], "k": np.concatenate(heads[1:], 3)}),
    ):
        proto = build(node("MultiHeadAttention", names, "y", MS, num_heads=N), inputs, {}, {"y": "float32"}, 17)
        np.testing.assert_allclose(run_prepared(prepared(proto), inputs)["y"], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "places", "half", "attributes"),
    [
        ((2, 5, 24), np.asarray([2], np.int64), 4, {}),
        ((2, 5, 24), np.arange(10).reshape(2, 5), 4, {"interleaved": 1}),
        ((2, 3, 5, 8), np.arange(10).reshape(2, 5), 4, {}),
        ((2, 5, 24), np.arange(10).reshape(2, 5), 2, {"num_heads": 3, "rotary_embedding_dim": 4}),
        ((1, 1, 24), np.asarray([[7]]), 4, {"num_heads": 3}),
    ],
)
def test_rotary_embedding(shape: tuple[int, ...], places: Any, half: int, attributes: dict[str, Any]) -> None:
    tested = node("RotaryEmbedding", "x p c s", "y", MS, **attributes)
    angles = np.random.default_rng(1).uniform(0, 6, (16, half)).astype(np.float32)
    inputs = {"x": floats(*shape), "p": places}
    check(tested, inputs, {"c": np.cos(angles), "s": np.sin(angles)}, {"y": "float32"})


def grouped(length: int, old: int, total: int, lengths: list[int], packed: bool = False) -> tuple[Any, Any]:
    """Inputs and constants; 4 heads of 16 elements in 2 groups."""
    inputs = {"q": floats(2, length, 128 if packed else 64), "n": np.asarray(lengths, np.int32)}
    if not packed:
        inputs |= {"k": floats(2, length, 32, seed=1), "v": floats(2, length, 32, seed=2)}
    if old:
        inputs |= {"pk": floats(2, 2, old, 16, seed=3), "pv": floats(2, 2, old, 16, seed=4)}
    angles = np.random.default_rng(1).uniform(0, 6, (32, 8)).astype(np.float32)
    return inputs, {"t": np.asarray(total, np.int32), "c": np.cos(angles), "s": np.sin(angles)}


@pytest.mark.parametrize(
    ("names", "sizes", "attributes"),
    [
        ("q k v _ _ n t", (5, 0, 5, [4, 4]), {}),
        ("q k v _ _ n t c s", (5, 0, 5, [4, 4]), {"do_rotary": 1, "scale": 0.2}),
        ("q _ _ _ _ n t c s", (5, 0, 5, [4, 4], True), {"do_rotary": 1, "rotary_interleaved": 1}),
        ("q k v pk pv n t c s", (1, 6, 7, [6, 6]), {"do_rotary": 1}),
        ("q k v pk pv n t c s", (1, 6, 7, [6, 6]), {"do_rotary": 1, "local_window_size": 3}),
        ("q k v pk pv n t", (1, 6, 7, [6, 6]), {"softcap": 2.0}),
    ],
)
def test_group_query_attention(names: str, sizes: Any, attributes: dict[str, Any]) -> None:
    tested = node("GroupQueryAttention", names, "y nk nv", MS, num_heads=4, kv_num_heads=2, **attributes)
    inputs, constants = grouped(*sizes)
    check(tested, inputs, constants, dict.fromkeys(("y", "nk", "nv"), "float32"))


def test_sequences_of_different_lengths_share_a_cache() -> None:
    """One has filled all of the cache, the other one place less; what lies behind its end is nobody's."""
    tested = node("GroupQueryAttention", "q k v pk pv n t", "y", MS, num_heads=4, kv_num_heads=2)
    inputs, constants = grouped(1, 6, 7, [6, 4])
    tested.output.extend(["nk", "nv"])
    check(tested, inputs, constants, {"y": "float32", "nk": "float32", "nv": "float32"})


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        (node("Attention", "x x", "y", MS, num_heads=2, do_rotary=1), "do_rotary"),
        (node("RotaryEmbedding", "x x x x", "y", MS, scale=2.0), "scale"),
        (node("MultiHeadAttention", "x x x _ _ _ _ _ x", "y", MS, num_heads=2), "past_sequence_length"),
        (
            node("GroupQueryAttention", "x x x x x x x", "y", MS, num_heads=2, kv_num_heads=1, smooth_softmax=1),
            "smooth",
        ),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else None,
)
def test_what_is_not_covered_is_refused(tested: onnx.NodeProto, expected: str) -> None:
    assert expected in refusal(build(tested, {"x": floats(2, 6, 6)}, {}, {"y": "float32"}, 17))
