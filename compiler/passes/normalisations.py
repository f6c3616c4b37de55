"""Layer and RMS normalisations that exporters spell out, as one operator each.

Before opset 17 ONNX had no operator for them: d = x - mean(x), then d / sqrt(mean(d²) + ε), perhaps with a scale
and a bias. Seven kernels become one, which reads its rows once (kernels/rows.py). Ba et al., "Layer
Normalization", 2016 (arXiv:1607.06450); Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019
(arXiv:1910.07467).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import count_uses, definitions_of, operator_of, readers_of, replace_bindings, shape_of
from .windows import number_of


def fuse_normalisations(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites those of float32 over the last axis, in `main`; what they made unnecessary stays as dead code."""
    graph = _Graph(module)
    made = {}
    for var, expr in graph.definitions.items():
        found = graph.normalised(expr)
        if found is not None:
            last, weights = graph.affine(var, shape_of(found[0])[-1])
            made[last] = _maker(*found, *weights)
    return replace_bindings(module, made) if made else module


def _maker(
    x: Any, epsilon: float, centred: bool, scale: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None
) -> Callable[[relax.BlockBuilder], Any]:
    def make(builder: relax.BlockBuilder) -> Any:
        offset = np.zeros_like(scale) if bias is None else bias
        if centred:
            return relax.op.nn.layer_norm(x, constant(scale), constant(offset), -1, epsilon)
        rms = relax.op.nn.rms_norm(x, constant(scale), -1, epsilon)
        return rms if bias is None else relax.op.add(builder.emit(rms), constant(offset))

    return make


class _Graph:
    def __init__(self, module: tvm.IRModule) -> None:
        self.definitions, self.uses = definitions_of(module), count_uses(module)
        self.readers = readers_of(self.definitions)

    def call(self, expr: Any, *names: str) -> Any:
        """The call that an expression is, or is bound to, if it is of one of these operators; else None."""
        call = self.definitions.get(expr, expr)
        name = operator_of(call).removeprefix("relax.")
        return call if name in names else None

    def normalised(self, expr: Any) -> tuple[Any, float, bool] | None:
        """(x, ε, whether its mean is taken off) of a normalised x."""
        call = self.call(expr, "divide", "multiply")
        if call is None or str(call.ty.dtype) != "float32":
            return None
        left, right = call.args
        quotient = self.call(call, "divide") is not None
        for data, factor in ((left, right),) if quotient else ((left, right), (right, left)):
            root = self._root(factor) if quotient else self._inverse_root(factor)
            epsilon = None if root is None or shape_of(data) != shape_of(call) else self._mean_square(root, data)
            if epsilon is None:
                continue
            difference = self.call(data, "subtract")
            if difference is not None and self._is_mean(difference.args[1], difference.args[0]):
                return difference.args[0], epsilon, True
            return data, epsilon, False
        return None

    def affine(self, var: Any, size: int) -> tuple[Any, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]:
        """The last variable of var · scale + bias by constants along the last axis, and these two."""
        scale, bias = np.ones(size, np.float32), None
        found = self._with_constant(var, "multiply", size)
        if found is not None:
            var, scale = found
        found = self._with_constant(var, "add", size)
        if found is not None:
            var, bias = found
        return var, (scale, bias)

    def _with_constant(self, var: Any, name: str, size: int) -> tuple[Any, np.ndarray[Any, Any]] | None:
        """What only reader of a variable joins it with a constant of `size` elements, or of one."""
        readers = self.readers.get(var, [])
        if self.uses.get(var) != 1 or len(readers) != 1 or self.call(readers[0], name) is None:
            return None
        call = self.definitions[readers[0]]
        other = next((arg for arg in call.args if isinstance(arg, ir.GenericConst)), None)
        if other is None or shape_of(call) != shape_of(var):
            return None
        value = other.value.numpy()
        if value.size != 1 and (value.size != size or value.shape[-1] != size):
            return None
        return readers[0], np.broadcast_to(value.reshape(-1), size).copy()

    def _root(self, expr: Any) -> Any:
        """v of sqrt(v)."""
        call = self.call(expr, "sqrt")
        if call is not None:
            return call.args[0]
        call = self.call(expr, "power")
        return call.args[0] if call is not None and number_of(call.args[1]) == 0.5 else None

    def _inverse_root(self, expr: Any) -> Any:
        """v of 1 / sqrt(v)."""
        call = self.call(expr, "rsqrt")
        if call is not None:
            return call.args[0]
        call = self.call(expr, "power")
        if call is not None and number_of(call.args[1]) == -0.5:
            return call.args[0]
        call = self.call(expr, "divide")
        return self._root(call.args[1]) if call is not None and number_of(call.args[0]) == 1 else None

    def _mean_square(self, expr: Any, data: Any) -> float | None:
        """ε of mean(data²) + ε."""
        call = self.call(expr, "add")
        if call is None:
            return None
        left, right = call.args
        for mean, epsilon in ((left, right), (right, left)):
            number = number_of(epsilon)
            reduction = self.call(mean, "mean")
            if number is not None and reduction is not None and self._over_rows(reduction, data):
                square = self.call(reduction.args[0], "multiply", "power", "square")
                if square is not None and self._is_square(square, data):
                    return number
        return None

    def _is_square(self, call: Any, data: Any) -> bool:
        first, *second = call.args
        if self.call(call, "multiply") is not None:
            return bool(first.same_as(data) and second[0].same_as(data))
        return bool(first.same_as(data)) and (not second or number_of(second[0]) == 2)

    def _is_mean(self, expr: Any, data: Any) -> bool:
        call = self.call(expr, "mean")
        return call is not None and bool(call.args[0].same_as(data)) and self._over_rows(call, data)

    def _over_rows(self, mean: Any, data: Any) -> bool:
        rank = len(shape_of(data))
        axes = [] if mean.attrs.axis is None else [int(axis) % rank for axis in mean.attrs.axis]
        return axes == [rank - 1] and len(shape_of(mean)) == rank
