"""Padding leaves the convolutions."""

from __future__ import annotations

import pytest
from tvm import relax

from compiler.passes.explicit_padding import make_padding_explicit
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op


@pytest.mark.parametrize(
    "rank,data,kernel,layouts,padding",
    [
        (1, (1, 3, 9), (4, 3, 3), ("NCW", "OIW"), (1, 2)),
        (2, (1, 3, 9, 8), (4, 3, 3, 3), ("NCHW", "OIHW"), (1, 2, 0, 3)),
        (2, (1, 9, 8, 3), (3, 3, 3, 4), ("NHWC", "HWIO"), (1, 2, 0, 3)),
        (3, (1, 3, 4, 5, 6), (4, 3, 2, 2, 2), ("NCDHW", "OIDHW"), (1, 0, 2, 0, 1, 1)),
    ],
)
def test_a_padded_convolution_becomes_two_calls(rank, data, kernel, layouts, padding) -> None:  # type: ignore[no-untyped-def]
    weight = relax.const(floats("w", *kernel))
    convolution = getattr(op.nn, f"conv{rank}d")
    before = module(
        [(data, "float32")],
        lambda x: convolution(x, weight, padding=padding, data_layout=layouts[0], kernel_layout=layouts[1], strides=2),
    )
    after = make_padding_explicit(before)
    assert operators(after) == {"nn.pad": 1, f"nn.conv{rank}d": 1}
    (call,) = calls(after, f"nn.conv{rank}d")
    assert not any(call.attrs.padding) and [int(s) for s in call.attrs.strides] == [2] * rank
    check_equal(before, after, floats("x", *data))


def test_a_convolution_without_padding_stays() -> None:
    before = module([((1, 3, 9, 8), "float32")], lambda x: op.nn.conv2d(x, relax.const(floats("w", 4, 3, 3, 3))))
    assert operators(make_padding_explicit(before)) == {"nn.conv2d": 1}
