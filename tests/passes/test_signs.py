"""8-bit tensors get the sign that the target multiplies, and results stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.kernels.limits import Limits
from compiler.passes.signs import choose_signs
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op
SHAPE = (1, 6, 6, 4)


def quantised(x: Any, elem: str, zero: float) -> Any:
    limits = np.iinfo(elem)
    steps = op.round(op.multiply(x, relax.const(40.0)))
    return op.astype(op.clip(op.add(steps, relax.const(zero)) if zero else steps, limits.min, limits.max), elem)


def real(q: Any, zero: float) -> Any:
    wide = op.astype(q, "float32")
    return op.subtract(wide, relax.const(zero)) if zero else wide


def product(q: Any) -> Any:
    weight = relax.const(np.random.default_rng(1).integers(-128, 128, (3, 3, 4, 5), np.int8))
    padded = op.nn.pad(q, [0, 0, 1, 1, 1, 1, 0, 0], "constant", 7.0)
    return op.nn.conv2d(padded, weight, data_layout="NHWC", kernel_layout="HWIO", out_dtype="int32")


def rows(q: Any) -> Any:
    weight = relax.const(np.random.default_rng(2).integers(-128, 128, (4, 5), np.int8))
    return op.matmul(op.reshape(q, (36, 4)), weight, out_dtype="int32")


def moved(q: Any, zero: float) -> Any:
    parts = op.split(op.permute_dims(q, [0, 2, 1, 3]), 2, 3)
    joined = op.concat([relax.TupleGetItem(parts, 1), relax.TupleGetItem(parts, 0)], 3)
    pooled = op.nn.max_pool2d(op.strided_slice(joined, [1], [1], [6]), (2, 2), layout="NHWC")
    return op.add(real(pooled, zero), op.astype(op.sum(op.astype(q, "int32"), [1, 2, 3]), "float32"))


def bad_tensors(mod: Any, bad: str) -> list[Any]:
    return [call for call in calls(mod) if str(getattr(call.ty, "dtype", "")) == bad]


@pytest.mark.parametrize("good", ["uint8", "int8"])
@pytest.mark.parametrize("zero", [0.0, 7.0])
@pytest.mark.parametrize(
    "body",
    [
        lambda q, zero: product(q),
        lambda q, zero: rows(q),
        moved,
        lambda q, zero: real(q, zero),
        lambda q, zero: op.maximum(q, q),  # which takes it as it was
        lambda q, zero: q,
    ],
)
def test_tensors_change_as_a_whole(good: str, zero: float, body: Any) -> None:
    bad = {"uint8": "int8", "int8": "uint8"}[good]
    before = module([(SHAPE, "float32")], lambda x: body(quantised(x, bad, zero), zero))
    after = choose_signs(before, Limits(16, 32, dot_data=(good,)))
    check_equal(before, after, floats("x", *SHAPE), tolerance=0)
    wanted = [bad] if str(after["main"].ret_ty.dtype) == bad else []
    assert [str(call.ty.dtype) for call in bad_tensors(after, bad) if call.op.name != "relax.maximum"] == wanted


def test_nothing_changes_where_both_signs_are_taken_or_it_is_right() -> None:
    before = module([(SHAPE, "float32")], lambda x: product(quantised(x, "uint8", 3.0)))
    for data in (("uint8",), ("int8", "uint8")):
        assert operators(choose_signs(before, Limits(16, 32, dot_data=data))) == operators(before)


def test_what_is_no_quantisation_stays() -> None:
    before = module([(SHAPE, "float32")], lambda x: product(op.astype(x, "int8")))
    after = choose_signs(before, Limits(16, 32, dot_data=("uint8",)))
    assert operators(after) == operators(before)
