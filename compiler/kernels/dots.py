"""Sums of products of narrow numbers, several of them at once, as instructions for dot products have it.

Data and weights travel in words of 32 bits, of four 8-bit integers, two of 16 bits, or two bfloat16 each. To a schedule
a word is a number like any other: `dot(x, w)` of two words is what a multiplication is for float32, it has as many
lanes, and a loop over it becomes vectors the same way. What is behind it comes out late (`lower_dots`): the target's
instructions (dots_x86.py, dots_arm.py), else the products one by one, all exact in int32; of bfloat16 `vdpbf16ps`
(AVX512-BF16) or `bfdot` (Armv8.6), whose sums are float32 and rounded as the CPU does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import ir, sym, tirx

from ..target import Target
from . import dots_arm, dots_x86
from .llvm_code import PAIRS, import_code
from .lowering import define_operator, is_call, nodes_of, program_pass, statements_of, width_of, with_body
from .vectors import shuffle
from .weight_limit import WORD

_WORD, _PAIR, _DOT, _ACROSS = "edgec.word", "edgec.pair", "edgec.dot_", "edgec.across"
_MATRIX = "int8_matrix"


define_operator(_WORD, WORD)
define_operator(_PAIR, WORD // 2)
define_operator(_ACROSS, WORD)
for _kind in ("uint8", "uint8_small", "int8", "int8_partial", "int8_partial_wide", "int16", "bfloat16"):
    define_operator(_DOT + _kind, 2)
define_operator(_DOT + "int8_twice", 4)
define_operator(_DOT + _MATRIX, 9)


def word(elements: list[Any]) -> Any:
    """Four 8-bit integers, two of 16 bits, or the bits of two bfloat16, as one int32, the first in the lowest bits."""
    return ir.Call(ir.Op.get(_WORD if len(elements) == WORD else _PAIR), elements, ret_ty=ir.PrimType("int32"))


def dot(data: Any, weights: Any, kind: str) -> Any:
    """The sum of the products of two words of data and weights.

    Args:
        kind: `uint8` or `int8`, the type of data, for int8 weights and an int32 sum; `uint8_small` with weights of
            which no two, the first two or the last two of a word, reach 2^15 with any data. `int8_partial`: of four
            words in a row the sums may come out with products changed for those of others, so that only the sum of all
            is right; with weights from -127 on, else `int8_partial_wide`. `int16` for both and an int32 sum; `bfloat16`
            for both and a float32 sum.
    """
    made = "float32" if kind == "bfloat16" else "int32"
    return ir.Call(ir.Op.get(_DOT + kind), [data, weights], ret_ty=ir.PrimType(made))


def dot_of_two(data: Any, weights: Any, more_data: Any, more_weights: Any) -> Any:
    """The sum of the products of two words of int8 data and weights each, of which four words in a row make vectors.

    Like `int8_partial`, for weights of which the products of both vectors' halves have a sum of 16 bits. Data that are
    zeros when it is lowered take no instruction.
    """
    operator = ir.Op.get(f"{_DOT}int8_twice")
    return ir.Call(operator, [data, weights, more_data, more_weights], ret_ty=ir.PrimType("int32"))


def dot_of_matrices(rows: list[Any], columns: list[Any], place: Any) -> Any:
    """One of the four sums of products of two rows of int8 data by two columns of weights, [row, column].

    Where `place` runs from 0 to 3 in a vector, and nothing else changes along it, that is one instruction.

    Args:
        rows, columns: two words of the first one, two of the second one.
    """
    return ir.Call(ir.Op.get(_DOT + _MATRIX), [*rows, *columns, place], ret_ty=ir.PrimType("int32"))


def across(partial: list[Any]) -> Any:
    """The sum of four int32 that lie in a row."""
    return ir.Call(ir.Op.get(_ACROSS), partial, ret_ty=ir.PrimType("int32"))


# The dot products added to sums: of data and weights, or of these and more of both; vectors of words, or single ones.
_Instruction = Callable[..., Any]


def lower_dots(target: Target) -> Any:
    """The pass that replaces words and dot products; after loops have become vectors, before TVM lowers intrinsics."""

    def lower(func: Any) -> Any:
        # To look for them takes one walk through the program, to replace them five.
        if not nodes_of(func.body, ir.Call, lambda call: is_call(call, _WORD, _PAIR, _DOT, _ACROSS)):
            return func
        body = tvm_ffi.structural_map(func.body, [(tirx.SeqStmt, _begun)])
        body = tvm_ffi.structural_map(body, [(tirx.Add, lambda add: _added(add, target))])
        body = tvm_ffi.structural_map(body, [(ir.Call, lambda call: _alone(call, target))])
        body = tvm_ffi.structural_map(body, [(ir.Call, lambda call: _whole(call, target))])
        return with_body(func, import_code(tvm_ffi.structural_map(body, [(ir.Call, _load)]), target))

    return program_pass(lower)


def _begun(sequence: Any) -> Any:
    """Stores of zeros, to which the next store to that place adds a dot product, left out."""
    statements = list(statements_of(sequence))
    zeros: dict[tuple[Any, ...], int] = {}
    for number, store in enumerate(statements):
        if not isinstance(store, tirx.BufferStore):
            zeros.clear()  # it may read what was stored
            continue
        place = (store.buffer, *map(tvm_ffi.StructuralKey, store.indices))
        if _is_zero(store.value):
            zeros[place] = number
        elif place in zeros and isinstance(store.value, tirx.Add) and is_call(store.value.b, _DOT):
            statements[zeros.pop(place)] = None
            statements[number] = tirx.BufferStore(store.buffer, store.value.b, store.indices)
    kept = [statement for statement in statements if statement is not None]
    return sequence if len(kept) == len(statements) else tirx.SeqStmt(kept)


def _added(add: Any, target: Target) -> Any:
    for sums, call in ((add.a, add.b), (add.b, add.a)):
        if is_call(call, _DOT):
            return _instruction(call, target)(sums, *call.args)
    return add


def _alone(call: Any, target: Target) -> Any:
    if not is_call(call, _DOT):
        return call
    return _instruction(call, target)(tirx.const(0, str(call.ty.dtype)), *call.args)


def _instruction(call: Any, target: Target) -> _Instruction:
    kind, lanes = call.op.name.removeprefix(_DOT), width_of(call)
    if kind == _MATRIX:
        return lambda sums, *words: _add_matrices(sums, words[:4], words[4:8], words[8], target)
    if kind == "bfloat16":
        return lambda sums, x, w: tirx.call_pure_extern(str(sums.ty.dtype), f"{PAIRS}{lanes}", sums, x, w)
    if kind == "int8_twice":
        if _is_zero_word(call.args[2]):
            part = ir.Call(ir.Op.get(f"{_DOT}int8_partial"), call.args[:2], ret_ty=call.ty)
            one = _instruction(part, target)
            return lambda sums, x, w, _y, _v: one(sums, x, w)
        found = dots_arm.instruction(target, kind, lanes) if target.machine in dots_arm.MACHINES else None
        if found is None:
            return lambda sums, x, w, y, v: _one_by_one(_one_by_one(sums, x, w, "int8"), y, v, "int8")
        return found
    found = None
    if target.machine == "x86_64":
        found = dots_x86.instruction(target, kind, lanes)
    elif target.machine in dots_arm.MACHINES:
        found = dots_arm.instruction(target, kind, lanes)
    return found or (lambda sums, x, w: _one_by_one(sums, x, w, kind))


def _add_matrices(sums: Any, rows: Sequence[Any], columns: Sequence[Any], place: Any, target: Target) -> Any:
    """A vector of all four sums at once if there is an instruction, else each of them by itself."""
    four = (
        isinstance(place, tirx.Ramp) and _equal(place.base, 0) and _equal(place.stride, 1) and width_of(place) == WORD
    )
    if four and dots_arm.multiplies_matrices(target) and all(isinstance(x, tirx.Broadcast) for x in (*rows, *columns)):
        data = shuffle([_joined([x.value for x in row]) for row in (rows[:2], rows[2:])], range(4))
        return dots_arm.add_matrices(sums, data, _joined([w.value for w in columns]))
    one = tirx.const(1, str(place.ty.dtype))
    second_row, second_column = tirx.shift_right(place, one) > 0, tirx.bitwise_and(place, one) > 0
    for word in range(2):
        x = tirx.Select(second_row, rows[2 + word], rows[word])
        w = tirx.Select(second_column, columns[2 + word], columns[word])
        sums = _one_by_one(sums, x, w, "int8")
    return sums


def _joined(words: list[Any]) -> Any:
    """Words as a vector, which is one load if they lie side by side in memory."""
    parts = [part for x in words for part in (x.args if is_call(x, _WORD) else [x])]
    begin = _run(parts, 1)
    if begin is None:
        return shuffle(words, range(len(words)))
    first = _bare(parts[0])
    ramp = tirx.Ramp(begin, tirx.const(1, str(begin.ty.dtype)), len(parts))
    return _as(f"int32x{len(words)}", tirx.BufferLoad(first.source, [*first.indices[:-1], ramp]))


def _whole(call: Any, target: Target) -> Any:
    """The sums of runs of four."""
    if not is_call(call, _ACROSS):
        return call
    begin = _run(call.args, width_of(call))
    if begin is not None and target.machine in dots_arm.MACHINES and width_of(call) > 1:
        return dots_arm.sum_across(call.args[0], begin, width_of(call), target)
    a, b, c, d = call.args
    return (a + b) + (c + d)


def _one_by_one(sums: Any, x: Any, w: Any, kind: str) -> Any:
    count = 2 if kind == "int16" else WORD
    for place in range(count):
        sums = sums + _part(x, place, count, kind.startswith("int")) * _part(w, place, count, True)
    return sums


def _part(words: Any, place: int, count: int, signed: bool) -> Any:
    """One of `count` integers of each word as int32."""
    dtype, bits = str(words.ty.dtype), 8 * WORD // count
    rest = tirx.const(8 * WORD - bits, dtype)
    if not signed:
        return tirx.bitwise_and(tirx.shift_right(words, tirx.const(bits * place, dtype)), tirx.const(255, dtype))
    return tirx.shift_right(tirx.shift_left(words, rest - tirx.const(bits * place, dtype)), rest)


def _as(dtype: str, value: Any) -> Any:
    return tirx.reinterpret(dtype, value)


def _load(call: Any) -> Any:
    """One load of a word whose elements are read from memory side by side; else their bits put together."""
    if not is_call(call, _WORD, _PAIR):
        return call
    lanes, count = width_of(call), len(call.args)
    bits = 8 * WORD // count
    dtype = f"int32x{lanes}" if lanes > 1 else "int32"
    begin = _run(call.args, lanes)
    if begin is not None:
        load = _bare(call.args[0])
        ramp = tirx.Ramp(begin, tirx.const(1, str(begin.ty.dtype)), count * lanes)
        return _as(dtype, tirx.BufferLoad(load.source, [*load.indices[:-1], ramp]))
    result: Any = None
    for place, element in enumerate(call.args):
        if _is_zero(element):
            continue
        part = tirx.bitwise_and(tirx.Cast(dtype, element), tirx.const((1 << bits) - 1, dtype))
        shifted = tirx.shift_left(part, tirx.const(bits * place, dtype))
        result = shifted if result is None else tirx.bitwise_or(result, shifted)
    return result


def _is_zero_word(value: Any) -> bool:
    return is_call(value, _WORD) and all(_is_zero(element) for element in value.args)


def _is_zero(value: Any) -> bool:
    value = value.value if isinstance(value, tirx.Broadcast) else value
    return isinstance(value, tirx.IntImm) and int(value.value) == 0


def _run(elements: Sequence[Any], lanes: int) -> Any:
    """Where in a buffer the elements of so many words lie one after the other; None if they do not."""
    count, elements = len(elements), [_bare(element) for element in elements]
    if not all(isinstance(e, ir.TensorLoad) and e.source.same_as(elements[0].source) for e in elements):
        return None
    places = [e.indices[-1] for e in elements]
    if lanes > 1:
        if not all(isinstance(p, tirx.Ramp) and _equal(p.stride, count) for p in places):
            return None
        places = [p.base for p in places]
    return places[0] if all(_equal(place - places[0], i) for i, place in enumerate(places)) else None


def _bare(element: Any) -> Any:
    """What the bits of an element are taken of, if it is bits."""
    return element.args[0] if is_call(element, "tirx.reinterpret") else element


def _equal(expr: Any, value: int) -> bool:
    return bool(sym.Analyzer().can_prove_equal(expr, tirx.const(value, str(expr.ty.dtype))))
