"""Pad; TVM's converter writes finished kernels, which no layout or fusion pass can look into."""

from __future__ import annotations

from typing import Any

import numpy as np

# ONNX's modes by TVM's names.
_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def pad(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, widths, value and axes (constants, the last two optional) → x with margins; negative ones cut it first."""
    from tvm import relax

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
    fill = float(_values(value, "value").reshape(-1)[0]) if value is not None else float(attrs.get("value", 0.0))
    mode = _MODES[mode.decode() if isinstance(mode, bytes) else mode]
    return bb.normalize(relax.op.nn.pad(x, pairs, mode, fill))


def _values(source: Any, what: str) -> Any:
    """The numbers of an attribute or of a constant."""
    from tvm import ir

    if isinstance(source, ir.GenericConst):
        return source.value.numpy()
    if isinstance(source, ir.Expr) or source is None:
        raise ValueError(f"its {what} are not constant")
    return np.asarray(source)
