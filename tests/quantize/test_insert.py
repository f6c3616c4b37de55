"""Models with QuantizeLinear and DequantizeLinear, beside the float models that they were made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.errors import UserError
from compiler.quantize.insert import quantizable, quantize_model
from compiler.quantize.runner import Runner
from compiler.quantize.settings import METHODS, Settings
from tests.models import graph, model, node, value
from tests.quantize.convolutions import floats, noise, operators, residual, run, samples, statistics, weights

PLAIN = Settings(equalise=False, correct_bias=False)


def quantized(given: onnx.ModelProto, settings: Settings = PLAIN, scale: float = 1.0) -> tuple[onnx.ModelProto, float]:
    """The quantised model, and the signal-to-noise ratio of its first output on other samples than it was made with."""
    made = floats(given)
    feeds = [{k: v * np.float32(scale) for k, v in one.items()} for one in samples(given, 24)]
    proto = quantize_model(made, settings, statistics(made, feeds[:16])).proto
    onnx.checker.check_model(proto, full_check=True)
    assert [v.name for v in proto.graph.output] == [v.name for v in given.graph.output]
    name = given.graph.output[0].name
    pairs = [(run(given, one)[name], run(proto, one)[name]) for one in feeds[16:]]
    return proto, noise(*(np.stack(part) for part in zip(*pairs, strict=True)))


def constants(proto: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [1, 3])
def test_results_are_near_the_float_model(method: str, batch: int) -> None:
    proto, snr = quantized(residual(batch=batch), replace(PLAIN, method=method))
    assert snr > (15 if method == "entropy" else 25)
    held = constants(proto)
    for name in ("w0", "w1", "w2", "w3"):
        assert held[f"{name}/q"].dtype == np.int8 and np.abs(held[f"{name}/q"]).max() == 127
        assert held[f"{name}/scale"].shape == (held[f"{name}/q"].shape[-1 if name == "w3" else 0],)


def test_a_residual_is_read_as_it_is_stored_and_chains_stay_in_float() -> None:
    proto, _ = quantized(residual())
    quantised = {one.input[0] for one in proto.graph.node if one.op_type == "QuantizeLinear"}
    assert quantised == {"x", "r0", "r1", "m", "g"}
    adds = [one for one in proto.graph.node if one.op_type == "Add"]
    assert list(adds[0].input) == ["c1", "r0/dq"]
    assert constants(proto)["r0/zero_point"] == 0  # of what a ReLU made


def test_one_scale_a_tensor_or_one_a_channel() -> None:
    given = residual()
    weight = given.graph.initializer[0]
    array = numpy_helper.to_array(weight).copy()
    array[1:] *= 1e-3
    weight.CopyFrom(numpy_helper.from_array(array, "w0"))
    by_channel, by_tensor = (quantized(given, replace(PLAIN, per_channel=one))[0] for one in (True, False))
    assert constants(by_channel)["w0/scale"].shape == (5,) and constants(by_tensor)["w0/scale"].shape == ()
    assert np.abs(constants(by_channel)["w0/q"]).max((1, 2, 3)).min() >= 123  # scales are rounded up
    assert np.abs(constants(by_tensor)["w0/q"][1:]).max() <= 1


def test_kept_nodes_compute_in_float() -> None:
    made = floats(residual())
    names = quantizable(made, PLAIN)
    assert names == ["c0", "c1", "c2", "y"]
    seen = statistics(made, samples(made.proto))
    proto = quantize_model(made, replace(PLAIN, keep=frozenset(("c1", "y"))), seen).proto
    assert {"w1", "w3"} <= constants(proto).keys() and {"w0/q", "w2/q"} <= constants(proto).keys()
    everything = quantize_model(made, replace(PLAIN, keep=frozenset(names)), seen).proto
    assert operators(everything) == operators(made.proto)


def test_moves_move_8_bits_with_one_scale() -> None:
    nodes = [
        node("Conv", "x w0", "a", pads=[1, 1, 1, 1]),
        node("MaxPool", "a", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", "x w1", "b", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Concat", "p b", "c", axis=1),
        node("Reshape", "c groups", "g"),
        node("Transpose", "g", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t flat", "s"),
        node("Pad", "s pads one", "d"),
        node("Conv", "d w2", "y"),
    ]
    more = {"groups": np.array([1, 2, 4, 4, 4]), "flat": np.array([1, 8, 4, 4]), "one": np.float32(0.5)}
    more["pads"] = np.array([0, 0, 0, 1, 0, 0, 2, 0])
    given = model(nodes, {"x": [1, 3, 7, 7]}, ["y"], weights(w0=(4, 3, 3, 3), w1=(4, 3, 3, 3), w2=(5, 8, 3, 3)) | more)
    proto, snr = quantized(given)
    assert snr > 30
    types = {v.name: v.type.tensor_type.elem_type for v in proto.graph.value_info}
    moved = [one for one in proto.graph.node if one.op_type in ("MaxPool", "Concat", "Reshape", "Transpose", "Pad")]
    assert {types[one.output[0]] for one in moved} == {onnx.TensorProto.UINT8}
    scales = {one.input[1] for one in proto.graph.node if one.op_type == "QuantizeLinear"}
    assert scales == {"x/scale", "a/scale"}


def test_a_kept_move_is_left_between_floats() -> None:
    nodes = [
        node("Conv", "x w0", "a"),
        node("Reshape", "a pairs", "b"),
        node("Transpose", "b", "c", perm=[0, 2, 1, 3]),
        node("Reshape", "c whole", "d"),
        node("Conv", "d w1", "y"),
    ]
    more = {"pairs": np.array([1, 2, 2, 25]), "whole": np.array([1, 4, 5, 5])}
    given = model(nodes, {"x": [1, 3, 7, 7]}, ["y"], weights(w0=(4, 3, 3, 3), w1=(5, 4, 3, 3)) | more)
    proto, snr = quantized(given, replace(PLAIN, keep=frozenset(("c",))))
    assert snr > 30
    quantised = {one.input[0] for one in proto.graph.node if one.op_type == "QuantizeLinear"}
    assert quantised == {"x", "c"}  # what moves elements for it does so in float too
    assert operators(proto).count("DequantizeLinear") == 2 + 2  # weights, and x, d


def test_moves_before_outputs_stay_in_float() -> None:
    nodes = [node("Conv", "x w", "c"), node("Concat", "c c", "y", axis=1)]
    proto, _ = quantized(model(nodes, {"x": [1, 3, 5, 5]}, ["y"], weights(w=(2, 3, 3, 3))))
    assert operators(proto).count("QuantizeLinear") == 1  # of x


def test_an_output_that_is_stored_as_8_bits_keeps_its_name() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("MaxPool", "c", "p", kernel_shape=[2, 2]),
        node("Conv", "p v", "y"),
    ]
    given = model(nodes, {"x": [1, 3, 6, 6]}, ["y", "p"], weights(w=(2, 3, 3, 3), v=(4, 2, 2, 2)))
    proto, snr = quantized(given)
    feeds = samples(given, 1)[0]
    assert snr > 28 and noise(run(given, feeds)["p"], run(proto, feeds)["p"]) > 28


def test_branches_read_floats_of_what_is_stored_as_8_bits() -> None:
    branches = {
        f"{kind}_branch": graph([node(operator, "p", kind)], {}, [value(kind, [1, 2, 2, 2])])
        for kind, operator in (("then", "Neg"), ("else", "Exp"))
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("MaxPool", "c", "p", kernel_shape=[3, 3]),
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Cast", "sum", "sign", to=onnx.TensorProto.BOOL),
        node("If", "sign", "b", **branches),
        node("Conv", "p v", "d"),
        node("Add", "b d", "y"),
    ]
    given = model(nodes, {"x": [1, 3, 6, 6]}, ["y"], weights(w=(2, 3, 3, 3), v=(2, 2, 1, 1)))
    proto, snr = quantized(given)
    assert snr > 25 and operators(proto).count("QuantizeLinear") == 2


@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions(group: int) -> None:
    nodes = [node("ConvTranspose", "x w b", "c", strides=[2, 2], group=group), node("Relu", "c", "y")]
    proto, snr = quantized(model(nodes, {"x": [1, 4, 3, 5]}, ["y"], weights(w=(4, 6 // group, 3, 3), b=(6,))))
    assert snr > 28 and constants(proto)["w/q"].dtype == np.int8


def test_products_of_matrices() -> None:
    nodes = [
        node("MatMul", "x w0", "a"),
        node("Add", "a b", "c"),
        node("Tanh", "c", "t"),
        node("Gemm", "t w1 b1", "y", transB=1, alpha=2.0),
    ]
    proto, snr = quantized(model(nodes, {"x": [3, 7]}, ["y"], weights(w0=(7, 5), b=(5,), w1=(2, 5), b1=(2,))))
    assert snr > 30 and {"w0/q", "y/folded_weights/q"} <= constants(proto).keys()


def uneven(consumer: str) -> onnx.ModelProto:
    """Channels whose sizes differ a hundredfold, read by a convolution and by an addition."""
    held = weights(w0=(6, 3, 3, 3), w1=(6, 1 if consumer == "depthwise" else 6, 3, 3))
    sizes = np.float32([100, 1, 0.5, 20, 2, 1]).reshape(6, 1, 1, 1)
    held["w0"] *= sizes
    held["w1"] /= sizes if consumer == "depthwise" else sizes.reshape(1, 6, 1, 1)
    more = {"even": 1 / sizes.reshape(1, 6, 1, 1)}
    nodes = [
        node("Conv", "x w0", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "c s", "m"),
        node("Conv", "m w1", "d", pads=[1, 1, 1, 1], group=6 if consumer == "depthwise" else 1),
        node("Mul", "m even", "e"),
        node("Add", "d e", "y"),
    ]
    return model(nodes, {"x": [1, 3, 9, 9]}, ["y"], held | more)


@pytest.mark.parametrize("consumer", ["depthwise", "dense"])
@pytest.mark.parametrize("method", METHODS)
def test_uneven_channels_get_steps_of_their_own(consumer: str, method: str) -> None:
    given = uneven(consumer)
    before, after = (quantized(given, Settings(method=method, equalise=one))[1] for one in (False, True))
    assert after > before + 6
    proto, _ = quantized(given, Settings())
    scales = [one for one in proto.graph.node if one.op_type == "QuantizeLinear" and one.input[0] == "m"]
    assert constants(proto)[scales[0].input[1]].shape == (6,)
    read = {one.name: one.input[0] for one in proto.graph.node}
    assert read["d"] == "m/even" and read["e"] == "m/dq"


@pytest.mark.parametrize("read", [True, False])
def test_steps_of_channels_are_short(read: bool) -> None:
    """Where something multiplies by them; where products alone read them, what they are quantised from is."""
    given = uneven("dense")
    if not read:
        del given.graph.node[-2:]
        given.graph.output[0].name = given.graph.node[-1].output[0]
    scales = constants(quantized(given, Settings())[0])["m/scales"]
    factors = scales if read else (1 / scales.astype(np.float64)).astype(np.float32)
    off = np.abs(factors.view(np.int32) - (factors.view(np.int32) + 0x8000 >> 16 << 16))
    assert scales.shape == (6,) and off.max() <= (0 if read else 1)
    assert scales.max() > 20 * scales.min()


def test_even_channels_have_one_scale() -> None:
    nodes = [node("Conv", "x w0", "c"), node("Conv", "c w1", "y")]
    given = model(nodes, {"x": [1, 8, 9, 9]}, ["y"], weights(w0=(8, 8, 3, 3), w1=(8, 8, 3, 3)))
    proto, _ = quantized(given, Settings())
    held = constants(proto)
    assert all(not held[n.input[1]].shape for n in proto.graph.node if n.op_type == "QuantizeLinear")


@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_a_few_samples_happen_to_have_are_not_evened_out(seed: int) -> None:
    made = floats(model([node("Conv", "x w", "y")], {"x": [1, 16, 5, 5]}, ["y"], weights(w=(8, 16, 1, 1))))
    rng = np.random.default_rng(seed)
    sizes = np.exp(1.5 * rng.standard_normal((28, 1, 16, 1, 1))).astype(np.float32)
    feeds = [{"x": one} for one in rng.standard_normal((28, 1, 16, 5, 5)).astype(np.float32) * sizes]
    seen = statistics(made, feeds[:4])

    def error(settings: Settings) -> float:
        proto = quantize_model(made, settings, seen).proto
        return float(np.mean([(run(proto, one)["y"] - run(made.proto, one)["y"]) ** 2 for one in feeds[4:]]))

    assert error(replace(PLAIN, equalise=True)) < 1.1 * error(PLAIN)


def test_one_sample_shows_steps_in_its_halves() -> None:
    made = floats(uneven("dense"))
    held = constants(quantize_model(made, Settings(), statistics(made, samples(made.proto, 1))).proto)
    assert held["m/scales"].shape == (6,)


def test_one_value_of_a_channel_shows_nothing() -> None:
    sizes = np.float32([100, 1, 1, 1, 1, 1])
    held = weights(w=(6, 6)) | {"sizes": sizes}
    made = floats(model([node("Mul", "x sizes", "m"), node("MatMul", "m w", "y")], {"x": [1, 6]}, ["y"], held))
    for count, evened in ((1, False), (8, True)):
        given = constants(quantize_model(made, Settings(), statistics(made, samples(made.proto, count))).proto)
        assert ("m/scales" in given) == evened


def test_moved_channels_keep_their_steps() -> None:
    held = weights(w0=(4, 3, 1, 1), w1=(4, 3, 1, 1), w2=(3, 8, 1, 1))
    sizes = np.float32([50, 1, 1, 0.1, 1, 1, 5, 1])
    held["w0"] *= sizes[:4].reshape(-1, 1, 1, 1)
    held["w1"] *= sizes[4:].reshape(-1, 1, 1, 1)
    held["w2"] /= sizes.reshape(1, 8, 1, 1)
    nodes = [
        node("Conv", "x w0", "a"),
        node("MaxPool", "a", "p", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", "x w1", "b"),
        node("Concat", "p b", "c", axis=1),
        node("Conv", "c w2", "y"),
    ]
    given = model(nodes, {"x": [1, 3, 6, 6]}, ["y"], held)
    (proto, after), (_, before) = (quantized(given, Settings(equalise=one)) for one in (True, False))
    assert after > before + 6
    held = constants(proto)
    a, b = held["a/scales"], held["b/scales"]
    assert a.shape == b.shape == (4,) and a[0] > 10 * a[1] and b[2] > 2 * b[0]
    assert held["a/zero_points"].tolist() == [int(held["a/zero_point"])] * 4


def test_shuffled_channels_keep_their_steps() -> None:
    held = weights(w0=(6, 3, 1, 1), w1=(3, 1, 3, 3), w2=(2, 3, 1, 1))
    sizes = np.float32([100, 1, 10, 0.1, 1, 3])
    held["w0"] *= sizes.reshape(-1, 1, 1, 1)
    order = np.arange(6).reshape(2, 3).T.reshape(-1)  # as the moves shuffle channels
    held["w1"] /= sizes[order][:3].reshape(-1, 1, 1, 1)
    held["w2"] /= sizes[order][3:].reshape(1, -1, 1, 1)
    more = {"groups": np.array([1, 2, 3, 6, 6]), "flat": np.array([1, 6, 6, 6]), "half": np.array([3, 3])}
    nodes = [
        node("Conv", "x w0", "a"),
        node("Reshape", "a groups", "g"),
        node("Transpose", "g", "t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t flat", "s"),
        node("Split", "s half", "p q", axis=1),
        node("Conv", "p w1", "y", group=3),
        node("Conv", "q w2", "z"),
    ]
    given = model(nodes, {"x": [1, 3, 6, 6]}, ["y", "z"], held | more)
    (proto, after), (_, before) = (quantized(given, Settings(equalise=one)) for one in (True, False))
    assert after > before + 6
    made = constants(proto)["a/scales"] / sizes
    assert made.max() < 5 * made.min()


def test_flattened_places_have_the_step_of_their_channel() -> None:
    held = weights(w0=(3, 2, 1, 1), w1=(12, 4))
    sizes = np.float32([50, 1, 0.2])
    held["w0"] *= sizes.reshape(-1, 1, 1, 1)
    held["w1"] /= np.repeat(sizes, 4).reshape(-1, 1)
    nodes = [node("Conv", "x w0", "a"), node("Flatten", "a", "f"), node("MatMul", "f w1", "y")]
    given = model(nodes, {"x": [2, 2, 2, 2]}, ["y"], held)
    (proto, after), (_, before) = (quantized(given, Settings(equalise=one)) for one in (True, False))
    assert after > before + 6 and constants(proto)["a/scales"].shape == (3,)


def test_corrected_biases_take_the_mean_error_off() -> None:
    held = weights(w=(4, 32, 1, 1), b=(4,))
    given = model([node("Conv", "x w b", "y")], {"x": [1, 32, 4, 4]}, ["y"], held)
    made = floats(given)
    feeds = [{"x": one["x"] + 10} for one in samples(given, 6)]  # a mean makes rounded weights add up
    seen = statistics(made, feeds)

    def shift(settings: Settings) -> float:
        proto = quantize_model(made, settings, seen).proto
        errors = [run(proto, one)["y"] - run(given, one)["y"] for one in feeds]
        return float(np.abs(np.mean(errors, (0, 1, 3, 4))).max())

    assert shift(replace(PLAIN, correct_bias=True)) < 0.3 * shift(PLAIN)


def test_nothing_to_quantise_is_said() -> None:
    made = floats(model([node("Relu", "x", "y")], {"x": [2, 3]}, ["y"]))
    with pytest.raises(UserError, match="nothing in the model can be quantised"):
        quantize_model(made, PLAIN, statistics(made, []))


def test_compiled_the_model_computes_the_same() -> None:
    made = floats(uneven("dense"))
    proto = quantize_model(made, Settings(), statistics(made, samples(made.proto))).proto
    feeds = samples(made.proto, 1, seed=7)[0]
    with Runner(proto, ["d", "m/q"]) as runner:
        found, expected = runner(feeds), run(proto, feeds, ["d", "m/q"])
    assert np.abs(found["m/q"].astype(int) - expected["m/q"]).max() <= 1
    for name in ("y", "d"):
        assert np.abs(found[name] - expected[name]).max() < 0.01 * np.abs(expected[name]).max()


def test_a_channel_without_weights_keeps_its_bias() -> None:
    """Whose sums are zero in any steps."""
    given = residual()
    weight = given.graph.initializer[0]
    array = numpy_helper.to_array(weight).copy()
    array[1:3] = 0
    weight.CopyFrom(numpy_helper.from_array(array, "w0"))
    (node0,) = (one for one in given.graph.node if "w0" in one.input)
    bias = np.linspace(-0.31, 0.43, len(array)).astype(np.float32)
    del node0.input[2:]
    node0.input.append("bias0")
    given.graph.initializer.append(numpy_helper.from_array(bias, "bias0"))
    held = constants(quantized(given)[0])
    np.testing.assert_allclose(held[f"{node0.output[0]}/whole_bias"], bias, atol=2e-3)
