"""Operators that treat each element by itself."""

from __future__ import annotations

import numpy as np
from onnx import helper

from .builder import ALL, FLOATS, INTEGERS, NARROW, NUMBERS, SIGNED, UNSIGNED, Builder, Unfit, Value

_UNARY = {
    (
        -30.0,
        30.0,
    ): "Relu LeakyRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Erf Abs Neg Floor "
    "Ceil Round Sign ThresholdedRelu Shrink Mish Atan Asinh Identity Sin Cos",
    (-5.0, 5.0): "Exp Sinh Cosh",
    (-1.2, 1.2): "Tan",
    (-0.95, 0.95): "Asin Acos Atanh",
    (0.05, 100.0): "Log Sqrt Reciprocal",
    (1.1, 100.0): "Acosh",
}
_OF_INTEGERS = {"Abs": (*SIGNED, *UNSIGNED), "Neg": SIGNED, "Sign": INTEGERS, "Relu": SIGNED, "Identity": ALL}
_ATTRIBUTES = {
    "LeakyRelu": ("alpha",), "Elu": ("alpha",), "Celu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
    "ThresholdedRelu": ("alpha",), "Shrink": ("lambd", "bias"),
}  # fmt: skip


def unary(g: Builder) -> None:
    (low, high), names = g.rng.choices(list(_UNARY.items()), (12, 3, 1, 1, 4, 1))[0]
    names = names if g.opset < 20 else names.replace("Erf", "Erf Gelu")
    operator = g.rng.choice(names.split())
    value = g.pick((*FLOATS, *_OF_INTEGERS.get(operator, ())), counted=True)
    attributes: dict[str, object] = {
        name: round(g.rng.uniform(0.1, 0.9), 2) for name in _ATTRIBUTES.get(operator, ()) if g.chance(0.5)
    }
    if operator == "Gelu" and g.chance(0.5):
        attributes["approximate"] = "tanh"
    if value.dtype in FLOATS and value.array.size and (value.array.min() < low or value.array.max() > high):
        value = _squeezed(g, value, low, high)
    g.add(operator, value, exact=operator in ("Identity", "Neg", "Abs"), **attributes)


def _squeezed(g: Builder, value: Value, low: float, high: float) -> Value:
    """The value in a range, by Clip or by Sigmoid."""
    if g.chance(0.5):
        ends = [g.given(np.array(end, value.dtype), constant=True) for end in (low, high)]
        return g.add("Clip", value, *ends)[0]
    (value,) = g.add("Sigmoid", value)
    value = g.add("Mul", value, g.given(np.array(min(high - low, 3.0) * 0.9, value.dtype), constant=True))[0]
    return g.add("Add", value, g.given(np.array(low + 0.05, value.dtype), constant=True))[0]


def binary(g: Builder) -> None:
    operator = g.rng.choice(
        ("Add", "Add", "Sub", "Mul", "Mul", "Div", "Min", "Max", "PRelu", "Pow", "Mod", "Sum", "Mean")
    )
    floats = operator in ("PRelu", "Mean")
    value = g.pick(FLOATS if floats else NUMBERS, accept=lambda value: value.rank < 5)
    if operator == "Div":
        other = g.beside(value, 1 if value.dtype in INTEGERS else 0.4, 5)
    elif operator == "Mod":
        if value.dtype in FLOATS:
            return
        other = g.beside(value, 1, 5)
    elif operator == "Pow":
        exponent = np.array(g.rng.choice((2, 3, 1, 0)), value.dtype)
        other = g.given(exponent, constant=True)
    elif operator == "PRelu":
        other = g.given(g.array(_suffix(g, value.shape), value.dtype), constant=True)
    else:
        other = g.beside(value, -1e4, 1e4)
    if operator in ("Add", "Sub", "Mul", "Min", "Max") and g.chance(0.4):
        value, other = other, value
    more = [g.beside(value)] if operator in ("Sum", "Mean", "Min", "Max") and g.chance(0.3) else []
    g.add(operator, value, other, *more)


def _suffix(g: Builder, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if g.chance(0.4) else size for size in shape[g.rng.randint(0, len(shape)) :])


def clip(g: Builder) -> None:
    value = g.pick(NUMBERS)
    low = None if g.chance(0.3) else g.given(np.array(g.rng.randint(0, 1), value.dtype), constant=True)
    high = None if g.chance(0.3) else g.given(np.array(g.rng.randint(1, 3), value.dtype), constant=g.chance(0.8))
    g.add("Clip", value, low, high)


def compare(g: Builder) -> None:
    operator = g.rng.choice(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"))
    value = g.pick(ALL if operator == "Equal" else NUMBERS)
    g.add(operator, value, g.beside(value, -1e4, 1e4))


def logic(g: Builder) -> None:
    value = g.pick(("bool",), counted=True)
    if value.counted or g.chance(0.3):
        g.add("Not", value)
    else:
        g.add(g.rng.choice(("And", "Or", "Xor")), value, g.beside(value))


def bits(g: Builder) -> None:
    value = g.pick(INTEGERS)
    operator = g.rng.choice(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift"))
    if operator == "BitwiseNot":
        g.add(operator, value)
    elif operator == "BitShift":
        if value.dtype not in UNSIGNED:
            raise Unfit
        g.add(operator, value, g.beside(value, 0, 3), direction=g.rng.choice(("LEFT", "RIGHT")))
    else:
        g.add(operator, value, g.beside(value, -1e4, 1e4))


def where(g: Builder) -> None:
    value = g.pick(ALL, most=4)
    g.add("Where", g.beside(value, dtype="bool"), value, g.beside(value, -1e4, 1e4))


def cast(g: Builder) -> None:
    value = g.pick(ALL, counted=True)
    to = g.rng.choice((g.main, g.main, *ALL))
    if to in UNSIGNED and value.array.size and value.array.min() < 0:
        raise Unfit  # differs between machines
    exact = value.dtype != "float64"
    g.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)), exact=exact and to not in NARROW)


def special(g: Builder) -> None:
    g.add(g.rng.choice(("IsNaN", "IsInf")), g.pick(FLOATS))


RULES = (
    (14, unary), (14, binary), (2, clip), (4, compare), (3, logic), (2, bits), (4, where), (5, cast), (1, special),
)  # fmt: skip
