"""Which programs count as element-wise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tvm import relax

from compiler.passes.legalize import legalize
from compiler.passes.patterns import annotate_patterns
from tests.passes.relax_modules import module

op = relax.op


@pytest.mark.parametrize(
    "body,pattern",
    [
        (op.nn.relu, 0),
        (lambda x: op.multiply(x, relax.const(2.0, "float32")), 0),
        (lambda x: op.nn.pad(x, [0, 0, 0, 1, 0, 1, 0, 0]), 2),
        (lambda x: op.nn.pad(x, [0, 0, 1, 1, 1, 1, 0, 0]), 2),
        (lambda x: op.strided_slice(x, [1], [0], [3]), 2),
    ],
)
def test_what_changes_the_shape_is_not_element_wise(body: Callable[[Any], Any], pattern: int) -> None:
    annotated = annotate_patterns(legalize(module([((1, 4, 5, 8), "float32")], body)))
    (found,) = [int(f.attrs["op_pattern"]) for v, f in annotated.functions.items() if v.name_hint != "main"]
    assert found == pattern
