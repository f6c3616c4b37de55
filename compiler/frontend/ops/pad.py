"""Pad; TVM's converter writes finished kernels, which no layout or fusion pass can look into."""

from __future__ import annotations

from typing import Any

import numpy as np

# ONNX's modes by TVM's names.
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def pad(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, widths, value and axes (the last two optional; all but the value constants) → x with margins.

    Negative ones cut x first.
    """
    from tvm import ir, relax

    x, widths, value, axes = (*inputs, None, None, None)[:4]
    rank = len(x.ty.shape)
    given = _values(attrs.get("pads", attrs.get("paddings")) if widths is None else widths, "widths")
    over = [int(a) % rank for a in _values(axes, "axes")] if axes is not None else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for number, axis in enumerate(over):
        before[axis], after[axis] = int(given[number]), int(given[number + len(over)])
    if min(*before, *after, 0) < 0:
        shape = [int(size) for size in x.ty.shape]
        begins = [max(-width, 0) for width in before]
        ends = [size - max(-width, 0) for size, width in zip(shape, after, strict=True)]
        x = bb.emit(relax.op.strided_slice(x, list(range(rank)), begins, ends))
    pairs = [max(width, 0) for both in zip(before, after, strict=True) for width in both]
    if not any(pairs):
        return x
    mode = attrs.get("mode", b"constant")
    mode = _MODES[mode.decode() if isinstance(mode, bytes) else mode]
    if mode == "constant" and isinstance(value, ir.Expr) and not isinstance(value, ir.GenericConst):
        return _surrounded(bb, x, pairs, value)
    fill = float(_values(value, "value").reshape(-1)[0]) if value is not None else float(attrs.get("value", 0.0))
    return bb.normalize(relax.op.nn.pad(x, pairs, mode, fill))


def _surrounded(bb: Any, x: Any, pairs: list[int], value: Any) -> Any:
    """x with margins of a value that is only known when the model runs."""
    from tvm import relax

    for axis, widths in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        shape = [int(size) for size in x.ty.shape]
        single = bb.emit(relax.op.reshape(value, [1] * len(shape)))
        sides = [
            bb.emit(relax.op.broadcast_to(single, [*shape[:axis], width, *shape[axis + 1 :]])) if width else None
            for width in widths
        ]
        parts = [part for part in (sides[0], x, sides[1]) if part is not None]
        x = bb.emit(relax.op.concat(parts, axis)) if len(parts) > 1 else x
    return x


def _values(source: Any, what: str) -> Any:
    """The numbers of an attribute or of a constant."""
    from tvm import ir

    if isinstance(source, ir.GenericConst):
        return source.value.numpy()
    if isinstance(source, ir.Expr) or source is None:
        raise ValueError(f"its {what} are not constant")
    return np.asarray(source)
