"""Function bodies of ours against onnxruntime, whose operators most of them are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest

from compiler.verify.reference import run_reference
from tests.frontend.checks import prepared, refusal, run_prepared
from tests.models import model, node, value

MS = "com.microsoft"
Arrays = Mapping[str, Any]


def quantised(*shape: int, dtype: str = "uint8", seed: int = 0) -> Any:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype, endpoint=True)


def floats(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def f32(*values: float) -> Any:
    return np.asarray(values[0] if len(values) == 1 else values, np.float32)


U8, I8 = np.asarray(121, np.uint8), np.asarray(-5, np.int8)


def build(tested: onnx.NodeProto, inputs: Arrays, constants: Arrays, results: Mapping[str, str], opset: int) -> Any:
    outputs = [value(name, None, dtype) for name, dtype in results.items()]
    arrays = {name: (list(array.shape), str(array.dtype)) for name, array in inputs.items()}
    return model([tested], arrays, outputs, constants, opset=opset, domains=[MS])


def check(
    tested: onnx.NodeProto,
    inputs: Arrays,
    constants: Arrays,
    results: Mapping[str, str],
    opset: int = 17,
    step: int = 0,
) -> None:
    """Compares the prepared graph's results with onnxruntime's; integers may differ by `step` here and there."""
    proto = build(tested, inputs, constants, results, opset)
    source, expected = run_reference(proto, dict(inputs))
    assert source.startswith("onnxruntime"), source
    got = run_prepared(prepared(proto), dict(inputs))
    for name, want in expected.items():
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=1e-5 * max(1, np.abs(want).max(initial=0)))
        else:
            difference = np.abs(got[name].astype(np.int64) - want.astype(np.int64))
            assert difference.max(initial=0) <= step
            assert (difference > 0).mean() <= 1e-3 if difference.size else True


QUANTISED: list[tuple[onnx.NodeProto, Arrays, Arrays, str]] = [
    (
        node("QLinearAdd", "a as az b bs bz cs cz", "y", MS),
        {"a": quantised(2, 3, 5), "b": quantised(5, seed=1)},
        {"as": f32(0.1), "az": U8, "bs": f32(0.07), "bz": U8, "cs": f32(0.13), "cz": U8},
        "uint8",
    ),
    (
        node("QLinearMul", "a as az b bs bz cs cz", "y", MS),
        {"a": quantised(2, 3, dtype="int8"), "b": quantised(2, 3, dtype="int8", seed=1)},
        {"as": f32(0.1), "az": I8, "bs": f32(0.07), "bz": I8, "cs": f32(0.43), "cz": I8},
        "int8",
    ),
    (
        node("QLinearLeakyRelu", "x xs xz ys yz", "y", MS, alpha=0.2),
        {"x": quantised(256)},
        {"xs": f32(0.1), "xz": U8, "ys": f32(0.07), "yz": U8},
        "uint8",
    ),
    (
        node("QLinearSigmoid", "x xs xz ys yz", "y", MS),
        {"x": quantised(1, 77, dtype="int8")},
        {"xs": f32(0.03), "xz": I8, "ys": f32(1 / 256), "yz": np.int8(-128)},
        "int8",
    ),
    (
        node("QLinearSoftmax", "x xs xz ys yz", "y", MS, axis=-1, opset=13),
        {"x": quantised(3, 7)},
        {"xs": f32(0.03), "xz": U8, "ys": f32(1 / 256), "yz": np.uint8(0)},
        "uint8",
    ),
    (
        node("QLinearSoftmax", "x xs xz ys yz", "y", MS, axis=1, opset=12),
        {"x": quantised(2, 3, 5)},
        {"xs": f32(0.03), "xz": U8, "ys": f32(1 / 256), "yz": np.uint8(0)},
        "uint8",
    ),
    (
        node("QLinearConcat", "ys yz a as az b bs bz", "y", MS, axis=1),
        {"a": quantised(2, 3, 1), "b": quantised(2, 4, 1, seed=1)},
        {"as": f32(0.1), "az": U8, "bs": f32(0.07), "bz": np.uint8(3), "ys": f32(0.11), "yz": U8},
        "uint8",
    ),
    (
        node("QLinearConcat", "ys yz a as az", "y", MS, axis=0),
        {"a": quantised(2, 3)},
        {"as": f32(0.1), "az": U8, "ys": f32(0.11), "yz": U8},
        "uint8",
    ),
    (
        node("QLinearAveragePool", "x xs xz ys yz", "y", MS, kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1]),
        {"x": quantised(1, 3, 7, 5)},
        {"xs": f32(0.1), "xz": U8, "ys": f32(0.087), "yz": np.uint8(100)},
        "uint8",
    ),
    (
        node("QLinearAveragePool", "x xs xz ys yz", "y", MS, kernel_shape=[2, 2], channels_last=1),
        {"x": quantised(1, 7, 5, 3)},
        {"xs": f32(0.1), "xz": U8, "ys": f32(0.087), "yz": np.uint8(100)},
        "uint8",
    ),
    (
        node("QLinearGlobalAveragePool", "x xs xz ys yz", "y", MS),
        {"x": quantised(2, 3, 7, 5)},
        {"xs": f32(0.1), "xz": U8, "ys": f32(0.087), "yz": np.uint8(100)},
        "uint8",
    ),
    (
        node("QLinearWhere", "c x xs xz y ys yz zs zz", "z", MS),
        {"c": np.arange(6) % 2 == 0, "x": quantised(4, 6), "y": quantised(1, 6, seed=1)},
        {"xs": f32(0.1), "xz": U8, "ys": f32(0.3), "yz": np.uint8(7), "zs": f32(0.2), "zz": U8},
        "uint8",
    ),
    (
        node("QGemm", "a as az b bs bz c ys yz", "y", MS, transB=1, alpha=0.5),
        {"a": quantised(3, 7)},
        {"b": quantised(5, 7, dtype="int8"), "c": np.arange(-200, 300, 100, np.int32)}
        | {"as": f32(0.1), "az": U8, "bs": f32(0.1, 0.2, 0.3, 0.1, 0.05), "bz": np.zeros(5, np.int8)}
        | {"ys": f32(2.5), "yz": U8},
        "uint8",
    ),
    (
        node("QGemm", "a as az b bs bz", "y", MS, transA=1),
        {"a": quantised(7, 3), "b": quantised(7, 5)},
        {"as": f32(0.1), "az": U8, "bs": f32(0.07), "bz": np.uint8(9)},
        "float32",
    ),
    (
        node("DynamicQuantizeMatMul", "a b bs bz bias", "y", MS),
        {"a": floats(2, 3, 7)},
        {"b": quantised(7, 5, dtype="int8"), "bs": f32(0.1), "bz": I8, "bias": floats(5)},
        "float32",
    ),
    (
        node("MatMulIntegerToFloat", "a b as bs az bz bias", "y", MS),
        {"a": quantised(2, 3, 7)},
        {"b": quantised(7, 5), "as": f32(0.1), "bs": floats(5) ** 2, "az": U8, "bz": quantised(5, seed=3)}
        | {"bias": floats(5)},
        "float32",
    ),
    (
        node("MatMulIntegerToFloat", "a b as bs _ bz", "y", MS),
        {"a": quantised(3, 7), "b": quantised(7, 5, dtype="int8")},
        {"as": f32(0.1), "bs": f32(0.2), "bz": I8},
        "float32",
    ),
    (node("QuantizeLinear", "x s z", "y", MS), {"x": floats(3, 4, scale=20)}, {"s": f32(0.25), "z": I8}, "int8"),
    (
        node("DequantizeLinear", "x s z", "y", MS, axis=0),
        {"x": quantised(2, 3)},
        {"s": f32(0.25, 3), "z": np.asarray([1, 9], np.uint8)},
        "float32",
    ),
    (
        node("QLinearConv", "x xs xz w ws wz ys yz b", "y", pads=[1, 0, 2, 1], strides=[2, 1], group=2),
        {"x": quantised(2, 4, 7, 5)},
        {"w": quantised(6, 2, 3, 3, dtype="int8"), "b": np.arange(-3000, 3000, 1000, np.int32)}
        | {"xs": f32(0.1), "xz": U8, "ws": floats(6) ** 2 + f32(0.01), "wz": np.zeros(6, np.int8)}
        | {"ys": f32(9.7), "yz": U8},
        "uint8",
    ),
    (
        node("QLinearConv", "x xs xz w ws wz ys yz", "y", MS, channels_last=1, auto_pad="SAME_UPPER"),
        {"x": quantised(1, 7, 5, 3)},
        {"w": quantised(5, 3, 3, 3), "xs": f32(0.1), "xz": U8, "ws": f32(0.02), "wz": U8, "ys": f32(0.9), "yz": U8},
        "uint8",
    ),
    (
        node("QLinearMatMul", "a as az b bs bz ys yz", "y"),
        {"a": quantised(2, 3, 7)},
        {"b": quantised(7, 5, dtype="int8"), "as": f32(0.1), "az": U8, "bz": np.zeros(5, np.int8)}
        | {"bs": floats(5) ** 2 + f32(0.01), "ys": f32(3.7), "yz": U8},
        "uint8",
    ),
    (
        node("ConvInteger", "x w xz wz", "y", pads=[1, 1, 1, 1]),
        {"x": quantised(1, 40, 5, 5), "w": quantised(2, 40, 3, 3, seed=1)},
        {"xz": np.uint8(3), "wz": np.uint8(200)},
        "int32",
    ),
    (
        node("ConvInteger", "x w", "y", strides=[2, 2], dilations=[1, 2]),
        {"x": quantised(2, 2, 7, 9), "w": quantised(3, 2, 3, 3, dtype="uint8")},
        {},
        "int32",
    ),
    (
        node("MatMulInteger", "a b az bz", "y"),
        {"a": quantised(2, 3, 700), "b": quantised(700, 5, dtype="int8")},
        {"az": np.uint8(255), "bz": quantised(5, dtype="int8", seed=4)},
        "int32",
    ),
    (node("MatMulInteger", "a b", "y"), {"a": quantised(7), "b": quantised(7, 5)}, {}, "int32"),
]


@pytest.mark.parametrize("case", QUANTISED, ids=lambda case: case[0].op_type)
def test_quantised(case: tuple[onnx.NodeProto, Arrays, Arrays, str]) -> None:
    tested, inputs, constants, dtype = case
    check(tested, inputs, constants, {tested.output[0]: dtype}, step=1)


X = floats(2, 3, 8)
FLOATS: list[tuple[onnx.NodeProto, Arrays, Arrays]] = [
    (node("Gelu", "x", "y", MS), {"x": X}, {}),
    (node("FastGelu", "x b", "y", MS), {"x": X}, {"b": floats(8)}),
    (node("FastGelu", "x", "y", MS), {"x": X}, {}),
    (node("BiasGelu", "x b", "y", MS), {"x": X}, {"b": floats(8)}),
    (node("QuickGelu", "x", "y", MS), {"x": X}, {}),
    (node("QuickGelu", "x", "y", MS, alpha=1.0), {"x": X}, {}),
    (node("FusedMatMul", "a b", "y", MS, alpha=0.5), {"a": X, "b": floats(8, 5)}, {}),
    (node("FusedMatMul", "a b", "y", MS, transA=1, transB=1), {"a": X, "b": floats(2, 5, 3)}, {}),
    (
        node("FusedMatMul", "a b", "y", MS, transBatchA=1, transA=1, transBatchB=1),
        {"a": floats(3, 2, 4, 5), "b": floats(3, 2, 4, 6)},
        {},
    ),
    (
        node("FusedGemm", "a b c", "y", MS, activation="Relu", alpha=0.5),
        {"a": floats(3, 4), "b": floats(4, 5)},
        {"c": floats(5)},
    ),
    (
        node("FusedGemm", "a b", "y", MS, activation="LeakyRelu", activation_alpha=0.3, transB=1),
        {"a": floats(3, 4), "b": floats(5, 4)},
        {},
    ),
    (
        node("FusedConv", "x w", "y", MS, activation="Tanh", pads=[1, 1, 0, 0]),
        {"x": floats(1, 3, 5, 7)},
        {"w": floats(4, 3, 3, 3)},
    ),
    (
        node("FusedConv", "x w b z", "y", MS, activation="Relu"),
        {"x": floats(1, 3, 5, 7), "z": floats(1, 4, 3, 5)},
        {"w": floats(4, 3, 3, 3), "b": floats(4)},
    ),
    (
        node("FusedConv", "x w b", "y", MS, activation="Clip", activation_params=[-0.5, 1.5], group=3),
        {"x": floats(2, 3, 5, 7)},
        {"w": floats(6, 1, 3, 3), "b": floats(6)},
    ),
    (
        node("FusedConv", "x w", "y", MS, activation="HardSigmoid", activation_params=[0.1, 0.4]),
        {"x": floats(1, 3, 5, 7)},
        {"w": floats(4, 3, 1, 1)},
    ),
    (node("SkipLayerNormalization", "x s g", "y", MS), {"x": X, "s": floats(2, 3, 8, seed=1)}, {"g": floats(8)}),
    (
        node("SkipLayerNormalization", "x s g b bias", "y _ _ sum", MS, epsilon=1e-3),
        {"x": X, "s": floats(3, 8, seed=1)},
        {"g": floats(8), "b": floats(8, seed=2), "bias": floats(8, seed=3)},
    ),
    (
        node("SkipSimplifiedLayerNormalization", "x s g bias", "y _ _ sum", MS, epsilon=1e-3),
        {"x": X, "s": floats(2, 3, 8, seed=1)},
        {"g": floats(8), "bias": floats(8, seed=3)},
    ),
    (node("SimplifiedLayerNormalization", "x g", "y", "", axis=-1, epsilon=1e-5), {"x": X}, {"g": floats(8)}),
    (node("SimplifiedLayerNormalization", "x g", "y i", "", axis=1, stash_type=1), {"x": X}, {"g": floats(3, 8)}),
    (
        node("MatMulNBits", "a b s", "y", MS, N=5, K=40, block_size=32, bits=4),
        {"a": floats(2, 3, 40)},
        {"b": quantised(5, 2, 16), "s": floats(5, 2)},
    ),
    (
        node("MatMulNBits", "a b s z _ bias", "y", MS, N=5, K=72, block_size=32, bits=4),
        {"a": floats(3, 72)},
        {"b": quantised(5, 3, 16), "s": floats(15), "z": quantised(10), "bias": floats(5)},
    ),
    (
        node("MatMulNBits", "a b s z", "y", MS, N=5, K=64, block_size=16, bits=8),
        {"a": floats(3, 64)},
        {"b": quantised(5, 4, 16), "s": floats(5, 4), "z": quantised(5, 4)},
    ),
    (
        node("MatMulNBits", "a b s z", "y", MS, N=5, K=64, block_size=64, bits=4),
        {"a": floats(3, 64)},
        {"b": quantised(5, 1, 32), "s": floats(5, 1), "z": floats(5, 1, scale=8)},
    ),
]


@pytest.mark.parametrize("case", FLOATS, ids=lambda case: case[0].op_type)
@pytest.mark.parametrize("opset", [14, 21])
def test_fused(case: tuple[onnx.NodeProto, Arrays, Arrays], opset: int) -> None:
    tested, inputs, constants = case
    check(tested, inputs, constants, dict.fromkeys(filter(None, tested.output), "float32"), opset)


def test_embeddings() -> None:
    tables = {"words": floats(9, 8), "positions": floats(6, 8, seed=1), "segments": floats(2, 8, seed=2)}
    scales = {"gamma": floats(8, seed=3), "beta": floats(8, seed=4)}
    ids = quantised(2, 3).astype(np.int32) % 9
    mask = np.asarray([[1, 1, 0], [1, 1, 1]], np.int32)
    full = node("EmbedLayerNormalization", "ids kinds words positions segments gamma beta mask", "y index sum", MS)
    results = {"y": "float32", "index": "int32", "sum": "float32"}
    check(full, {"ids": ids, "kinds": ids % 2, "mask": mask}, tables | scales, results)
    del tables["segments"]
    bare = node("EmbedLayerNormalization", "ids _ words positions _ gamma beta", "y index", MS)
    check(bare, {"ids": ids}, tables | scales, {"y": "float32", "index": "int32"})


def test_dynamic_quantisation_of_zeros() -> None:
    tested = node("DynamicQuantizeLinear", "x", "y s z")
    for x in (np.zeros((2, 3), np.float32), floats(5), floats(4) ** 2, -(floats(4) ** 2)):
        check(tested, {"x": x}, {}, {"y": "uint8", "s": "float32", "z": "uint8"})


def test_layer_normalization_of_old_operator_sets() -> None:
    tested = node("LayerNormalization", "x g b", "y m i", axis=1)
    check(tested, {"x": X}, {"g": floats(3, 8), "b": floats(3, 8)}, dict.fromkeys("ymi", "float32"), opset=13)


def test_channels_last() -> None:
    """onnxruntime has these on some devices only."""
    x, w = floats(1, 5, 7, 3), floats(4, 3, 3, 3)
    conv = build(node("NhwcConv", "x w", "y", MS, strides=[2, 1]), {"x": x}, {"w": w}, {"y": "float32"}, 17)
    plain = build(
        node("Conv", "x w", "y", strides=[2, 1]), {"x": x.transpose(0, 3, 1, 2)}, {"w": w}, {"y": "float32"}, 17
    )
    want = run_reference(plain, {"x": x.transpose(0, 3, 1, 2)})[1]["y"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(run_prepared(prepared(conv), {"x": x})["y"], want, rtol=1e-5, atol=1e-5)
    pool = node("NhwcMaxPool", "x", "y", MS, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
    check(pool, {"x": quantised(2, 5, 7, 3, dtype="int8")}, {}, {"y": "int8"})


def test_bias_split_gelu() -> None:
    from scipy.special import erf

    x, b = floats(2, 3, 8), floats(8, seed=1)
    proto = build(node("BiasSplitGelu", "x b", "y", MS), {"x": x}, {"b": b}, {"y": "float32"}, 17)
    left, right = np.split(x + b, 2, axis=-1)
    want = left * right * 0.5 * (1 + erf(right / np.sqrt(2)))
    np.testing.assert_allclose(run_prepared(prepared(proto), {"x": x})["y"], want, rtol=1e-5, atol=1e-6)


def test_integer_convolution_with_a_zero_point_for_each_channel() -> None:
    """onnxruntime takes one for all."""
    x, w, zeros = quantised(1, 2, 5, 4), quantised(3, 2, 2, 2, seed=1), quantised(3, seed=2)
    proto = build(node("ConvInteger", "x w _ z", "y"), {"x": x}, {"w": w, "z": zeros}, {"y": "int32"}, 17)
    for channel in range(3):
        only = {"w": w[channel : channel + 1], "z": zeros[channel]}
        alone = build(node("ConvInteger", "x w _ z", "y"), {"x": x}, only, {"y": "int32"}, 17)
        want = run_reference(alone, {"x": x})[1]["y"][:, 0]
        np.testing.assert_array_equal(run_prepared(prepared(proto), {"x": x})["y"][:, channel], want)


def test_quantised_mean() -> None:
    """onnxruntime declares it without having it."""
    x = quantised(2, 3, 7)
    constants = {"xs": f32(0.1), "xz": U8, "ys": f32(0.087), "yz": np.uint8(100)}
    for opset in (17, 18):
        mean = node("QLinearReduceMean", "x xs xz ys yz", "y", MS, axes=[1], keepdims=0)
        proto = build(mean, {"x": x}, constants, {"y": "uint8"}, opset)
        want = np.clip(np.round((x.astype(float) - 121).mean(1) * 0.1 / 0.087) + 100, 0, 255)
        np.testing.assert_array_equal(run_prepared(prepared(proto), {"x": x})["y"], want)


def test_structure_stays_to_be_seen() -> None:
    """A pass for integer kernels looks for DequantizeLinear, the operator, QuantizeLinear."""
    tested, inputs, constants, dtype = QUANTISED[0]
    proto = build(tested, inputs, constants, {"y": dtype}, 17)
    kinds = [n.op_type for n in prepared(proto).proto.graph.node]
    assert kinds == ["DequantizeLinear", "DequantizeLinear", "Add", "QuantizeLinear"]


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        (node("Gelu", "x", "y", MS, flavour=1), "flavour"),
        (node("Gelu", "x x", "y", MS), "more than 1 inputs"),
        (node("QuickGelu", "x", "y z", MS), "result number 2"),
        (node("FusedGemm", "x x", "y", MS, activation="Mish"), "Mish"),
        (node("SkipLayerNormalization", "x x", "y", MS), "gamma"),
        (node("MatMulNBits", "x x x", "y", MS, N=1, K=8, block_size=16, bits=2), "2 bits"),
        (node("GatedRelativePositionBias", "x", "y", MS), "com.microsoft"),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else None,
)
def test_what_is_not_covered_is_refused(tested: onnx.NodeProto, expected: str) -> None:
    results = dict.fromkeys(tested.output, "float32")
    assert expected in refusal(build(tested, {"x": floats(8, 8)}, {}, results, 17))
