"""Dead channels are taken out of a model where that is exact, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from compiler.frontend.prepare import load_model, prepare
from tests.models import model, node

Arrays = dict[str, np.ndarray[Any, Any]]


def run(proto: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray[Any, Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, feeds))


def sizes_after(proto: onnx.ModelProto, x: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Checks that results stay, and returns the shapes of the weights by the node's name."""
    prepared = prepare(load_model(proto))
    assert not prepared.obstacles
    feeds = {"x": np.random.default_rng(7).standard_normal(x).astype(np.float32)}
    for before, after in zip(run(proto, feeds), run(prepared.proto, feeds), strict=True):
        largest = float(np.abs(before).max(initial=5.0))  # sums of large numbers may be small
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=2e-6 * largest)
    constants = {t.name: tuple(t.dims) for t in prepared.proto.graph.initializer}
    found = {n.name: constants[n.input[1]] for n in prepared.proto.graph.node if constants.keys() & n.input[1:2]}
    for one in prepared.dropped:
        name = one.layer.split("'")[1]
        assert one.channels[1] < one.channels[0] and one.channels[1] in found[name]
    return found


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def dead_rows(weight: np.ndarray[Any, Any], rows: Any) -> np.ndarray[Any, Any]:
    weight = weight.copy()
    weight[rows] = 0
    return weight


def test_outputs_without_weights_go_into_the_next_bias() -> None:
    nodes = [
        node("Conv", "x v b", "a", name="first"),
        node("BatchNormalization", "a scale shift mean variance", "n"),
        node("HardSwish", "n", "h"),
        node("MaxPool", "h", "p", kernel_shape=[2, 2]),
        node("Conv", "p w", "y", name="second"),
    ]
    constants = {
        "v": dead_rows(floats(16, 3, 3, 3), slice(3, 11)),
        "b": floats(16),
        **{name: floats(16, seed=i) for i, name in enumerate(("scale", "shift", "mean"))},
        "variance": np.abs(floats(16, seed=9)) + 0.5,
        "w": floats(5, 16, 1, 1),
    }
    proto = model(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants, opset=17)
    found = sizes_after(proto, (2, 3, 6, 6))
    assert found["first"] == (16, 3, 3, 3)  # eight are left, but vectors of 16 held them before


def chain(constants: Arrays, pads: int, relu: bool = True) -> onnx.ModelProto:
    nodes = [
        node("Conv", "x v b", "a", name="first"),
        node("Relu" if relu else "Identity", "a", "h"),
        node("Conv", "h w", "y", name="second", pads=[pads] * 4),
    ]
    return model(nodes, {"x": [1, 3, 6, 6]}, ["y"], constants)


@pytest.mark.parametrize(("pads", "bias", "left"), [(0, 1.0, 7), (1, 1.0, 11), (1, -1.0, 7), (1, 0.0, 7)])
def test_a_padded_reader_takes_only_zeros(pads: int, bias: float, left: int) -> None:
    b = floats(11)
    b[4:8] = bias
    constants = {"v": dead_rows(floats(11, 3, 3, 3), slice(4, 8)), "b": b, "w": floats(5, 11, 3, 3)}
    assert sizes_after(chain(constants, pads), (1, 3, 6, 6))["first"] == (left, 3, 3, 3)


def test_inputs_that_nobody_reads() -> None:
    w = floats(5, 11, 3, 3)
    w[:, [0, 5]] = 0
    found = sizes_after(chain({"v": floats(11, 3, 3, 3), "b": floats(11), "w": w}, 1), (1, 3, 6, 6))
    assert found == {"first": (9, 3, 3, 3), "second": (5, 9, 3, 3)}


def test_vectors_stay_whole() -> None:
    w = floats(5, 48, 3, 3)
    w[:, :17] = 0
    found = sizes_after(chain({"v": floats(48, 3, 3, 3), "b": floats(48), "w": w}, 1), (1, 3, 6, 6))
    assert found["first"] == (32, 3, 3, 3)


@pytest.mark.parametrize("both", [True, False])
def test_residuals_have_to_agree(both: bool) -> None:
    dead = [1, 4, 6]
    nodes = [
        node("Conv", "x u", "a", name="stem"),
        node("Conv", "a d bd", "b", name="depthwise", group=9, pads=[1, 1, 1, 1]),
        node("Conv", "b v", "c", name="branch"),
        node("Add", "a c", "s"),
        node("Relu", "s", "r"),
        node("GlobalAveragePool", "r", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w bw", "y", name="head", transB=1),
    ]
    constants = {
        "u": dead_rows(floats(9, 3, 1, 1), dead),
        "d": floats(9, 1, 3, 3),
        "bd": floats(9),
        "v": dead_rows(floats(9, 9, 1, 1, seed=2), dead if both else [1, 3]),
        "w": floats(4, 9),
        "bw": floats(4),
    }
    found = sizes_after(model(nodes, {"x": [2, 3, 5, 5]}, ["y"], constants), (2, 3, 5, 5))
    left = 6 if both else 8
    assert found["stem"][0] == found["depthwise"][0] == found["branch"][0] == found["head"][1] == left


def test_concatenated_parts_and_a_squeeze_and_excitation() -> None:
    nodes = [
        node("Conv", "x u", "a", name="left"),
        node("Conv", "x v bv", "b", name="right"),
        node("Concat", "a b", "c", axis=1),
        node("GlobalAveragePool", "c", "g"),
        node("Conv", "g s", "e", name="squeeze"),
        node("Conv", "e t bt", "i", name="excite"),
        node("HardSigmoid", "i", "k"),
        node("Mul", "c k", "m"),
        node("Conv", "m w", "y", name="last", kernel_shape=[1, 1]),
    ]
    w = floats(3, 11, 1, 1)
    w[:, 8:10] = 0
    constants = {
        "u": dead_rows(floats(5, 3, 1, 1), 2),
        "v": floats(6, 3, 1, 1),
        "bv": floats(6),
        "s": floats(3, 11, 1, 1),
        "t": dead_rows(floats(11, 3, 1, 1), 2),
        "bt": floats(11),
        "w": w,
    }
    constants["s"][:, 8:10] = 0
    found = sizes_after(model(nodes, {"x": [1, 3, 4, 4]}, ["y"], constants), (1, 3, 4, 4))
    assert (found["left"][0], found["right"][0], found["excite"][0], found["last"][1]) == (4, 4, 8, 8)


def test_each_channel_is_several_columns_of_a_product() -> None:
    nodes = [
        node("Conv", "x u bu", "a", name="conv"),
        node("Reshape", "a shape", "f"),
        node("MatMul", "f v", "h", name="hidden"),
        node("Add", "h bh", "i"),
        node("Tanh", "i", "k"),
        node("MatMul", "k w", "y", name="last"),
    ]
    v = floats(7 * 16, 7)
    v[:, 1] = 0
    constants = {
        "u": dead_rows(floats(7, 2, 1, 1), [0, 3]),
        "bu": floats(7),
        "shape": np.array([0, -1]),
        "v": v,
        "bh": floats(7),
        "w": floats(7, 3),
    }
    found = sizes_after(model(nodes, {"x": [2, 2, 4, 4]}, ["y"], constants), (2, 2, 4, 4))
    assert (found["conv"][0], found["hidden"], found["last"]) == (5, (5 * 16, 6), (6, 3))


def test_products_by_rows() -> None:
    nodes = [
        node("MatMul", "x v", "a", name="up"),
        node("Add", "a b", "c"),
        node("Gelu", "c", "h"),
        node("MatMul", "h w", "y", name="down"),
    ]
    v = floats(5, 13)
    v[:, :4] = 0
    constants = {"v": v, "b": floats(13), "w": floats(13, 5)}
    found = sizes_after(model(nodes, {"x": [2, 3, 5]}, ["y"], constants, opset=20), (2, 3, 5))
    assert found["up"] == (5, 9) and found["down"] == (9, 5)


@pytest.mark.parametrize("bias", ["none", "scalar", "row", "column", "matrix"])
def test_biases_of_gemm(bias: str) -> None:
    shapes = {"scalar": (), "row": (1, 4), "column": (3, 1), "matrix": (3, 4)}
    constants = {"v": dead_rows(floats(7, 5), [2, 3]), "b": floats(7), "w": floats(7, 4)}
    inputs = "h w"
    if bias != "none":
        constants["c"], inputs = floats(*shapes[bias]), "h w c"
    nodes = [
        node("Gemm", "x v b", "a", name="first", transB=1, alpha=0.5, beta=2.0),
        node("Sigmoid", "a", "h"),
        node("Gemm", inputs, "y", name="second", alpha=3.0, beta=0.5),
    ]
    left = sizes_after(model(nodes, {"x": [3, 5]}, ["y"], constants), (3, 5))["first"][0]
    assert left == (7 if bias in ("column", "matrix") else 5)


def test_what_is_a_result_or_meets_other_channels_stays() -> None:
    constants = {"v": dead_rows(floats(9, 3, 1, 1), [0, 1, 2]), "w": floats(4, 9, 1, 1)}
    for outputs, nodes in {
        "a y": [],
        "y s": [node("Softmax", "a", "s", axis=1)],
        "y t": [node("Slice", "a begin end axis", "t")],
        "y g": [node("Conv", "a grouped", "g", group=3)],
    }.items():
        nodes = [node("Conv", "x v", "a", name="first"), node("Conv", "a w", "y"), *nodes]
        extra = {"begin": np.array([1]), "end": np.array([7]), "axis": np.array([1]), "grouped": floats(3, 3, 1, 1)}
        proto = model(nodes, {"x": [1, 3, 4, 4]}, outputs.split(), constants | extra)
        assert sizes_after(proto, (1, 3, 4, 4))["first"][0] == 9


@given(st.integers(0, 2**32 - 1))
@example(192)
@settings(max_examples=25, deadline=None)
def test_random_chains(seed: int) -> None:
    """Chains of layers, element-wise operators, pools and residuals, with random zeros."""
    rng = np.random.default_rng(seed)
    nodes, constants, channels, value = [], {}, 3, "x"
    kept: list[tuple[str, int]] = []
    for step in range(int(rng.integers(2, 7))):
        kind, out = rng.choice(["conv", "conv", "depthwise", "unary", "add", "pool", "concat"]), f"v{step}"
        if kind in ("conv", "depthwise"):
            wide = channels if kind == "depthwise" else int(rng.integers(1, 20))
            group = channels if kind == "depthwise" else 1
            kernel = int(rng.choice([1, 3]))
            w = floats(wide, channels // group, kernel, kernel, seed=step)
            w[rng.random(wide) < 0.4] = 0
            w[:, rng.random(channels // group) < 0.3] = 0
            constants[f"w{step}"], constants[f"b{step}"] = w, np.where(rng.random(wide) < 0.4, 0, floats(wide))
            pads = [kernel // 2] * 4
            nodes.append(node("Conv", f"{value} w{step} b{step}", out, name=out, group=group, pads=pads))
            channels = wide
        elif kind == "unary":
            nodes.append(node(str(rng.choice(["Relu", "Sigmoid", "Tanh", "Neg"])), value, out))
        elif kind == "pool":
            operator = str(rng.choice(["MaxPool", "AveragePool"]))
            attributes = {"count_include_pad": 1} if operator == "AveragePool" and rng.random() < 0.5 else {}
            nodes.append(node(operator, value, out, kernel_shape=[3, 3], pads=[1, 1, 1, 1], **attributes))
        else:
            others = [name for name, size in kept if kind == "concat" or size == channels]
            if not others:
                continue
            other = str(rng.choice(others))
            if kind == "add":
                nodes.append(node("Add", f"{value} {other}", out))
            else:
                nodes.append(node("Concat", f"{other} {value}", out, axis=1))
                channels += dict(kept)[other]
        value = out
        kept.append((value, channels))
    constants["w"] = floats(2, channels, 1, 1)
    nodes.append(node("Conv", f"{value} w", "y", name="last"))
    fixed = {name: np.asarray(array, np.float32) for name, array in constants.items()}
    sizes_after(model(nodes, {"x": [1, 3, 5, 5]}, ["y"], fixed), (1, 3, 5, 5))


def test_a_model_without_dead_channels_is_left_alone() -> None:
    constants = {"v": floats(16, 3, 3, 3), "b": floats(16), "w": floats(5, 16, 3, 3)}
    prepared = prepare(load_model(chain(constants, 1)))
    assert prepared.dropped == ()
    arrays = [numpy_helper.to_array(t) for t in prepared.proto.graph.initializer]
    assert any(np.array_equal(array, constants["v"]) for array in arrays)
