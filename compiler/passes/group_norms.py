"""Group normalisations that exporters spell out, as one operator each.

Reshaped so that each group is a channel, the image goes through an instance normalisation and back; a scale and a bias
of each channel follow. Within images whose channels lie last, reshaping would move all of the data twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..operators.define import axes_of
from ..operators.group_norm import GROUP_NORM, epsilon_of, group_norm, groups_of
from .constants import constant
from .rewrite import count_uses, definitions_of, operator_of, replace_bindings, shape_of

_Array = np.ndarray[Any, Any]


def fuse_group_norms(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites those of constant weights in `main`; what they made unnecessary stays as dead code."""
    graph = _Graph(module)
    made: dict[Any, Callable[[relax.BlockBuilder], Any]] = {}
    for var, expr in graph.definitions.items():
        found = graph.spelled(expr)
        if found is not None:
            data, norm, scale, bias = found
            last, scale, bias = graph.affine(var, scale, bias)
            made[last] = _maker(data, norm, scale, bias)
    return replace_bindings(module, made) if made else module


def _maker(data: Any, norm: Any, scale: _Array, bias: _Array) -> Callable[[relax.BlockBuilder], Any]:
    return lambda _builder: group_norm(data, constant(scale), constant(bias), groups_of(norm), epsilon_of(norm))


class _Graph:
    def __init__(self, module: tvm.IRModule) -> None:
        self.definitions, self.uses = definitions_of(module), count_uses(module)
        self.readers: dict[Any, Any] = {}
        for var, expr in self.definitions.items():
            for arg in expr.args if isinstance(expr, ir.Call) else []:
                self.readers[arg] = var

    def call(self, expr: Any, name: str) -> Any:
        """The call that an expression is, or is bound to, if it is of this operator; else None."""
        call = self.definitions.get(expr, expr)
        return call if operator_of(call) == name else None

    def spelled(self, expr: Any) -> tuple[Any, Any, _Array, _Array] | None:
        """(x, the instance normalisation, scale and bias [channels]) of a reshaped normalisation of reshaped x."""
        found = [expr]  # from the last to the first
        for name in ("relax.reshape", GROUP_NORM, "relax.reshape"):
            call = self.call(found[-1], name)
            if call is None:
                return None
            found += [call, call.args[0]]
        _, whole, _, norm, _, rows, data = found
        if not all(isinstance(arg, ir.GenericConst) for arg in norm.args[1:]):
            return None
        groups = groups_of(norm)
        shape, inner = shape_of(data), shape_of(rows)
        if shape_of(whole) != shape or len(shape) < 2 or axes_of(norm) != [0, 1] or inner[:2] != (shape[0], groups):
            return None
        if shape[1] % groups:
            return None
        scale, bias = (arg.value.numpy().repeat(shape[1] // groups) for arg in norm.args[1:])
        return data, norm, scale, bias

    def affine(self, var: Any, scale: _Array, bias: _Array) -> tuple[Any, _Array, _Array]:
        """The last variable of var · m + a by constants of each channel, and the weights with these in them."""
        found = self._with_constant(var, "relax.multiply", scale.size)
        if found is not None:
            var, scale, bias = found[0], scale * found[1], bias * found[1]
        found = self._with_constant(var, "relax.add", scale.size)
        if found is not None:
            var, bias = found[0], bias + found[1]
        return var, scale, bias

    def _with_constant(self, var: Any, name: str, channels: int) -> tuple[Any, _Array] | None:
        """What only reader of a variable joins it with a constant [channels], or of one number."""
        call = self.call(self.readers.get(var), name)
        if self.uses.get(var) != 1 or call is None or shape_of(call) != shape_of(var):
            return None
        other = next((arg for arg in call.args if isinstance(arg, ir.GenericConst)), None)
        if other is None:
            return None
        value = other.value.numpy()
        from_end = len(shape_of(var)) - 1  # where the channels are, counted from the last axis as 1
        along = value.ndim >= from_end and value.shape[-from_end] == value.size == channels
        return (self.readers[var], value.reshape(-1)) if along or value.size == 1 else None
