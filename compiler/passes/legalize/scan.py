"""Running sums and products. Along the axis in order; vectors and threads take what lies beside it."""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import around, independent, program, reshaped, serial, whole

_ROWS = 4  # that run beside each other where nothing else hides the latency of their additions


def _scan(combine: Any, start: int, name: str) -> Any:
    def scan(builder: relax.BlockBuilder, call: Any) -> Any:
        attrs, dtype = call.attrs, str(call.ty.dtype)
        sizes = [int(size) for size in call.args[0].ty.shape]
        shape = [1, int(call.ty.shape[0]), 1] if attrs.axis is None else around(sizes, int(attrs.axis) % len(sizes))
        body = _columns if shape[2] > 1 else _rows
        exclusive = bool(attrs.exclusive or 0)

        def scanned(data: Any) -> Any:
            def write(source: Any, target: Any) -> None:
                body(source, target, shape, combine, tirx.const(start, dtype), exclusive)

            return program([data], [shape], [dtype], write, name)

        data = reshaped(builder, call.args[0], shape)
        made = builder.emit(builder.call_te(scanned, data, primfunc_name_hint=name))
        return builder.normalize(relax.op.reshape(made, call.ty.shape))

    return scan


def _columns(source: Any, target: Any, shape: list[int], combine: Any, start: Any, exclusive: bool) -> None:
    outer, size, inner = shape
    last = whole(1) if exclusive else whole(0)
    with independent(outer, outer * size * inner) as o, serial(size) as step, serial(inner) as i:
        own = source[o, tirx.max(step - last, whole(0)), i].astype(str(start.ty.dtype))
        before = target[o, tirx.max(step - whole(1), whole(0)), i]
        value = tirx.if_then_else(step > 0, combine(before, own), start if exclusive else own)
        T.buffer_store(target, value, [o, step, i])


def _rows(source: Any, target: Any, shape: list[int], combine: Any, start: Any, exclusive: bool) -> None:
    outer, size, _ = shape
    rows, dtype = max(1, min(_ROWS, outer)), str(start.ty.dtype)
    with independent(-(-outer // rows), outer * size) as block:
        begin = tirx.min(block * rows, whole(outer - rows))  # the last rows may be those of the block before too
        sums = T.alloc_buffer((rows,), dtype, scope="local")
        for row in range(rows):
            T.buffer_store(sums, start, [row])
        with serial(size) as step:
            for row in range(rows):
                at = [begin + row, step, whole(0)]
                if exclusive:
                    T.buffer_store(target, sums[row], at)
                T.buffer_store(sums, combine(sums[row], source[tuple(at)].astype(dtype)), [row])
                if not exclusive:
                    T.buffer_store(target, sums[row], at)


SCANS = {
    "relax.cumsum": _scan(lambda a, b: a + b, 0, "cumsum"),
    "relax.cumprod": _scan(lambda a, b: a * b, 1, "cumprod"),
}
