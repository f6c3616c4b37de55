"""What is between 8-bit tensors in their steps, with constants of few digits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.quantize.insert import quantize_model
from compiler.quantize.runner import Runner
from compiler.quantize.settings import Settings
from compiler.quantize.short_steps import in_short_steps
from tests.models import model, node
from tests.quantize.convolutions import floats, noise, run, samples, statistics, weights

CHANNELS = 7
GAMMA = np.float32([1.7, 0.9, -0.6, 0, 1.1, 1e-43, 0.2])


def normalised(join: str, batch: int = 1) -> onnx.ModelProto:
    """Tensors of unequal channels that are joined, normalised apart from a product, and read by one and as they are."""
    wide = CHANNELS if join == "Add" else 2
    sizes = np.geomspace(30, 0.3, CHANNELS).astype(np.float32)
    held = weights(w0=(wide, 3, 3, 3), w1=(CHANNELS - (join != "Add") * wide, 3, 3, 3), w2=(4, CHANNELS, 1, 1))
    held["w0"] *= sizes[:wide].reshape(-1, 1, 1, 1)
    held["w1"] *= sizes[-len(held["w1"]) :].reshape(-1, 1, 1, 1)
    held["w2"] /= sizes.reshape(1, -1, 1, 1)
    rng = np.random.default_rng(2)
    held |= {"gamma": GAMMA, "beta": sizes * rng.standard_normal(CHANNELS).astype(np.float32)}
    held |= {"mean": sizes, "variance": sizes**0.5, "slope": rng.uniform(0.1, 1, (CHANNELS, 1, 1)).astype(np.float32)}
    nodes = [
        node("Conv", "x w0", "a"),
        node("Conv", "x w1", "b"),
        node("Relu", "a", "s"),
        node("Add", "s b", "j") if join == "Add" else node("Concat", "s b", "j", axis=1),
        node("BatchNormalization", "j gamma beta mean variance", "n"),
        node("PRelu", "n slope", "p"),
        node("Conv", "p w2", "y"),
        node("GlobalAveragePool", "p", "z"),
    ]
    if join == "pooled":
        nodes.insert(4, node("AveragePool", "j", "k", kernel_shape=[2, 2]))
        nodes[5].input[0] = "k"
    return model(nodes, {"x": [batch, 3, 9, 9]}, ["y", "z"], held)


def constants(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


@pytest.mark.parametrize("join", ["Add", "Concat", "pooled"])
@pytest.mark.parametrize("batch", [1, 2])
def test_constants_in_steps_are_short(join: str, batch: int) -> None:
    given = normalised(join, batch)
    made = floats(given)
    feeds = samples(made.proto, 24)
    before = quantize_model(made, Settings(), statistics(made, feeds[:16]))
    after = in_short_steps(before)
    onnx.checker.check_model(after.proto, full_check=True)
    held = constants(after.proto)
    makers = {name: one for one in after.proto.graph.node for name in one.output}
    (last,) = (one for one in after.proto.graph.node if one.output[0] == "p/q")
    assert held[last.input[1]] == 1
    seen, waiting = 0, [last.input[0]]
    while waiting:
        one = makers[waiting.pop()]
        if one.op_type == "Add" and one.input[1] in held:
            assert held[one.input[1]].size == CHANNELS and (32 * held[one.input[1]] % 1 == 0).all()
            seen += 1
        if one.op_type in ("DequantizeLinear", "Mul"):
            factors = held[one.input[1]]
            assert factors.size > 1 and (np.ldexp(np.frexp(factors)[0], 10) % 1 == 0).all()
            seen += 1
        if one.op_type in ("PRelu", "Add", "Concat", "Mul"):
            waiting += [name for name in one.input if name in makers]
    assert seen >= 2
    for name in ("y", "z"):
        expected, old, new = (
            np.stack([run(proto, one)[name] for one in feeds[16:]]) for proto in (given, before.proto, after.proto)
        )
        assert noise(expected, new) > noise(expected, old) - 0.5 and noise(old, new) > 30


@pytest.mark.parametrize("join", ["Add", "Concat", "pooled"])
def test_compiled_the_model_computes_the_same(join: str) -> None:
    made = floats(normalised(join))
    proto = in_short_steps(quantize_model(made, Settings(), statistics(made, samples(made.proto)))).proto
    feeds = samples(made.proto, 1, seed=7)[0]
    with Runner(proto, ["y", "p/q"]) as runner:
        found, expected = runner(feeds), run(proto, feeds, ["y", "p/q"])
    apart = np.abs(found["p/q"].astype(int) - expected["p/q"])
    assert apart.max() <= 1 and np.mean(apart > 0) < 0.01
    assert np.abs(found["y"] - expected["y"]).max() < 0.02 * np.abs(expected["y"]).max()


def test_numbers_for_whole_tensors_stay() -> None:
    """They are in the code."""
    held = weights(w=(5, 3, 3, 3)) | {"half": np.float32(0.3337), "more": np.float32(0.1237)}
    nodes = [node("Mul", "x half", "h"), node("Add", "h more", "m"), node("Conv", "m w", "y")]
    made = floats(model(nodes, {"x": [1, 3, 5, 5]}, ["y"], held))
    before = quantize_model(made, Settings(), statistics(made, samples(made.proto)))
    feeds = samples(made.proto, 1)[0]
    expected, found = (run(one.proto, feeds)["y"] for one in (before, in_short_steps(before)))
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max() or np.mean(expected != found) < 0.2
