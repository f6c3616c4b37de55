"""Cases of matrix products."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.kernels.grid import Case, floats, one, rng_of

SIZES = (1, 3, 17, 64, 197)


def product(left: tuple[int, ...], right: tuple[int, ...], constant: bool = True, dtype: str = "float32") -> Case:
    """`left @ right`, the right one a constant or an input."""
    name = f"matmul_{'x'.join(map(str, left))}_{'x'.join(map(str, right))}_{'w' if constant else 'in'}_{dtype}"
    a, b = floats(name, *left, dtype=dtype), floats(name + "b", *right, dtype=dtype)
    return one("MatMul", name, {"a": a} if constant else {"a": a, "b": b}, {"b": b} if constant else {})


def products() -> list[Case]:
    """Every size against every other one: each pair of sizes occurs along each pair of axes."""
    cases = [
        product((SIZES[i], SIZES[j]), (SIZES[j], SIZES[(i + j) % len(SIZES)]), constant=(i + j) % 2 == 0)
        for i in range(len(SIZES))
        for j in range(len(SIZES))
    ]
    cases += [
        product((2, 17, 64), (2, 64, 3), constant=False),
        product((2, 3, 5, 17), (2, 3, 17, 19), constant=False),
        product((2, 1, 5, 17), (1, 3, 17, 16), constant=False),
        product((2, 3, 5, 17), (17, 16)),
        product((5, 17), (2, 3, 17, 16), constant=False),
        product((17,), (17, 16)),
        product((17,), (17, 16), constant=False),
        product((5, 17), (17,), constant=False),
        product((17,), (17,), constant=False),
        product((2, 3, 5, 17), (17,)),
        product((64,), (2, 64, 33), constant=False),
        product((1, 1, 1), (1, 1, 1), constant=False),
        product((4, 4, 64, 32), (4, 4, 32, 64), constant=False),
        product((1, 4, 1, 32), (1, 4, 32, 65), constant=False),
        product((1, 4, 65, 32), (1, 4, 32, 1), constant=False),
        product((7, 17), (17, 19), dtype="float64"),
        product((7, 32), (32, 16), dtype="float16"),
        product((12, 64), (64, 256)),
        product((200, 64), (64, 64)),
    ]
    rng = rng_of("integers")
    for dtype in ("int32", "int64", "uint32"):
        a, b = rng.integers(0, 99, (5, 17)).astype(dtype), rng.integers(0, 99, (17, 19)).astype(dtype)
        cases.append(one("MatMul", f"matmul_{dtype}", {"a": a, "b": b}, expected=(a @ b,)))
    return cases


def gemms() -> list[Case]:
    """Gemm with each transposition, factor and form of C."""
    cases = []
    for m, k, n in ((1, 64, 10), (3, 17, 29), (17, 3, 16), (64, 197, 1), (65, 64, 32)):
        for ta, tb in ((0, 0), (0, 1), (1, 0), (1, 1)):
            name = f"gemm_{m}_{k}_{n}_{ta}{tb}"
            a = floats(name, *((k, m) if ta else (m, k)))
            b = floats(name + "b", *((n, k) if tb else (k, n)))
            c = floats(name + "c", *((n,), (1, n), (m, 1), (m, n), (1,))[(m + 2 * ta + tb) % 5])
            cases.append(one("Gemm", name, {"a": a}, {"b": b, "c": c}, transA=ta, transB=tb, alpha=0.5, beta=1.5))
    a, b = floats("a", 9, 17), floats("b", 17, 19)
    cases.append(one("Gemm", "gemm_no_c", {"a": a, "b": b}))
    cases.append(
        one(
            "Gemm",
            "gemm_inputs",
            {"a": a.T.copy(), "b": b.T.copy(), "c": floats("c", 19)},
            transA=1,
            transB=1,
        )
    )
    return cases


def chains() -> list[Case]:
    """Matrix products with what networks put around them."""
    node = helper.make_node
    q, k, v = (floats(n, 2, 4, 19, 16) for n in "qkv")
    x, w = floats("x", 19, 32), floats("w", 32, 48)
    return [
        Case(
            "attention",
            [
                node("Transpose", ["k"], ["t"], perm=[0, 1, 3, 2]),
                node("MatMul", ["q", "t"], ["s"]),
                node("Mul", ["s", "scale"], ["m"]),
                node("Softmax", ["m"], ["p"], axis=-1),
                node("MatMul", ["p", "v"], ["o"]),
                node("Transpose", ["o"], ["y"], perm=[0, 2, 1, 3]),
            ],
            {"q": q, "k": k, "v": v},
            {"scale": np.float32(0.25)},
        ),
        Case(
            "gelu",
            [
                node("MatMul", ["x", "w"], ["m"]),
                node("Add", ["m", "b"], ["a"]),
                node("Gelu", ["a"], ["y"]),
            ],
            {"x": x},
            {"w": w, "b": floats("b", 48)},
        ),
        Case(
            "transposed_result",
            [node("MatMul", ["x", "w"], ["m"]), node("Transpose", ["m"], ["y"], perm=[1, 0])],
            {"x": x},
            {"w": w},
        ),
        Case(
            "two_readers",
            [
                node("MatMul", ["x", "w"], ["m"]),
                node("Relu", ["m"], ["y"]),
                node("ReduceSum", ["m", "axes"], ["z"], keepdims=0),
            ],
            {"x": x},
            {"w": w, "axes": np.array([1])},
            ("y", "z"),
        ),
        one(
            "Einsum",
            "einsum",
            {"a": floats("ea", 3, 5, 7), "b": floats("eb", 7, 3, 4)},
            equation="bij,jbk->bik",
        ),
    ]


FAMILIES = {"matmul": products, "gemm": gemms, "chain": chains}
