"""Transposed convolutions become plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.transposed_convolution import expand_transposed_convolutions
from tests.kernels.grid import floats
from tests.passes.relax_modules import module, operators, run


def transposed(x: Any, w: Any, stride: int, padding: int, dilation: int, extra: int, groups: int) -> Any:
    """By its definition: each input element adds a scaled kernel to the output."""
    n, channels, height, width = x.shape
    _, per_group, kh, kw = w.shape
    size = [(d - 1) * stride + dilation * (k - 1) + 1 - 2 * padding + extra for d, k in ((height, kh), (width, kw))]
    full = np.zeros((n, groups * per_group, size[0] + 2 * padding, size[1] + 2 * padding))
    for c in range(channels):
        group = c // (channels // groups)
        for o in range(per_group):
            for i, j, p, q in np.ndindex(height, width, kh, kw):
                at = (
                    slice(None),
                    group * per_group + o,
                    i * stride + p * dilation,
                    j * stride + q * dilation,
                )
                full[at] += x[:, c, i, j] * w[c, o, p, q]
    return full[:, :, padding : padding + size[0], padding : padding + size[1]]


@pytest.mark.parametrize(
    "kernel,stride,padding,dilation,extra,groups",
    [
        (3, 1, 0, 1, 0, 1),
        (3, 2, 1, 1, 1, 1),
        (2, 3, 0, 1, 2, 1),
        (3, 2, 1, 2, 0, 2),
        (1, 2, 0, 1, 0, 4),
        (3, 1, 2, 1, 0, 1),
    ],
)
def test_the_definition_holds(kernel: int, stride: int, padding: int, dilation: int, extra: int, groups: int) -> None:
    x, w = floats("x", 2, 4, 4, 3), floats("w", 4, 3, kernel, kernel)
    before = module(
        [(x.shape, "float32")],
        lambda v: relax.op.nn.conv2d_transpose(
            v,
            relax.const(w),
            stride,
            padding,
            extra,
            dilation,
            groups,
            data_layout="NCHW",
            kernel_layout="IOHW",
        ),
    )
    after = expand_transposed_convolutions(before)
    counts = operators(after)
    assert counts["nn.conv2d"] == 1 and not any("transpose" in name for name in counts)
    (result,) = run(after, x)
    np.testing.assert_allclose(result, transposed(x, w, stride, padding, dilation, extra, groups), atol=1e-4)
