"""Where flags are set."""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from .by_hand import independent, program, serial, whole
from .define import define

POSITIONS = "edgec.positions"


def positions(flags: Any) -> Any:
    """bool [n] → (int64 [n]: where they are set, in order, with zeros behind; int64 []: how many are)."""
    return _call(flags)


def _infer_type(call: Any) -> Any:
    return relax.TupleType([relax.TensorType(call.args[0].ty.shape, "int64"), relax.TensorType([], "int64")])


def _write(flags: Any, found: Any, count: Any) -> None:
    size = int(flags.shape[0])
    with independent(1, size):  # the next place depends on all flags before
        T.buffer_store(count, whole(0), [])
        # Every position is written, and the next one over it unless its flag is set: no branch to mispredict.
        with serial(size) as at:
            T.buffer_store(found, at, [count[()]])
            T.buffer_store(count, count[()] + flags[at].astype("int64"), [])
        with serial(size) as at:
            T.buffer_store(found, tirx.if_then_else(at < count[()], found[at], whole(0)), [at])


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    def listed(flags: Any) -> Any:
        return program([flags], [list(map(int, flags.shape)), []], ["int64", "int64"], _write, "positions")

    return builder.call_te(listed, call.args[0], primfunc_name_hint="positions")


_call = define(POSITIONS, _infer_type, _legalize)
