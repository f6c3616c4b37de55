"""Small layers that make most of the noise stay in float by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.frontend.infer import infer_shapes
from compiler.frontend.prepare import load_model
from compiler.quantize.layers import Layer
from compiler.quantize.post_training import quantize
from compiler.quantize.settings import Settings
from compiler.quantize.spared import Costs, costs_of, spared_layers
from tests.models import model, node


def layer(name: str, output_snr: float) -> Layer:
    return Layer(name, "Conv", 0, 30.0, 1.0, 30.0, 1.0, output_snr)


LARGE = ("large", 40.0, (10_000, 10_000, 10_000))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("a", 20.0, (90, 400, 200)), LARGE], ("a",)),
        ([("a", 22.0, (60, 10, 10)), ("b", 22.0, (30, 10, 10)), LARGE], ("a", "b")),
        ([("a", 20.0, (150, 1, 1)), LARGE], ()),  # too many multiplications
        ([("a", 20.0, (1, 900, 1)), LARGE], ()),  # too many weights
        ([("a", 20.0, (0, 0, 900)), LARGE], ()),  # results too large
        ([("a", 20.0, (80, 1, 1)), ("b", 25.0, (80, 1, 1)), LARGE], ("a",)),  # room for one of them
        ([("large", 20.0, LARGE[2]), ("a", 22.0, (1, 1, 1))], ()),  # most of the noise stays
        ([("a", 20.0, (1, 1, 1)), ("b", 34.0, (1, 1, 1)), LARGE], ("a",)),  # not worth it
        ([("a", 32.0, (1, 1, 1)), LARGE], ()),  # the model is well as it is
        ([], ()),
    ],
)
def test_what_is_spared(layers: list[tuple[str, float, Costs]], expected: tuple[str, ...]) -> None:
    costs = {name: cost for name, _, cost in layers} | {"other": (10**6, 10**6, 10**6)}  # which is not quantised
    assert spared_layers([layer(name, snr) for name, snr, _ in layers], costs) == expected


def test_costs() -> None:
    constants = {"w": np.ones((4, 3, 3, 3), np.float32), "b": np.ones(4, np.float32)}
    nodes = [node("Conv", "x w b", "c", name="conv"), node("Relu", "c", "y", name="relu")]
    made = costs_of(infer_shapes(model(nodes, {"x": [2, 3, 5, 5]}, ["y"], constants), "m"))
    assert made == {"conv": (2 * 4 * 9 * 27, 112, 72), "relu": (0, 0, 72)}


def test_a_last_product_that_its_bias_cancels_out_stays_in_float() -> None:
    rng = np.random.default_rng(3)
    features = 40 + rng.standard_normal((24, 16, 1, 1)).astype(np.float32)
    w2 = 30 * rng.standard_normal((5, 16)).astype(np.float32)
    constants = {
        "w0": rng.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12,
        "w1": np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1),
        "w2": w2,
        "b2": -40 * w2.sum(1),
    }
    nodes = [
        node("Conv", "x w0", "c", name="first", pads=[1, 1, 1, 1]),
        node("Mul", "c small", "s", name="shrink"),
        node("Add", "s x", "a", name="add"),
        node("Conv", "a w1", "d", name="second"),
        node("GlobalAveragePool", "d", "p", name="pool"),
        node("Flatten", "p", "f", name="flat"),
        node("Gemm", "f w2 b2", "y", name="last", transB=1),
    ]
    constants["small"] = np.float32(1e-3).reshape(1)
    given = model(nodes, {"x": [1, 16, 12, 12]}, ["y"], constants)
    data = features + 0.1 * rng.standard_normal((24, 16, 12, 12)).astype(np.float32)
    told: list[str] = []
    made = quantize(load_model(given), {}, Settings(), data, "cosine", progress=told.append)
    found = made.accuracy
    assert found is not None
    assert found.spared == ("last",) and found.kept == ()
    assert found.score > 0.95
    assert found.to_dict()["layers_in_float"] == ["last"]
    assert any("1 small layers stay in float" in text for text in told)
    plain = {one.name: one.output_snr for one in found.layers}
    assert plain["last"] < min(snr for name, snr in plain.items() if name != "last")
