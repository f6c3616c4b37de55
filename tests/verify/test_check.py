"""What an artifact's verification takes for right, where the model was quantised here."""

from __future__ import annotations

import numpy as np

from compiler.frontend.prepare import Tensor, load_model
from compiler.target import load_target
from compiler.verify.check import Verifier
from compiler.verify.compare import compare
from compiler.verify.reference import run_reference
from compiler.verify.vectors import in_ranges, seeded_inputs
from tests.models import model, node

INPUT = Tensor("x", "float32", (4, 64))


def test_a_result_may_be_as_far_from_the_float_model_as_the_reference_is() -> None:
    floats = load_model(model([node("Relu", "x", "y")], {"x": list(INPUT.shape)}, ["y"]))
    ranges = {"inputs": {"x": [-30.0, 50.0]}}
    verifier = Verifier(floats, [[INPUT]], load_target("host"), (), "int8", ranges, floats)
    x = in_ranges(seeded_inputs([INPUT]), ranges)
    assert -30 <= x["x"].min() < -20 and 40 < x["x"].max() <= 50
    right = run_reference(floats.proto, x)[1]
    rng = np.random.default_rng(0)

    def noisy(size: float) -> dict[str, np.ndarray]:
        return {"y": right["y"] + (size * rng.standard_normal(INPUT.shape)).astype(np.float32)}

    reference = noisy(6)
    for size, passes in ((6, True), (12, False)):
        result = noisy(size)
        strict = compare(result, reference, precision="int8")
        assert not strict[0]
        assert bool(verifier._as_near(strict, result, reference)[0]) == passes
    missing = compare({}, reference, precision="int8")
    assert not verifier._as_near(missing, {}, reference)[0]
