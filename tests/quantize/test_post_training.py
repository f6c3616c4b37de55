"""Quantisation through the Python interface, from a model to an artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compiler
from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.quantize.post_training import quantize
from compiler.quantize.settings import Settings
from compiler.verify.artifact import verify
from tests.models import model, node
from tests.quantize.convolutions import noise, run, samples, weights
from tests.quantize.lopsided import lopsided, pictures

SAMPLES = pictures(8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> compiler.Artifact:
    out = tmp_path_factory.mktemp("post") / "m.so"
    samples = ({"x": one[None]} for one in SAMPLES)
    return compiler.compile_model(lopsided(0), out=out, precision="int8", calibration=samples)


def test_an_artifact_knows_what_it_lost_and_where_its_inputs_lay(made: compiler.Artifact) -> None:
    assert made.verified == "passed"
    found = made.manifest["accuracy"]
    assert made.manifest["precision"] == "int8"
    assert (found["metric"], found["samples"], found["layers_quantised"]) == ("top1", 8, 5)
    assert found["inputs"]["x"] == pytest.approx([SAMPLES.min(), SAMPLES.max()])
    assert len(found["layers"]) == 5
    with compiler.load(made.path) as loaded:
        assert loaded.run({"x": SAMPLES[:1]})["y"].dtype == np.float32


def test_it_is_verified_on_several_samples(made: compiler.Artifact) -> None:
    checked = verify(made.path, lopsided(0), [{"x": one[None]} for one in SAMPLES])
    assert checked and checked.same_model and checked.runs == 8
    assert checked.agreement is not None and checked.agreement.count == 8
    assert [one.name for one in checked.likeness] == ["y"] and checked.likeness[0].snr > 20
    other = lopsided(0)
    weights = next(tensor for tensor in other.graph.initializer if tensor.name == "w5")
    weights.raw_data = np.negative(np.frombuffer(weights.raw_data, np.float32)).tobytes()
    assert not verify(made.path, other)


def test_ranges_found_in_each_run_can_be_scored_too() -> None:
    rng = np.random.default_rng(0)
    layers = {"w1": rng.standard_normal((16, 32)), "b1": rng.standard_normal(32), "w2": rng.standard_normal((32, 4))}
    nodes = [
        node("Gemm", "x w1 b1", "h", name="first"),
        node("Relu", "h", "r", name="relu"),
        node("MatMul", "r w2", "y", name="second"),
    ]
    weights = {name: array.astype(np.float32) for name, array in layers.items()}
    made = load_model(model(nodes, {"x": [1, 16]}, ["y"], weights))
    samples = rng.standard_normal((20, 16)).astype(np.float32)
    found = quantize(made, {}, Settings("int8-dynamic"), samples, "cosine", 0.5).accuracy
    assert found is not None
    assert {layer.name for layer in found.layers} == {"first", "second"}
    assert all(20 < layer.alone_snr < 60 for layer in found.layers)
    assert 0.99 < found.score < 1.0 and found.reached


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    common = {"out": tmp_path / "m.so", "precision": "int8", "calibration": pictures(4)}
    with pytest.raises(UserError, match="unknown method"):
        compiler.compile_model(lopsided(), method="guess", **common)
    with pytest.raises(UserError, match="one size for each dimension"):
        compiler.compile_model(lopsided(), shapes={"x": (range(1, 3), 3, 12, 12)}, **common)
    assert not (tmp_path / "m.so").exists()


def test_operators_with_programs_of_our_own(tmp_path: Path) -> None:
    """They stand in what the compiler makes of a model, not in what is quantised, which it reads like a file."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("GridSample", "c grid", "s", padding_mode="border"),
        node("Conv", "s v", "y"),
    ]
    grid = np.random.default_rng(0).uniform(-1, 1, (1, 6, 7, 2)).astype(np.float32)
    constants = weights(w=(16, 3, 3, 3), v=(8, 16, 1, 1)) | {"grid": grid}
    proto = model(nodes, {"x": [1, 3, 8, 9]}, ["y"], constants, opset=16)
    feeds = samples(proto, 4)
    made = compiler.compile_model(proto, out=tmp_path / "net.so", precision="int8", calibration=iter(feeds))
    assert made.verified == "passed" and made.manifest["accuracy"]["layers_quantised"] == 2
    with compiler.load(made.path) as loaded:
        for one in feeds:
            assert noise(run(proto, one)["y"], loaded.run(one)["y"]) > 30
