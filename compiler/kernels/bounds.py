"""How large the float32 values of a tensor program can be, from its constants and the types of its integers.

A program does not know the arrays that it gets; what is known of those that are constant stands in its attributes, in
few classes, so that layers go on to share kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, tirx

from .scalars import Fact

# The attribute of a program: for each parameter the class of what it holds in every call, or nothing.
BOUNDS = "edgec.bounds"
# Scales are less than the first, biases in steps of the result and zero points than the second.
_CLASSES = {"small": 2.0**-2, "moderate": 2.0**16}

Bounds = Mapping[Any, float]


def class_of(array: np.ndarray[Any, Any]) -> str:
    """The class of a float32 array; nothing if it holds what is larger, or is not finite."""
    most = float(np.abs(array).max(initial=0))
    return next((name for name, bound in _CLASSES.items() if most <= bound), "")


def largest(classes: list[str]) -> str:
    """The class of arrays of these classes."""
    return max(classes, key=lambda name: _CLASSES.get(name, math.inf))


def bounds_of(func: Any, facts: Mapping[Any, Fact]) -> dict[Any, float]:
    """The largest magnitudes, by parameter and by buffer that is declared on one.

    Args:
        facts: of the parameters that are numbers.
    """
    classes = (func.attrs or {}).get(BOUNDS, [""] * len(func.params))
    bounds = {
        param: _CLASSES[str(name)] for param, name in zip(func.params, classes, strict=True) if str(name) in _CLASSES
    }

    def on_buffer(declared: tirx.DeclBuffer) -> None:
        for owner in getattr(declared.data, "args", ()):  # of `buffer_data`
            if owner in bounds:
                bounds[declared.buffer] = bounds[owner]

    tvm_ffi.structural_walk(func.body, [(tirx.DeclBuffer, on_buffer)])
    return bounds | {number: fact.most for number, fact in facts.items()}


def magnitude(expr: Any, bounds: Bounds) -> float:
    """What an expression, scalar or vector, is at most, whatever its sign; infinity if nothing is known."""
    if isinstance(expr, tirx.FloatImm):
        return abs(float(expr.value))
    if isinstance(expr, tirx.Broadcast):
        return magnitude(expr.value, bounds)
    if isinstance(expr, ir.Var):
        return bounds.get(expr, math.inf)
    if isinstance(expr, ir.TensorLoad):
        return bounds.get(expr.source, math.inf)
    if isinstance(expr, tirx.Cast):
        given = tvm_ffi.dtype(str(expr.value.ty.dtype).partition("x")[0])
        whole = str(given).startswith(("int", "uint"))
        return 2.0 ** (given.bits - str(given).startswith("int")) if whole else math.inf
    if isinstance(expr, (tirx.Add, tirx.Sub)):
        return magnitude(expr.a, bounds) + magnitude(expr.b, bounds)
    if isinstance(expr, tirx.Mul):
        both = magnitude(expr.a, bounds), magnitude(expr.b, bounds)
        return math.inf if math.inf in both else both[0] * both[1]
    if isinstance(expr, (tirx.Max, tirx.Min)):
        return max(magnitude(expr.a, bounds), magnitude(expr.b, bounds))
    return math.inf
