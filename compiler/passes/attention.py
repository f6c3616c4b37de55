"""Attention as one tensor program: softmax(f(Q Kᵀ)) V without a matrix of [queries, keys] in memory.

Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762). Recognised are a product, any scaling and
masks, a softmax over the keys and a second product; how the heads were cut out of their projections, by reshapes,
transposes and slices, becomes part of how the program reads them, as far as that is a window on memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from ..kernels.attention import FEW_QUERIES
from .attention_program import NAN, ROW, Step, attention_program, element
from .rewrite import count_uses, definitions_of, operator_of, replace_bindings, shape_of
from .windows import Window, number_of, scaling_of, window_of

_OPAQUE = 8  # TVM's kOpaque: nothing else joins the kernel
_FAR_APART = 1 << 18  # bytes between the first and the last value of a head beyond which they are copied together


@dataclass(frozen=True)
class _Attention:
    """What was recognised.

    Attributes:
        query: [batch…, query, element].
        key: [batch…, element, key].
        value: [batch…, key, element].
        steps: from the scores to the logits, in order: how, and the operands.
        blank: where the result is 0: NAN, an expression of queries, or None for nowhere.
    """

    query: Any
    key: Any
    value: Any
    steps: tuple[tuple[Step, tuple[Any, ...]], ...]
    blank: Any = None


def fuse_attention(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites attention of float32 in `main`; what it makes unnecessary is left for dead code elimination."""
    definitions, uses = definitions_of(module), count_uses(module)
    made: dict[Any, Callable[[relax.BlockBuilder], Any]] = {}
    permuted = {expr.args[0]: var for var, expr in definitions.items() if _name(expr) == "permute_dims"}
    for var, expr in definitions.items():
        found = _recognise(expr, definitions, uses)
        if found is None:
            continue
        axes = list(range(len(expr.ty.shape)))
        if uses[var] == 1 and var in permuted:
            var = permuted[var]
            axes = [int(a) for a in definitions[var].attrs.axes or axes[::-1]]
        made[var] = _maker(found, axes, shape_of(expr), definitions)
    if not made:
        return module
    module = replace_bindings(module, made)
    for variable, function in list(module.functions.items()):
        if variable.name_hint.startswith("attention"):
            module.update_func(variable, function.with_attr("op_pattern", _OPAQUE))
    return module


def _name(expr: Any) -> str:
    return operator_of(expr).removeprefix("relax.")


def _recognise(expr: Any, definitions: Mapping[Any, Any], uses: Mapping[Any, int]) -> _Attention | None:
    """The attention whose second product an expression is."""
    if _name(expr) != "matmul" or str(expr.ty.dtype) != "float32" or 0 in shape_of(expr):
        return None
    weights, value = expr.args
    weights, blank = _unblanked(weights, definitions, uses)
    softmax: Any = definitions.get(weights)
    if _name(softmax) != "nn.softmax" or len(shape_of(softmax)) < 2 or len(shape_of(value)) < 2:
        return None
    if int(softmax.attrs.axis) not in (-1, len(shape_of(softmax)) - 1):
        return None
    scores = _scores(softmax.args[0], definitions, uses)
    if scores is None:
        return None
    query, key = scores[0].args
    if len(shape_of(query)) < 2 or len(shape_of(key)) < 2:
        return None
    return _Attention(query, key, value, tuple(scores[1]), blank)


def _unblanked(weights: Any, definitions: Mapping[Any, Any], uses: Mapping[Any, int]) -> tuple[Any, Any]:
    """(p, where) of weights that are 0 in some rows and p elsewhere: in those of NaN, or of masked queries.

    Of weights that something else reads as well, None.
    """
    call: Any = definitions.get(weights)
    private = uses.get(weights) == 1
    if not private or _name(call) != "where":
        return (weights if private else None), None
    condition, blank, inner = call.args
    if shape_of(inner) != shape_of(call) or number_of(blank) != 0:
        return None, None
    test: Any = definitions.get(condition)
    if _name(test) == "isnan" and test.args[0] == inner and (uses[condition], uses[inner]) == (1, 2):
        return inner, NAN
    by_row = not shape_of(condition) or shape_of(condition)[-1] == 1
    return (inner, condition) if by_row and uses[inner] == 1 else (None, None)


_UNARY: dict[str, Step] = {"tanh": tirx.tanh, "negative": lambda x: -x}
_BINARY: dict[str, Step] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "maximum": tirx.max,
    "minimum": tirx.min,
}


def _scores(
    expr: Any, definitions: Mapping[Any, Any], uses: Mapping[Any, int]
) -> tuple[Any, list[tuple[Step, tuple[Any, ...]]]] | None:
    """(the product, steps) that make an expression of logits; None if there is something else on the way."""
    call: Any = definitions.get(expr)
    if uses.get(expr) != 1:
        return None
    if _name(call) == "matmul":
        return call, []
    for inner, step, operands in _steps(call):
        if inner in definitions and shape_of(inner) == shape_of(call):
            found = _scores(inner, definitions, uses)
            if found is not None:
                return found[0], [*found[1], (step, operands)]
    return None


def _steps(call: Any) -> list[tuple[Any, Step, tuple[Any, ...]]]:
    """The ways to see a call as a step: (what of, how, the other operands)."""
    name = _name(call)
    if (scaled := scaling_of(call)) is not None:
        inner, factor = scaled
        return [(inner, lambda x: x * tirx.const(factor, "float32"), ())]
    if name in _UNARY:
        return [(call.args[0], _UNARY[name], ())]
    if name in _BINARY:
        how, (left, right) = _BINARY[name], call.args
        return [(left, how, (right,)), (right, lambda x, y: how(y, x), (left,))]
    if name == "where":
        condition, left, right = call.args
        return [
            (left, lambda x, c, y: tirx.Select(c, x, y), (condition, right)),
            (right, lambda x, c, y: tirx.Select(c, y, x), (condition, left)),
        ]
    return []


def _maker(
    found: _Attention, axes: Sequence[int], shape: tuple[int, ...], definitions: Mapping[Any, Any]
) -> Callable[[relax.BlockBuilder], Any]:
    """Emits the attention with its result's axes in another order.

    Args:
        shape: of the result before its axes are put in order, [batch…, query, element].
    """
    batch = shape[:-2]

    def make(builder: relax.BlockBuilder) -> Any:
        def window(expr: Any) -> Window:
            return window_of(expr, definitions, (*batch, *shape_of(expr)[-2:]))

        query, key, value = window(found.query), window(found.key), window(found.value)
        few = query.shape[-2] <= FEW_QUERIES
        if key.steps[-1] != 1 and not (few and key.steps[-2] == 1):
            key = _packed(builder, window_of(found.key, definitions, shape_of(found.key)), batch, "attention_keys")
        if value.steps[-1] != 1 or (not few and 4 * value.shape[-2] * value.steps[-2] > _FAR_APART):
            own = window_of(found.value, definitions, shape_of(found.value))
            value = _packed(builder, own, batch, "attention_values")
        logits = (*batch, query.shape[-2], key.shape[-1])
        steps: list[tuple[Step, int]] = []
        operands: list[Window] = []
        factor = query.factor * key.factor
        if factor != 1:
            steps.append((lambda x: x * tirx.const(factor, "float32"), 0))
        for step, exprs in found.steps:
            steps.append((step, len(exprs)))
            operands += [window_of(expr, definitions, logits, scaled=False) for expr in exprs]
        blank = found.blank
        if blank is not None and blank != NAN:
            operands.append(window_of(blank, definitions, (*logits[:-1], 1), scaled=False))
            blank = ROW
        windows = [query, key, value, *operands]
        compute = attention_program(windows, steps, blank, axes)
        return builder.call_te(compute, *(_flat(builder, w) for w in windows), primfunc_name_hint="attention")

    return make


def _flat(builder: relax.BlockBuilder, window: Window) -> Any:
    if isinstance(window.source, ir.GenericConst):
        return relax.const(np.ascontiguousarray(window.source.value.numpy()).reshape(-1), str(window.source.ty.dtype))
    if len(shape_of(window.source)) == 1:
        return window.source
    return builder.emit(relax.op.reshape(window.source, (window.size,)))


def _packed(builder: relax.BlockBuilder, window: Window, batch: tuple[int, ...], name: str) -> Window:
    """What the window shows, copied together, as a window on that broadcast to a batch."""

    def copy(source: Any) -> Any:
        return te.compute(window.shape, lambda *i: element(source, window, i), name=name)

    made = builder.emit(builder.call_te(copy, _flat(builder, window), primfunc_name_hint=name))
    whole = window_of(made, {}, (*batch, *window.shape[-2:]))
    return Window(made, 0, whole.steps, whole.shape, window.factor)
