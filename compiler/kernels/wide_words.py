"""Dot products of words whose data are four vectors of bytes, of four registers of words at once.

Word i has byte i of each vector, and several sums need the same words, which are made once. Instructions that
interleave the halves of 128 bits of two vectors make the words in half as many steps as there are to widen each byte by
itself; the parts of each vector are ordered before, so that the words come out in order.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .dots import word
from .llvm_code import ALIGNED
from .lowering import define_operator, is_call, program_pass, statements_of, width_of, with_body
from .pieces import piece
from .vectors import shuffle
from .weight_limit import WORD

_REGISTER = "edgec.register_of_words"
_PART = 16  # bytes of the parts that are interleaved by themselves

define_operator(_REGISTER, 1 + WORD)


def split_wide_words(target: Target) -> Any:
    """The pass that makes sums of so many words of single registers; for x86, after loops have become vectors."""
    lanes = target.simd_bits // 32

    def on_store(store: Any) -> Any:
        width, value = width_of(store.value), store.value
        if str(value.ty.dtype) != f"int32x{width}":
            return store
        sums = isinstance(value, tirx.Add) and is_call(value.b, "edgec.dot_") and is_call(value.b.args[0], "edgec.word")
        if width <= lanes and sums and _is_run(value.b.args[0].args[0]):
            return tirx.BufferStore(store.buffer, _part(value, 0, width), store.indices)
        if width <= lanes or width % lanes:
            return store
        begins = range(0, width, lanes)
        if sums:
            parts = [_part(value, number, lanes) for number in range(width // lanes)]
        elif isinstance(value, tirx.Broadcast) and isinstance(value.value, tirx.IntImm):
            parts = [piece(value, begin, lanes) for begin in begins]
        else:
            return store
        places = [[piece(index, begin, lanes) for index in store.indices] for begin in begins]
        stores = [tirx.BufferStore(store.buffer, part, place) for part, place in zip(parts, places, strict=True)]
        return tirx.SeqStmt(stores)

    def split(func: Any) -> Any:
        return with_body(func, tvm_ffi.structural_map(func.body, [(tirx.BufferStore, on_store)]))

    return program_pass(split if target.machine == "x86_64" else lambda func: func)


def _part(value: Any, number: int, lanes: int) -> Any:
    """A register of sums and dot products, with one of the registers that `interleave_words` makes of their words."""
    words, weights = value.b.args[0].args, piece(value.b.args[1], number * lanes, lanes)
    data = ir.Call(ir.Op.get(_REGISTER), [tirx.const(number, "int32"), *words], ret_ty=weights.ty)
    return piece(value.a, number * lanes, lanes) + ir.Call(value.b.op, [data, weights], ret_ty=weights.ty)


def interleave_words(target: Target) -> Any:
    """The pass that makes the registers of words, once for all sums of a block that need them; for x86, after
    unrolling."""
    size = target.simd_bits // 8

    def on_loop(loop: Any) -> Any:
        body = _with_words(loop.body, size)
        if body.same_as(loop.body):
            return loop
        return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)

    def on_branch(branch: Any) -> Any:
        cases = [case and _with_words(case, size) for case in (branch.then_case, branch.else_case)]
        return tirx.IfThenElse(branch.condition, *cases)

    def interleave(func: Any) -> Any:
        body = tvm_ffi.structural_map(func.body, [(tirx.For, on_loop), (tirx.IfThenElse, on_branch)])
        return with_body(func, _with_words(body, size))

    return program_pass(interleave if target.machine == "x86_64" else lambda func: func)


def _with_words(body: Any, size: int) -> Any:
    """The statements of a body, which have their words before them."""
    made: list[Any] = []
    known: dict[tuple[Any, ...], list[Any]] = {}

    def on_call(call: Any) -> Any:
        if not is_call(call, _REGISTER):
            return call
        number, *taps = call.args
        key = tuple(map(tvm_ffi.StructuralKey, taps))
        if key not in known:
            known[key] = _registers(taps, width_of(call), made)
        return known[key][int(number)]

    for statement in statements_of(body):
        plain = isinstance(statement, tirx.BufferStore)
        changed = tvm_ffi.structural_map(statement, [(ir.Call, on_call)]) if plain else statement
        made.append(changed)
    if not known:
        return body
    return tirx.SeqStmt([tirx.Evaluate(tirx.call_extern("int32", f"{ALIGNED}{size}")), *made])


def _registers(taps: list[Any], lanes: int, made: list[Any]) -> list[Any]:
    """The registers of words of four taps, whose statements join those that are made."""

    def bind(value: Any) -> Any:
        made.append(tirx.Bind(tirx.Var("words", str(value.ty.dtype)), value))
        return made[-1].var

    if width_of(taps[0]) != WORD * lanes or not all(map(_is_run, taps)):
        begins, operator = range(0, width_of(taps[0]), lanes), word(taps).op
        pieces = [[piece(x, begin, lanes) for x in taps] for begin in begins]
        return [bind(ir.Call(operator, own, ret_ty=ir.PrimType(f"int32x{lanes}"))) for own in pieces]
    width, parts = WORD * lanes, lanes // WORD  # of each vector
    order = [parts * group + part for part in range(parts) for group in range(WORD)]
    taps = [x if _is_zero(x) else bind(_as("uint8", width, shuffle([_as("int32", lanes, x)], order))) for x in taps]
    pairs = [map(bind, _interleaved(a, b, _PART)) for a, b in (taps[:2], taps[2:])]  # the first taps and the last ones
    halves = [[_as("int16", width // 2, x) for x in pair] for pair in zip(*pairs, strict=True)]
    words = [x for a, b in halves for x in _interleaved(a, b, _PART // 2)]
    return [bind(_as("int32", lanes, x)) for x in words]


def _interleaved(a: Any, b: Any, part: int) -> list[Any]:
    """Elements of two vectors in turns: those of the first halves of each part, and of the second ones."""
    width, half = width_of(a), part // 2
    firsts = [at for begin in range(0, width, part) for at in range(begin, begin + half)]
    return [shuffle([a, b], [at + more + which for at in firsts for which in (0, width)]) for more in (0, half)]


def _as(dtype: str, lanes: int, value: Any) -> Any:
    return tirx.reinterpret(f"{dtype}x{lanes}", value)


def _is_zero(value: Any) -> bool:
    return isinstance(value, tirx.Broadcast) and isinstance(value.value, tirx.IntImm) and not int(value.value)


def _is_run(value: Any) -> bool:
    """Whether it is a vector that lies in memory as it is, or zeros."""
    if not isinstance(value, ir.TensorLoad):
        return _is_zero(value)
    ramp = value.indices[-1]
    return isinstance(ramp, tirx.Ramp) and isinstance(ramp.stride, tirx.IntImm) and int(ramp.stride) == 1
