"""Cases of element-wise operators and casts, on every rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.kernels.grid import Case, floats, one, rng_of

_FLOATS = ("float16", "float32", "float64")
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")

# Pairs of shapes that broadcast, ranks 0 to 5.
_PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()),
    ((), (5,)),
    ((1,), (17,)),
    ((33,), (33,)),
    ((3, 17), (17,)),
    ((3, 17), (3, 1)),
    ((3, 1), (1, 17)),
    ((2, 3, 17), (3, 1)),
    ((2, 3, 16), (1, 1, 16)),
    ((2, 3, 4, 5), ()),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((1, 3, 1, 5), (2, 1, 4, 1)),
    ((2, 1, 3, 1, 17), (4, 1, 5, 1)),
    ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    ((1, 1, 1, 1, 1), (3, 1, 1, 1, 7)),
    ((64, 700), (64, 700)),
    ((1, 58, 28, 28), (1, 58, 1, 1)),
    ((2, 29, 31, 17), (17,)),
    ((1, 3, 5, 1009), (1, 3, 5, 1009)),
    ((0, 3), (1, 3)),
    ((3, 1), (3, 0)),
)


def _label(*shapes: tuple[int, ...]) -> str:
    return "_".join("x".join(map(str, s)) or "scalar" for s in shapes)


def broadcasts() -> list[Case]:
    """Binary operators over pairs of shapes; each pair meets each operator somewhere."""
    cases = []
    operators = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Less", "Equal", "GreaterOrEqual")
    for number, (left, right) in enumerate(_PAIRS):
        for op in (operators[number % 10], operators[(number + 3) % 10], operators[(number + 6) % 10]):
            name = f"{op}_{_label(left, right)}"
            a, b = floats(name, *left), floats(name + "b", *right)
            if op == "Pow":
                a = np.abs(a)
            if op == "Equal":
                a, b = np.round(a), np.round(b)
            cases.append(one(op, name, {"a": a, "b": b}, tolerance=1e-4 if op == "Pow" else None))
    rng = rng_of("logic")
    for op in ("And", "Or", "Xor"):
        a, b = rng.random((3, 17)) > 0.5, rng.random((17,)) > 0.5
        cases.append(one(op, op, {"a": a, "b": b}))
    cases.append(one("Not", "Not", {"a": rng.random((3, 17)) > 0.5}))
    a, b, c = floats("a", 3, 1, 5), floats("b", 4, 1), floats("c", 5)
    cases += [one(op, f"{op}_three", {"a": a, "b": b, "c": c}) for op in ("Sum", "Mean", "Max", "Min")]
    for number, (left, right) in enumerate(_PAIRS[2:14]):
        condition = rng.random(left) > 0.5
        name = f"Where_{_label(left, right)}"
        dtype = ("float32", "int64", "bool", "uint8", "float64")[number % 5]
        x, other = (rng.integers(0, 2, s).astype(dtype) for s in (right, left))
        cases.append(one("Where", name, {"c": condition, "x": x, "other": other}))
    return cases


_UNARY: dict[str, tuple[float, float]] = {
    "Abs": (-3, 3), "Neg": (-3, 3), "Exp": (-8, 8), "Log": (0.01, 9), "Sqrt": (0, 9), "Reciprocal": (0.2, 3),
    "Sin": (-9, 9), "Cos": (-9, 9), "Tan": (-1.4, 1.4), "Asin": (-1, 1), "Acos": (-1, 1), "Atan": (-9, 9),
    "Sinh": (-4, 4), "Cosh": (-4, 4), "Tanh": (-6, 6), "Asinh": (-4, 4), "Acosh": (1, 5),
    "Atanh": (-0.9, 0.9),
    "Erf": (-4, 4), "Sigmoid": (-9, 9), "Floor": (-3, 3), "Ceil": (-3, 3), "Round": (-3, 3), "Sign": (-2, 2),
    "Relu": (-3, 3), "Elu": (-3, 3), "Selu": (-3, 3), "Celu": (-3, 3), "LeakyRelu": (-3, 3),
    "Softplus": (-9, 9),
    "Softsign": (-3, 3), "HardSigmoid": (-4, 4), "HardSwish": (-4, 4), "Mish": (-4, 4), "Gelu": (-4, 4),
    "ThresholdedRelu": (-3, 3), "Shrink": (-3, 3), "Identity": (-1, 1),
}  # fmt: skip


def unaries() -> list[Case]:
    """Unary operators over their domains, on whole and broken vectors."""
    cases = []
    for number, (op, (low, high)) in enumerate(_UNARY.items()):
        for shape in ((64,), ((5, 7), (3,), (), (1, 1, 2, 2, 2))[number % 4]):
            name = f"{op}_{_label(shape)}"
            x = np.asarray(rng_of(name).uniform(low, high, shape), "float32")
            cases.append(one(op, name, {"x": x}, tolerance=1e-5))
    halves = np.array([-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 3.5, 1e9, np.inf, -np.inf, np.nan], "float32")
    cases += [
        one(op, f"{op}_special", {"x": halves}) for op in ("Round", "Floor", "Ceil", "Neg", "Abs", "IsNaN", "IsInf")
    ]
    extremes = np.array([-200, -100, -89, -20, 0, 20, 89, 100, 200, np.inf, -np.inf, np.nan], "float32")
    cases += [one(op, f"{op}_extreme", {"x": extremes}) for op in ("Exp", "Tanh", "Sigmoid", "Erf")]
    cases += [
        one("Clip", "clip", {"x": floats("clip", 3, 17)}, {"lo": np.float32(-0.5), "hi": np.float32(0.5)}),
        one("Clip", "clip_low", {"x": floats("clip", 3, 17)}, {"lo": np.float32(0.1)}),
        one("Clip", "clip_int", {"x": np.arange(-9, 9, dtype="int8")}, {"lo": np.int8(-3), "hi": np.int8(4)}),
        one("PRelu", "prelu", {"x": floats("p", 2, 5, 3), "s": floats("s", 5, 1)}),
    ]
    for dtype in ("float16", "float64"):
        x = floats(dtype, 5, 16, dtype=dtype)
        cases += [
            one(op, f"{op}_{dtype}", {"x": x}) for op in ("Exp", "Tanh", "Relu", "Sigmoid", "Erf", "Abs", "Floor")
        ]
    return cases


def integers() -> list[Case]:
    """Arithmetic of integers, with wrap-around and ONNX's division, which truncates."""
    cases = []
    for dtype in _INTEGERS:
        rng, info = rng_of(dtype), np.iinfo(dtype)
        a = rng.integers(info.min, info.max, (3, 17), dtype=dtype, endpoint=True)
        b = rng.integers(info.min, info.max, (17,), dtype=dtype, endpoint=True)
        b[b == 0] = 3
        if info.min < 0:
            b[b == -1] = 2  # the smallest number by -1 is undefined
        quotient = np.where((a < 0) != (b < 0), -1, 1) * (np.abs(a.astype(object)) // np.abs(b.astype(object)))
        results: dict[str, Any] = {
            "Add": a + b, "Sub": a - b, "Mul": a * b, "Div": quotient.astype(dtype), "Max": np.maximum(a, b),
            "Min": np.minimum(a, b), "Less": a < b, "Equal": a == b, "Greater": a > b, "LessOrEqual": a <= b,
        }  # fmt: skip
        cases += [one(op, f"{op}_{dtype}", {"a": a, "b": b}, expected=(y,)) for op, y in results.items()]
        cases.append(one("Mod", f"Mod_{dtype}", {"a": a, "b": b}, expected=(np.mod(a, b),)))
        if info.min < 0:
            remainder = (a.astype(object) - quotient * b.astype(object)).astype(dtype)
            cases.append(one("Mod", f"Fmod_{dtype}", {"a": a, "b": b}, expected=(remainder,), fmod=1))
            cases.append(one("Neg", f"Neg_{dtype}", {"a": a}, expected=(-a,)))
            cases.append(one("Abs", f"Abs_{dtype}", {"a": a}, expected=(np.abs(a),)))
            cases.append(one("Sign", f"Sign_{dtype}", {"a": a}, expected=(np.sign(a),)))
        else:
            shift = rng.integers(0, info.bits, (17,)).astype(dtype)
            for direction, y in (("LEFT", a << shift), ("RIGHT", a >> shift)):
                cases.append(
                    one(
                        "BitShift",
                        f"{direction}_{dtype}",
                        {"a": a, "b": shift},
                        expected=(y,),
                        direction=direction,
                    )
                )
        for op, function in (
            ("BitwiseAnd", np.bitwise_and),
            ("BitwiseOr", np.bitwise_or),
            ("BitwiseXor", np.bitwise_xor),
        ):
            cases.append(one(op, f"{op}_{dtype}", {"a": a, "b": b}, expected=(function(a, b),)))
        cases.append(one("BitwiseNot", f"BitwiseNot_{dtype}", {"a": a}, expected=(~a,)))
    a, b = floats("fa", 3, 17), floats("fb", 17)
    cases.append(one("Mod", "Fmod_float", {"a": a, "b": b}, expected=(np.fmod(a, b),), fmod=1))
    return cases


def casts() -> list[Case]:
    """Every type to every other one, on values that both can hold."""
    from onnx import helper

    cases = []
    types = ("bool", *_INTEGERS, *_FLOATS)
    for source in types:
        for target in types:
            values = np.array([0, 1, 2, 3, 100, 127, 1, 0, 5] if source != "bool" else [0, 1, 1])
            if "u" not in source + target and "bool" not in (source, target):
                values = np.concatenate([values, [-1, -2, -128]])
            if source in _FLOATS and target != "bool":
                values = np.concatenate([values + 0.0, [0.5, 1.75, 2.5, 99.25]])  # truncated towards zero
            x = values.astype(source)
            to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
            cases.append(one("Cast", f"{source}_{target}", {"x": x}, expected=(x.astype(target),), to=to))
    for source in _FLOATS:
        x = np.array([0.0, -0.0, 0.25, -3, np.inf, -np.inf, np.nan, 1e-4], source)
        cases.append(one("Cast", f"{source}_bool_special", {"x": x}, expected=(x != 0,), to=9))
        for target in set(_FLOATS) - {source}:
            to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
            cases.append(one("Cast", f"{source}_{target}_special", {"x": x}, expected=(x.astype(target),), to=to))
    wide = np.array([65504, 65519, 65520, 1e6, -1e6, 1e-8, 6e-8, 3e-5, 1.0009765625, 1.00048828125, 2049], "float32")
    with np.errstate(over="ignore"):
        cases.append(one("Cast", "rounding_half", {"x": wide}, expected=(wide.astype("float16"),), to=10, tolerance=0))
    return cases


FAMILIES = {"broadcast": broadcasts, "unary": unaries, "integer": integers, "cast": casts}
