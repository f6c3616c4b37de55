"""The tensor program of attention, on windows of flat memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from ..kernels.attention import INVERSE, LOGITS, MIXED, RESULT, SCORES, TOP, TOTAL, WEIGHTS
from .windows import Window

# What stands between the scores and their softmax: of an element, and the elements of other operands.
Step = Callable[..., Any]

# Which rows of the result are 0: those of NaN, or those that the last window says.
NAN, ROW = "nan", "row"


def element(source: Any, window: Window, at: Sequence[Any]) -> Any:
    """The element of a flat source that a window shows at a position."""
    offset: Any = tirx.IntImm("int64", window.offset)
    for step, position in zip(window.steps, at, strict=True):
        if step:
            offset = offset + position * tirx.IntImm("int64", step)
    return source[offset]


def attention_program(
    windows: Sequence[Window], steps: Sequence[tuple[Step, int]], blank: str | None, axes: Sequence[int]
) -> Callable[..., Any]:
    """The program of flat sources, in blocks as the kernel's rule expects them (kernels/attention.py).

    Args:
        windows: of the queries [batch…, query, element], the keys [batch…, element, key], the values
            [batch…, key, element], and of the operands of `steps`, in order, [batch…, query, key].
        steps: from the scores to the logits: how, and of how many operands.
        blank: NAN, ROW, or None for no row.
        axes: of [batch…, query, element], in the order in which the result has them.
    """
    query, key, value, *operands = windows
    *batch, queries, depth = query.shape
    keys, width = value.shape[-2:]
    rows = (*batch, queries)

    def compute(q: Any, k: Any, v: Any, *others: Any) -> Any:
        step, t, s, j = (
            te.reduce_axis((0, size), name) for size, name in zip((depth, *[keys] * 3), "dtsj", strict=True)
        )
        sources = list(zip(others, operands, strict=True))

        def score(*i: Any) -> Any:
            return te.sum(element(q, query, (*i[:-1], step)) * element(k, key, (*i[:-2], step, i[-1])), step)

        def logit(*i: Any) -> Any:
            x, rest = scores(*i), sources
            for how, count in steps:
                taken, rest = rest[:count], rest[count:]
                x = how(x, *(element(source, window, i) for source, window in taken))
            return x

        def mixture(*i: Any) -> Any:
            return te.sum(weights(*i[:-1], j) * element(v, value, (*i[:-2], j, i[-1])), j)

        def result(*i: Any) -> Any:
            at = [i[list(axes).index(axis)] for axis in range(len(axes))]
            found, zero = mixed(*at) * inverse(*at[:-1]), tirx.const(0.0, "float32")
            if blank == NAN:  # a sum of exponentials that is no number is not positive either
                return tirx.Select(total(*at[:-1]) > zero, found, zero)
            return tirx.Select(element(*sources[-1], (*at[:-1], 0)), zero, found) if blank == ROW else found

        scores = te.compute((*rows, keys), score, name=SCORES)
        logits = te.compute((*rows, keys), logit, name=LOGITS)
        top = te.compute(rows, lambda *i: te.max(logits(*i, t), t), name=TOP)
        weights = te.compute((*rows, keys), lambda *i: tirx.exp(logits(*i) - top(*i[:-1])), name=WEIGHTS)
        total = te.compute(rows, lambda *i: te.sum(weights(*i, s), s), name=TOTAL)
        inverse = te.compute(rows, lambda *i: tirx.const(value.factor, "float32") / total(*i), name=INVERSE)
        mixed = te.compute((*rows, width), mixture, name=MIXED)
        shape = (*rows, width)
        return te.compute([shape[axis] for axis in axes], result, name=RESULT)

    return compute
