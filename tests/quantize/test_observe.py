"""What sample data show of a model, which this machine's own artifact of it computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.quantize.observe import observe, observed
from compiler.quantize.runner import Runner
from tests.models import model, node
from tests.quantize.convolutions import floats, residual, run, samples, statistics, weights


def test_the_compiled_model_shows_what_the_reference_shows() -> None:
    made = floats(residual())
    feeds = samples(made.proto, 3)
    found, expected = observe(made, feeds), statistics(made, feeds)
    assert found.histograms.keys() == expected.histograms.keys() == {"x", "r0", "r1", "m", "g", "f"}
    assert found.samples == 3
    for name, one in expected.histograms.items():
        assert found.histograms[name].high == pytest.approx(one.high, rel=1e-5)
        assert found.histograms[name].counts.sum() == pytest.approx(one.counts.sum(), abs=3)
        assert np.allclose(found.channels[name].mean, expected.channels[name].mean, atol=1e-5)


def test_moved_values_are_counted_where_they_come_from() -> None:
    nodes = [
        node("Conv", "x w0", "c"),
        node("Reshape", "c pairs", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t whole", "s"),
        node("Conv", "s w1", "y"),
    ]
    more = {"pairs": np.array([1, 2, 2, 25]), "whole": np.array([1, 4, 5, 5])}
    made = floats(model(nodes, {"x": [1, 3, 7, 7]}, ["y"], weights(w0=(4, 3, 3, 3), w1=(5, 4, 3, 3)) | more))
    assert observed(made) == ["x", "c", "s"]


def test_a_runner_returns_outputs_and_other_tensors() -> None:
    made = floats(residual())
    feeds = samples(made.proto, 1)[0]
    with Runner(made.proto, ["a", "y", "a"], threads=1) as runner:
        found = runner(feeds)
    assert found.keys() == {"a", "y"}
    for name, expected in run(made.proto, feeds, ["a"]).items():
        assert np.allclose(found[name], expected, atol=1e-5)


def test_what_cannot_be_compiled_is_said() -> None:
    given = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = RandomNormalLike(x) }'
    )
    with pytest.raises(UserError, match="cannot be compiled"):
        Runner(given)
