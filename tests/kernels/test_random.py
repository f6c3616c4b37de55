"""Random convolutions, matrix products and transposes, where no grid is fine enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.kernels.cases_convolution import convolution
from tests.kernels.cases_matrix import product
from tests.kernels.grid import Case, failures, floats, one

few = settings(max_examples=6, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    op = draw(st.sampled_from(["Conv", "Conv", "ConvTranspose"]))
    group = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = (group * draw(st.integers(1, 23)) for _ in range(2))
    if draw(st.booleans()):
        group = outputs = inputs  # depthwise
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(3))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    attributes = {"strides": list(stride), "dilations": list(dilation), "pads": list(pads), "group": group}
    reach = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    for i in (0, 1):
        if op == "Conv":
            assume(size[i] + pads[i] + pads[i + 2] >= reach[i])
        else:
            assume(stride[i] * (size[i] - 1) + reach[i] - pads[i] - pads[i + 2] >= 1)
    return convolution((draw(st.integers(1, 2)), inputs, *size), outputs, kernel, op, **attributes)


@st.composite
def products(draw: st.DrawFn) -> Case:
    m, k, n = (draw(st.integers(1, 70)) for _ in range(3))
    batch = draw(st.sampled_from([(), (2,), (3, 1)]))
    return product((*batch, m, k), (k, n), constant=draw(st.booleans()))


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 20), min_size=2, max_size=5).filter(lambda s: np.prod(s) < 50_000))
    perm = draw(st.permutations(range(len(shape))))
    dtype = draw(st.sampled_from(["float32", "uint8", "float64"]))
    return one("Transpose", f"{shape}{perm}{dtype}", {"x": floats("t", *shape).astype(dtype)}, perm=list(perm))


@few
@given(cases=st.lists(st.one_of(convolutions(), convolutions(), products(), transposes()), min_size=8, max_size=8))
def test_random_kernels_equal_the_reference(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> None:
    folder: Path = tmp_path_factory.mktemp("random")
    lines = failures(cases, "host", folder)
    assert not lines, "\n".join(lines)
