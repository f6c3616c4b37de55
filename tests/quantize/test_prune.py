"""Pruning makes the smallest weights zero, as many as were asked for, and changes nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.errors import UserError
from compiler.quantize.prune import prune
from compiler.quantize.sparsity import measure
from tests.models import model, node

RNG = np.random.default_rng(0)


def net() -> onnx.ModelProto:
    """Convolution, depthwise convolution, convolution with a normalisation, and a product."""
    nodes = [
        node("Conv", "x first bias", "a", name="first", pads=[1, 1, 1, 1]),
        node("Conv", "a depthwise", "b", name="depthwise", group=24, pads=[1, 1, 1, 1]),
        node("Conv", "b point", "c", name="point"),
        node("BatchNormalization", "c scale shift mean variance", "d"),
        node("GlobalAveragePool", "d", "e"),
        node("Flatten", "e", "f"),
        node("Gemm", "f last", "y", name="last", transB=1),
    ]
    constants = {
        "first": RNG.standard_normal((24, 5, 3, 3)),
        "bias": RNG.standard_normal(24),
        "depthwise": RNG.standard_normal((24, 1, 3, 3)),
        "point": 10 * RNG.standard_normal((40, 24, 1, 1)),
        **{name: RNG.standard_normal(40) for name in ("scale", "shift", "mean")},
        "variance": RNG.random(40) + 1,
        "last": RNG.standard_normal((7, 40)),
    }
    floats = {name: value.astype(np.float32) for name, value in constants.items()}
    return model(nodes, {"x": [1, 5, 6, 6]}, ["y"], floats)


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_weights_become_zero(scope: str) -> None:
    before, after = weights(net_ := net()), weights(prune(net_, 0.7, scope=scope))
    pruned = ("first", "point", "last")
    zeros = sum(np.sum(after[name] == 0) for name in pruned)
    assert zeros == pytest.approx(0.7 * sum(before[name].size for name in pruned), abs=2)
    for name in before:
        gone = after[name] != before[name]
        assert gone.any() == (name in pruned)
        assert np.all(after[name][gone] == 0)
    for name in pruned:
        gone = after[name] == 0
        assert np.abs(before[name][gone]).max() <= np.abs(before[name][~gone]).min()
        if scope == "layer":
            assert gone.mean() == pytest.approx(0.7, abs=0.01)


def test_the_model_itself_stays() -> None:
    proto = net()
    text = proto.SerializeToString(deterministic=True)
    prune(proto, 0.5)
    assert proto.SerializeToString(deterministic=True) == text


def test_a_scale_of_a_layer_does_not_matter() -> None:
    """The weights of `point` are ten times those of the others; each layer still gives some."""
    shares = [np.mean(weights(prune(net(), 0.6))[name] == 0) for name in ("first", "point", "last")]
    assert min(shares) > 0.2 and max(shares) < 0.9


def test_blocks() -> None:
    after = prune(net(), 0.5, "blocks", "layer")
    found = measure(after.graph)
    assert found is not None
    by_name = {row["name"]: row for row in found["layers"]}
    for name in ("Conv 'first'", "Conv 'point'", "Gemm 'last'"):
        assert by_name[name]["blocks"] == by_name[name]["zeros"] == pytest.approx(0.5, abs=0.12)
    assert by_name["Conv 'depthwise'"]["zeros"] == 0


def test_channels_go_with_what_is_added_to_them() -> None:
    before, after = weights(net_ := net()), weights(prune(net_, 0.5, "channels", "layer"))
    dead = ~after["point"].any(axis=(1, 2, 3))
    assert dead.sum() == 20
    norms = np.square(before["point"]).sum(axis=(1, 2, 3))
    assert norms[dead].max() < norms[~dead].min()
    assert not after["scale"][dead].any() and not after["shift"][dead].any()
    np.testing.assert_array_equal(after["shift"][~dead], before["shift"][~dead])
    assert not after["bias"][~after["first"].any(axis=(1, 2, 3))].any()
    np.testing.assert_array_equal(after["last"], before["last"])  # its outputs are the model's


def test_nodes_to_keep() -> None:
    after = weights(prune(net(), 0.5, keep=["first", "last"]))
    assert after["first"].all() and after["last"].all() and not after["point"].all()


def test_equal_weights_are_counted_too() -> None:
    proto = model([node("MatMul", "x w", "y")], {"x": [1, 10]}, ["y"], {"w": np.ones((10, 10), np.float32)})
    assert np.sum(weights(prune(proto, 0.3, scope="layer"))["w"] == 0) == 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sparsity": 1.0}, "below 1"),
        ({"sparsity": 0.5, "structure": "rows"}, "blocks"),
        ({"sparsity": 0.5, "scope": "all"}, "layer"),
        ({"sparsity": 0.5, "keep": ["nobody"]}, "nobody"),
    ],
)
def test_what_cannot_be(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as caught:
        prune(net(), **arguments)
    assert words in f"{caught.value.what} {caught.value.fix}"


def test_nothing_to_prune() -> None:
    with pytest.raises(UserError, match="no layer"):
        prune(model([node("Relu", "x", "y")], {"x": [2]}, ["y"]), 0.5)
