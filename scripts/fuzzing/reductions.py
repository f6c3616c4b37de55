"""Reductions, searches, running sums, and results whose size depends on the data."""

from __future__ import annotations

import numpy as np

from .builder import ALL, FLOATS, NUMBERS, Builder, Unfit, Value


def reduce(g: Builder) -> None:
    kind = g.rng.choice(("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp", "LogSum"))
    any_type = kind in ("Sum", "Max", "Min", "Mean", "Prod")
    value = g.pick((*FLOATS, "int32", "int64") if any_type else FLOATS)
    axes = g.rng.sample(range(value.rank), g.rng.randint(0, value.rank))
    if kind == "Mean" and not (value.array.size and value.dtype in FLOATS):
        raise Unfit  # of nothing, and how it is rounded: undefined
    axes = [a - value.rank if g.chance(0.3) else a for a in axes]
    attributes = {"keepdims": g.rng.randint(0, 1)} if g.chance(0.8) else {}
    if axes:
        g.add(f"Reduce{kind}", value, g.integers(*axes), **attributes)
    elif g.chance(0.5):
        g.add(f"Reduce{kind}", value, **attributes)
    else:
        g.add(f"Reduce{kind}", value, g.integers(), noop_with_empty_axes=g.rng.randint(0, 1), **attributes)


def arg(g: Builder) -> None:
    value = g.pick((*FLOATS, "int32", "int8", "uint8"), 1)
    operator = g.rng.choice(("ArgMax", "ArgMin"))
    axis = g.axis(value, lambda size: size > 0)
    g.add(operator, value, axis=axis, keepdims=g.rng.randint(0, 1), select_last_index=int(g.chance(0.3)))


def top_k(g: Builder) -> None:
    value = g.pick((*FLOATS, "int32", "int64"), 1)
    axis = g.axis(value, lambda size: size > 0)
    k = g.rng.randint(1, value.shape[axis])
    g.add("TopK", value, g.integers(k), outputs=2, axis=axis, largest=g.rng.randint(0, 1))


def cumsum(g: Builder) -> None:
    value = g.pick((*FLOATS, "int32", "int64"), 1)
    flags = {"exclusive": g.rng.randint(0, 1), "reverse": g.rng.randint(0, 1)}
    g.add("CumSum", value, g.scalar(g.axis(value)), **flags)


def counted(g: Builder) -> None:
    """Ends of graphs: what comes after may treat elements by themselves."""
    operator = g.rng.choice(("NonZero", "Compress", "Unique"))
    if operator == "NonZero":
        g.add("NonZero", _flags(g), counted=True, exact=True)
        return
    value = g.pick(NUMBERS if operator == "Compress" else ("float32", "int64", "int32"), 1, 3)
    axis = g.axis(value) if g.chance(0.6) else None
    if operator == "Compress":
        size = value.array.size if axis is None else value.shape[axis]
        if not size:
            raise Unfit
        flags = g.given(g.array((size,), "bool"), constant=False)
        g.add("Compress", value, flags, axis=axis, counted=True, exact=True)
    else:
        # With an axis, neither reference leaves the rows in their order.
        order = g.rng.randint(0, 1) if axis is None else 1
        g.add("Unique", value, outputs=g.rng.choice((1, 4)), axis=axis, sorted=order, counted=True)


def _flags(g: Builder) -> Value:
    value = g.pick(ALL, 1, 3)
    if value.dtype in FLOATS:
        other = g.given(np.array(0.1, value.dtype), constant=True)
        return g.add("Greater", value, other)[0]
    return value


RULES = ((8, reduce), (3, arg), (2, top_k), (2, cumsum), (2, counted))
