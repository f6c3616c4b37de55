"""Bands of rows through several layers: that they change no result, where they are used, and what they spare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tvm import relax

from compiler.build.memory import plan_memory
from compiler.frontend.prepare import Model, load_model
from compiler.kernels.limits import Limits
from compiler.passes import bands
from compiler.passes.bands import use_bands
from compiler.passes.choices import Choices
from compiler.pipeline import Clock, Lowered, Options, compile_with, lower_model, quantize_for, resolve
from compiler.runtime import loader
from compiler.target import Target, load_target
from tests.executors import executor_or_skip
from tests.kernels.grid import floats
from tests.models import model, node, random_inputs
from tests.passes.relax_modules import check_equal, module, operators

op = relax.op
SMALL = Limits(lanes=16, registers=32, l2_whole=1 << 10)

# (what, its numbers): kernel, stride, dilation, groups or not; kernel, stride, padding; widths and value.
layers = st.one_of(
    st.tuples(st.just("conv"), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.booleans()),
    st.tuples(st.just("pool"), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1)),
    st.tuples(st.just("pad"), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.sampled_from(["relu", "silu", "residual", "outside", "rows", "plane", "scalar"])),
)


def chain(x: Any, outside: Any, drawn: list[tuple[Any, ...]]) -> Any:
    """A network of these layers, those left out that the sizes do not allow."""
    builder = relax.BlockBuilder.current()
    before = x = builder.emit(op.nn.conv2d(x, weights(1, 1, 3, 4), data_layout="NHWC", kernel_layout="HWIO"))
    for kind, *numbers in drawn:
        n, height, width, channels = (int(d) for d in x.ty.shape)
        same = [int(d) for d in before.ty.shape] == [n, height, width, channels]
        made = None
        if kind == "conv":
            size, stride, dilation, grouped = numbers
            if min(height, width) > (size - 1) * dilation:
                groups = channels if grouped else 1
                w = weights(size, size, channels // groups, channels)
                layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
                made = op.nn.conv2d(x, w, strides=stride, dilation=dilation, groups=groups, **layouts)
        elif kind == "pool":
            size, stride, padding = numbers
            if min(height, width) >= size > padding:
                made = op.nn.max_pool2d(x, [size, size], stride, padding, layout="NHWC")
        elif kind == "pad":
            above, below, value = numbers
            made = op.nn.pad(x, [0, 0, above, below, 1, 0, 0, 0], pad_value=float(value))
        elif kind == "relu":
            made = op.nn.relu(x)
        elif kind == "silu":
            made = op.multiply(x, builder.emit(op.sigmoid(x)))
        elif kind == "residual" and same:
            made, before = op.add(x, before), x
        elif kind == "outside" and [int(d) for d in outside.ty.shape][1:3] == [height, width]:
            made = op.add(builder.emit(op.mean(outside, 3, keepdims=True)), x)
        elif kind == "rows":
            made = op.multiply(x, relax.const(floats("rows", height, 1, 1)))
        elif kind == "plane":
            made = op.add(x, relax.const(floats("plane", n, 1, width, channels)))
        elif kind == "scalar":
            made = op.subtract(x, relax.const(0.5))
        x = x if made is None else builder.emit(made)
    return op.add(x, relax.const(1.0))


def weights(*shape: int) -> Any:
    return relax.const(floats("w", *shape))


def cost_nothing(patch: pytest.MonkeyPatch) -> None:
    """So that small images are in bands too."""
    patch.setattr(bands, "_lost", lambda *given: 0.0)
    patch.setattr(bands, "_LEAST_SHARE", 0.0)


def every_option(before: Any, limits: Limits) -> list[Any]:
    """The module with every number of rows that each region's bands may have; the first is the default."""
    asked = Choices()
    made = [use_bands(before, limits, asked)]
    for key, choice in asked.made.items():
        made += [use_bands(before, limits, Choices({key: value})) for value in choice.options]
    return made


@settings(max_examples=8)
@given(st.integers(1, 2), st.integers(2, 19), st.integers(2, 17), st.lists(layers, min_size=2, max_size=9))
@example(1, 19, 5, [("pad", 1, 1, 0), ("conv", 3, 2, 1, True), ("silu",), ("conv", 1, 1, 1, False)])
@example(2, 18, 4, [("residual",), ("pool", 3, 2, 1), ("rows",), ("conv", 2, 1, 2, False), ("plane",)])
def test_results_stay(n: int, height: int, width: int, drawn: list[tuple[Any, ...]]) -> None:
    before = module(
        [((n, height, width, 3), "float32"), ((n, height, width, 2), "float32")],
        lambda x, outside: chain(x, outside, drawn),
    )
    arrays = floats("x", n, height, width, 3), floats("o", n, height, width, 2)
    with pytest.MonkeyPatch.context() as patch:
        cost_nothing(patch)
        after = every_option(before, SMALL)[-1]
        if operators(after) != operators(before):
            check_equal(before, after, *arrays)


def test_examples_are_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above means something."""
    cost_nothing(monkeypatch)
    drawn = [("pad", 1, 1, 0), ("conv", 3, 2, 1, True), ("silu",), ("conv", 1, 1, 1, False)]
    shapes = [((1, 19, 5, 3), "float32"), ((1, 19, 5, 2), "float32")]
    before = module(shapes, lambda x, outside: chain(x, outside, drawn))
    one, *others = every_option(before, SMALL)
    assert operators(one)["nn.conv2d"] > operators(before)["nn.conv2d"] == 3
    assert len({operators(other)["nn.conv2d"] for other in others}) > 2


def inverted(height: int, width: int, images: int, stride: int, residual: bool) -> onnx.ModelProto:
    """A block as MobileNetV2 has them, between two more layers."""
    rng = np.random.default_rng(0)
    shapes = {"e": (48, 8, 1, 1), "d": (48, 1, 3, 3), "p": (8, 48, 1, 1), "l": (8, 3, 3, 3)}
    constants = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        node("Conv", "x l", "a", pads=[1] * 4),
        node("Conv", "a e", "b"),
        node("Relu", "b", "c"),
        node("Conv", "c d", "f", pads=[1] * 4, strides=[stride] * 2, group=48),
        node("Relu", "f", "g"),
        node("Conv", "g p", "h"),
        node("Add", "h a", "i") if residual else node("Sigmoid", "h", "i"),
        node("MaxPool", "i", "y", kernel_shape=[3, 3], strides=[2, 2]),
    ]
    return model(nodes, {"x": [images, 3, height, width]}, ["y"], constants)


def with_small_cache(target: str, kib: int) -> Target:
    found = load_target(target)
    return replace(found, caches=replace(found.caches, l2_kib=kib, l2_shared=False))


def options_of(net: Model, target: Target, out: Path) -> Options:
    return resolve(net, target, out, None, True, None, True)


def in_bands(lowered: Lowered) -> dict[str, int]:
    """The rows of regions' bands, by the key of the choice."""
    return {key: choice.taken for key, choice in lowered.choices.items() if choice.kind == "bands" and choice.taken}


@pytest.mark.parametrize("target", ["host", pytest.param("raspberry-pi-4", marks=pytest.mark.arm)])
@pytest.mark.parametrize("images, height, width, stride, residual", [(1, 37, 20, 2, False), (2, 24, 31, 1, True)])
def test_kernels(
    images: int,
    height: int,
    width: int,
    stride: int,
    residual: bool,
    target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Verified beside onnxruntime."""
    cost_nothing(monkeypatch)
    small = with_small_cache(target, 64)
    executor_or_skip(small)
    net = load_model(inverted(height, width, images, stride, residual))
    options = options_of(net, small, tmp_path / "net.so")
    assert in_bands(lower_model(net, options))
    assert compile_with(net, options, Clock()).verified == "passed"


def test_integers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, whatever the bands."""
    cost_nothing(monkeypatch)
    proto = inverted(40, 21, 1, 1, True)
    samples = {"x": np.concatenate([random_inputs(proto, seed)["x"] for seed in range(4)])}
    results, found = [], []
    for kib in (16, 4096):
        target = with_small_cache("host", kib)
        net = load_model(proto)
        options = resolve(net, target, tmp_path / f"{kib}.so", None, False, None, True, "int8")
        net, options = quantize_for(net, options, samples).compiled(options)
        found.append(in_bands(lower_model(net, options)))
        compile_with(net, options, Clock())
        with loader.Model(options.out) as loaded:
            results.append(np.array(loaded.run(random_inputs(proto))["y"]))
    assert found[0] and not found[1]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("size, banded", [(224, True), (28, False)])
def test_large_images_are_in_bands(size: int, banded: bool, tmp_path: Path) -> None:
    """Which takes less memory."""
    net = load_model(inverted(size, size, 1, 2, False))
    options = options_of(net, load_target("x86-64-v4"), tmp_path / "net.so")
    lowered = lower_model(net, options)
    assert bool(in_bands(lowered)) == banded
    if banded:
        whole = replace(options, choices=dict.fromkeys(in_bands(lowered), 0))
        arenas = [plan_memory(lower_model(net, one).versions[0].program).arena_bytes for one in (options, whole)]
        assert arenas[0] < 0.5 * arenas[1]
