"""Tensor programs of single kernels."""

from __future__ import annotations

from typing import Any

from tvm import te, topi

from compiler.build.objects import canonical_form


def product(m: int = 17, k: int = 24, n: int = 40) -> Any:
    """A product with a Relu, [m, k] by [k, n]."""
    x, w = te.placeholder((m, k), name="x"), te.placeholder((k, n), name="w")
    return canonical_form(te.create_prim_func([x, w, topi.nn.relu(topi.matmul(x, w))], index_dtype_override="int64"))
