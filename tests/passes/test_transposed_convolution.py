"""Transposed convolutions become plain ones, of the kernel's size by its stride."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax

from compiler.operators.subpixel import Along, Subpixel
from compiler.passes.transposed_convolution import expand_transposed_convolutions
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, module, operators, run


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


@pytest.mark.parametrize("kernel,stride,taps", [(4, 2, 2), (3, 2, 2), (2, 2, 1), (1, 3, 1), (5, 1, 5)])
def test_no_zeros_are_put_between_elements(kernel: int, stride: int, taps: int) -> None:
    x, w = floats("x", 1, 4, 6, 5), floats("w", 4, 3, kernel, kernel)
    before = module([(x.shape, "float32")], lambda v: relax.op.nn.conv2d_transpose(v, relax.const(w), stride))
    (conv,) = calls(expand_transposed_convolutions(before), "nn.conv2d")
    data, weight = (tuple(int(d) for d in arg.ty.shape) for arg in conv.args)
    assert data == x.shape
    assert weight == (stride * stride * 3, 4, taps, taps)


def test_channels_by_themselves_have_a_convolution_for_each_place() -> None:
    x, w = floats("x", 2, 6, 4, 3), floats("w", 6, 1, 4, 4)
    before = module([(x.shape, "float32")], lambda v: relax.op.nn.conv2d_transpose(v, relax.const(w), 2, 1, groups=6))
    after = expand_transposed_convolutions(before)
    assert operators(after)["nn.conv2d"] == 4
    np.testing.assert_allclose(run(after, x)[0], transposed(x, w, 2, 1, 1, 0, 6), atol=1e-4)


@given(st.data())
def test_any_axis_and_any_window(data: st.DataObject) -> None:
    """What is wanted may begin before all that the kernel reaches, and end behind it."""
    size, kernel, stride, dilation = (data.draw(st.integers(1, most)) for most in (6, 6, 5, 3))
    begin, results = data.draw(st.integers(-7, 12)), data.draw(st.integers(1, 20))
    x, w = np.arange(1.0, size + 1), np.arange(1.0, kernel + 1) ** 2
    wanted = np.zeros(results)
    for i, j in np.ndindex(size, kernel):
        if 0 <= (place := i * stride + j * dilation - begin) < results:
            wanted[place] += x[i] * w[j]
    form = Subpixel((1, 1, kernel), 1, (Along.of(size, kernel, stride, dilation, begin, results),), (dilation,))
    (along,), (places,) = form.along, form.weight_places
    longer = np.pad(x, (along.before, along.after))
    reach = (along.taps - 1) * along.dilation + 1
    windows = np.lib.stride_tricks.sliding_window_view(longer, reach)[:, :: along.dilation]
    blocks = windows @ np.append(w, 0.0)[places[:, 0]].T
    assert blocks.shape == (along.blocks, along.block)
    assert np.array_equal(blocks.reshape(-1)[along.cut : along.cut + results], wanted)
