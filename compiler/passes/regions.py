"""Tensor programs that copy into a part of a tensor, copy a part out of one, or fill what is around a part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

# Attributes of the programs that copy: where the part begins in the larger tensor.
PASTE = "edgec.paste"
CUT = "edgec.cut"

_OPAQUE = 8  # TVM's kOpaque: they stay apart, for the memory plan to see

Shape = Sequence[int]


def paste(shape: Shape, whole: Shape, begins: Shape, dtype: str) -> Any:
    """(x of `shape`, y of `whole`): y[begins + i] = x[i]; the rest of y stays."""

    def body(x: Any, y: Any) -> None:
        _blocks("paste", shape, lambda at: T.buffer_store(y, x[tuple(at)], _moved(at, begins)))

    return _program([shape, whole], dtype, body, {PASTE: list(begins)})


def cut(whole: Shape, shape: Shape, begins: Shape, dtype: str) -> Any:
    """(x of `whole`, y of `shape`): y[i] = x[begins + i]."""

    def body(x: Any, y: Any) -> None:
        _blocks("cut", shape, lambda at: T.buffer_store(y, x[tuple(_moved(at, begins))], at))

    return _program([whole, shape], dtype, body, {CUT: list(begins)})


def border(whole: Shape, shape: Shape, begins: Shape, value: Any, dtype: str) -> Any:
    """(y of `whole`): every element but those of the part of `shape` at `begins` is `value`."""

    def body(y: Any) -> None:
        # Axis by axis, what is before and after the part; along the axes before, the part itself.
        for axis, (begin, size) in enumerate(zip(begins, shape, strict=True)):
            for first, count in ((0, begin), (begin + size, whole[axis] - begin - size)):
                extents = [*shape[:axis], count, *whole[axis + 1 :]]
                start = [*begins[:axis], first, *[0] * (len(whole) - axis - 1)]
                if math.prod(extents):
                    _blocks(
                        f"border{2 * axis + (first > 0)}",
                        extents,
                        lambda at, start=start: T.buffer_store(y, tirx.const(value, dtype), _moved(at, start)),
                    )

    return _program([whole], dtype, body, {})


def _program(shapes: Sequence[Shape], dtype: str, body: Any, attrs: dict[str, Any]) -> Any:
    with IRBuilder() as builder:
        with T.prim_func(is_private=True, s_tir=True):
            T.func_name("main")
            params = [
                T.arg(f"p{i}", T.buffer([tirx.IntImm("int64", d) for d in shape], dtype))
                for i, shape in enumerate(shapes)
            ]
            T.func_attr({"op_pattern": _OPAQUE, "tirx.noalias": True, **attrs})
            body(*params)
        return builder.get()


def _blocks(name: str, extents: Shape, store: Any) -> None:
    """A nest of loops around one block; `store` writes it for an index."""
    with T.grid(*[tirx.IntImm("int64", extent) for extent in extents]) as loops, T.sblock(name):
        at = T.axis.remap("S" * len(extents), _list(loops))
        store(_list(at))


def _list(variables: Any) -> list[Any]:
    return [variables] if isinstance(variables, ir.Var) else list(variables)


def _moved(at: Sequence[Any], begins: Shape) -> list[Any]:
    return [index + begin if begin else index for index, begin in zip(at, begins, strict=True)]
