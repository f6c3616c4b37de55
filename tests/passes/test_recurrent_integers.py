"""Recurrent layers whose state has 8 bits in each step, against NumPy, and onnxruntime's DynamicQuantizeLSTM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.kernels.limits import limits_of
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.verify.reference import run_reference
from tests.kernels.grid import Case, failures, floats
from tests.models import model, node

Array = np.ndarray[Any, Any]
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def rounded(x: Array) -> Array:
    """What 255 steps of the range of `x` and 0 stand for."""
    low, high = min(np.float32(0), x.min()), max(np.float32(0), x.max())
    scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return np.asarray((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale, np.float32)


def weights(name: str, *shape: int) -> tuple[Array, Array, Array]:
    """int8 rows, their scales, and what they stand for [direction, row, column]."""
    integers = np.clip(np.rint(floats(name, *shape) * 50), -127, 127).astype(np.int8)
    scales = (0.002 * (1 + np.abs(floats(f"{name} scale", *shape[:2])))).astype(np.float32)
    return integers.reshape(-1, shape[2]), scales.ravel(), integers * scales[..., None]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _step(kind: str, after: bool, x: Array, r: Array, rb: Array, h: Array, c: Array, p: Array, state: Any) -> Any:
    """One row's new states. x: of all gates, with biases of the inputs; `state` rounds what is multiplied by r."""
    n = len(h)
    if kind == "RNN":
        return np.tanh(x + r @ state(h) + rb), c
    if kind == "LSTM":
        i, o, f, g = np.split(x + r @ state(h) + rb, 4)
        pi, po, pf = np.split(p, 3)
        i, f = _sigmoid(i + pi * c), _sigmoid(f + pf * c)
        new = f * c + i * np.tanh(g)
        return _sigmoid(o + po * new) * np.tanh(new), new
    z, q = np.split(_sigmoid((x + rb)[: 2 * n] + r[: 2 * n] @ state(h)), 2)
    if after:
        g = np.tanh(x[2 * n :] + q * (r[2 * n :] @ state(h) + rb[2 * n :]))
    else:
        g = np.tanh(x[2 * n :] + rb[2 * n :] + r[2 * n :] @ state(q * h))
    return (1 - z) * g + z * h, c


def layer(
    kind: str,
    size: tuple[int, int, int, int],
    integers: bool = True,
    lengths: list[int] | None = None,
    states: bool = False,
    **given: Any,
) -> Case:
    """A layer of `size` steps, rows, inputs and hidden units with what it must give: with `integers` from a state that
    is rounded in each step."""
    steps, batch, inputs, hidden = size
    name = f"{kind} {size} {lengths} {states} {given}"
    reverse = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[given.get("direction", "forward")]
    count, gates = len(reverse), _GATES[kind]
    x = floats(f"{name} x", steps, batch, inputs)
    (wq, ws, w), (rq, rs, r) = (weights(f"{name} {n}", count, gates * hidden, n) for n in (inputs, hidden))
    b = 0.3 * floats(f"{name} b", count, 2 * gates * hidden)
    h0, c0 = (0.5 * floats(f"{name} {n}", count, batch, hidden) * states for n in "hc")
    p = 0.3 * floats(f"{name} p", count, 3 * hidden) * states
    y = np.zeros((steps, count, batch, hidden), np.float32)
    ends = np.zeros((2, count, batch, hidden), np.float32)
    products = np.einsum("sbi,doi->sbdo", rounded(x), w)
    for d in range(count):
        for row in range(batch):
            h, c, length = h0[d, row], c0[d, row], steps if lengths is None else lengths[row]
            for t in reversed(range(length)) if reverse[d] else range(length):
                wb, rb = np.split(b[d], 2)
                gate = products[t, row, d] + wb
                after = bool(given.get("linear_before_reset"))
                h, c = _step(kind, after, gate, r[d], rb, h, c, p[d], rounded if integers else np.asarray)
                y[t, d, row] = h
            ends[:, d, row] = h, c
    constants = {"wq": wq, "ws": ws, "wz": np.zeros_like(ws, np.int8), "wn": np.array(w.shape), "b": b.astype("f4")}
    constants |= {"rq": rq, "rs": rs, "rz": np.zeros_like(rs, np.int8), "rn": np.array(r.shape)}
    feeds = {"x": x}
    if lengths is not None:
        constants["lengths"] = np.array(lengths, np.int32)
    if states:
        feeds |= {"h": h0.astype("f4")} | ({"c": c0.astype("f4")} if kind == "LSTM" else {})
        constants |= {"p": p.astype("f4")} if kind == "LSTM" else {}
    more = [n if n in constants or n in feeds else "_" for n in ("lengths", "h", "c", "p")]
    while more and more[-1] == "_":
        more.pop()
    outputs = ("y", "yh", "yc") if kind == "LSTM" else ("y", "yh")
    nodes = [
        node("DynamicQuantizeLinear", "x", "xq xs xz"),
        node("DequantizeLinear", "xq xs xz", "xd"),
        *(node("DequantizeLinear", f"{n}q {n}s {n}z", f"{n}d", axis=0) for n in "wr"),
        *(node("Reshape", f"{n}d {n}n", n) for n in "wr"),
        node(kind, " ".join(["xd w r b", *more]), " ".join(outputs), hidden_size=hidden, **given),
    ]
    return Case(name, nodes, feeds, constants, outputs, (y, *ends)[: len(outputs)], 2e-3)


def layers(integers: bool) -> list[Case]:
    made = []
    for kind in _GATES:
        made += [
            layer(kind, (3, 1, 5, 64), integers),
            layer(kind, (4, 3, 3, 33), integers, direction="bidirectional"),
            layer(kind, (3, 2, 2, 7), integers, [1, 3], True, direction="reverse"),
            layer(kind, (2, 9, 1, 1), integers),
        ]
    return [*made, layer("GRU", (3, 2, 4, 19), integers, states=True, linear_before_reset=1)]


@pytest.mark.parametrize(
    ("target", "integers"),
    [
        ("host", None),
        ("x86-64-v2", False),
        ("x86-64-v3", True),
        pytest.param("raspberry-pi-5", True, marks=pytest.mark.arm),
    ],
)
def test_results(target: str, integers: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.passes.recurrent_integers._MOST_IN_FLOAT", 0)
    if target != "x86-64-v2":
        monkeypatch.setattr("compiler.passes.recurrent_integers._MOST_BESIDE_PAIRS", 0)
    if integers is None:
        limits = limits_of(load_target("host"))
        integers = limits.dots or limits.multiplies_pairs
    cases = layers(integers)
    assert not failures(cases if target == "host" else cases[::2], target, tmp_path)


def contrib(steps: int, batch: int, hidden: int, by_column: bool, unsigned: bool, given: list[str]) -> onnx.ModelProto:
    """DynamicQuantizeLSTM in both directions of 6 inputs."""
    tensors: dict[str, Array] = {}
    for name, inputs in (("w", 6), ("r", hidden)):
        integers = np.clip(np.rint(floats(name, 2, inputs, 4 * hidden) * 50), -127, 127)
        scales = 0.002 * (1 + np.abs(floats(f"{name}s", 2, 4 * hidden)))
        tensors[name] = (integers + 128).astype(np.uint8) if unsigned else integers.astype(np.int8)
        tensors[f"{name}s"] = (scales if by_column else scales[:, 0]).astype(np.float32)
        tensors[f"{name}z"] = np.full(tensors[f"{name}s"].shape, 128 if unsigned else 0, tensors[name].dtype)
    tensors |= {"b": 0.3 * floats("b", 2, 32 * hidden // 4), "p": 0.3 * floats("p", 2, 3 * hidden)}
    tensors |= {n: 0.5 * floats(n, 2, batch, hidden) for n in "hc"}
    tensors["lengths"] = np.arange(batch, dtype=np.int32) % steps + 1
    optional = [n if n in given else "" for n in ("b", "lengths", "h", "c", "p")]
    names = ["x", "w", "r", *optional, "ws", "wz", "rs", "rz"]
    layer = helper.make_node(
        *("DynamicQuantizeLSTM", names, ["y", "yh", "yc"]),
        domain="com.microsoft", hidden_size=hidden, direction="bidirectional",
    )  # fmt: skip
    shapes = {"y": [steps, 2, batch, hidden], "yh": [2, batch, hidden], "yc": [2, batch, hidden]}
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    held = {n: a.astype("f4") if a.dtype == np.float64 else a for n, a in tensors.items() if n in names}
    return model([layer], {"x": [steps, batch, 6]}, outputs, held, domains=["com.microsoft"])


@pytest.mark.parametrize(
    ("size", "by_column", "unsigned", "given"),
    [
        ((5, 1, 50), True, False, ["b", "h", "c", "p"]),
        ((4, 1, 61), False, True, []),
        ((4, 3, 48), True, False, ["b", "lengths"]),
    ],
)
def test_dynamic_quantize_lstm(
    size: tuple[int, int, int], by_column: bool, unsigned: bool, given: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    proto = contrib(*size, by_column, unsigned, given)
    artifact = compile_model(proto, "host", tmp_path / "lstm.so")
    assert artifact.verified == "passed"
    x = floats("x", size[0], size[1], 6)
    with Model(artifact.path) as loaded:
        found = loaded.run({"x": x})
    for name, want in run_reference(proto, {"x": x})[1].items():
        # One row is rounded as onnxruntime does; of several it rounds as many as a thread takes together.
        np.testing.assert_allclose(found[name], want, atol=1e-3 if size[1] == 1 else 2e-2, rtol=0)


def test_weights_that_are_inputs_are_refused() -> None:
    from tests.frontend.checks import refusal

    proto = contrib(2, 1, 4, True, False, [])
    kept = [tensor for tensor in proto.graph.initializer if tensor.name != "w"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.INT8, [2, 6, 16]))
    assert "'W' is not a constant" in refusal(proto)
