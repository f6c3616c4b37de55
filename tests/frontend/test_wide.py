"""Formulas of 16-bit floats are as exact as one rounding of their result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from scripts.onnx_cases.cases import Case
from scripts.onnx_cases.check import check_artifacts
from tests.frontend.checks import prepared
from tests.models import model, node, value

MS = "com.microsoft"
_ERF = np.vectorize(math.erf, otypes=[float])


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + _ERF(x / math.sqrt(2)))


def _one(operator: str, dtype: str, domain: str = "") -> onnx.ModelProto:
    one = node(operator, "x", "y", domain)
    domains = (domain,) if domain else ()
    return model([one], {"x": ([801], dtype)}, [value("y", [801], dtype)], opset=24, domains=domains)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("operator", "domain", "expected"),
    [
        ("Gelu", "", _gelu),
        ("Gelu", MS, _gelu),
        ("Elu", "", lambda x: np.where(x < 0, np.expm1(x), x)),
        ("Mish", "", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        ("Selu", "", lambda x: 1.05070102214813 * np.where(x < 0, 1.67326319217682 * np.expm1(x), x)),
        ("Softplus", "", lambda x: np.log1p(np.exp(x))),
    ],
)
def test_formulas_near_where_they_cancel(
    operator: str, domain: str, dtype: str, expected: Callable[[Any], Any]
) -> None:
    x = np.linspace(-4, 4, 801).astype(dtype)
    proto = _one(operator, dtype, domain)
    want = expected(x.astype(np.float64)).astype(dtype)
    step = 2.0**-7 if dtype == "bfloat16" else 2.0**-10
    case = Case("one", operator, proto, (x,), (want,), step, 1e-6, proto, (0,))
    assert check_artifacts([case]) == {"one": None}


def test_types_stay_and_others_are_left_alone() -> None:
    widened, plain = (prepared(_one("Softplus", dtype)) for dtype in ("float16", "float32"))
    assert [n.op_type for n in widened.proto.graph.node] == ["Cast", "Softplus", "Cast"]
    assert [n.op_type for n in plain.proto.graph.node] == ["Softplus"]
    assert widened.outputs[0].dtype == "float16"
