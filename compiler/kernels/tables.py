"""Tables of 256 bytes, read at 8-bit positions: by the instructions that permute bytes of vector registers.

`vpermi2b` (AVX512-VBMI) reads half of a table at once, ARM's `tbl` and `tbx` a quarter of it, or an eighth on 32 bits,
and leave out what lies beyond. `pshufb` (SSSE3, AVX2, AVX512-BW) reads sixteen bytes, and gives 0 where a position is
negative: positions less 16, 32, … that saturate, in tables of which each is the difference to the one before, add up
to the entry (Muła, "SIMD-ized check which bytes are in a set", 2018, uses the same instruction so). Other machines,
and loops that are no vectors, load entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .lowering import program_pass, width_of, with_body
from .scalars import is_scalar
from .vectors import load_vector, shuffle

SIZE = 256  # bytes of a table

# The entries at positions, a vector of bytes; both have the type uint8.
_Read = Callable[[Any, Any], Any]


def is_look_up(load: Any) -> bool:
    """Whether a load is of an entry of a table, at a position that is a byte."""
    if not _is_table(load.source):
        return False
    (position,) = load.indices
    return isinstance(position, tirx.Cast) and str(position.value.ty.dtype).startswith("uint8")


def _is_table(buffer: Any) -> bool:
    if str(buffer.ty.dtype) not in ("int8", "uint8"):
        return False
    shape = buffer.ty.shape
    return len(shape) == 1 and isinstance(shape[0], tirx.IntImm) and int(shape[0].value) == SIZE


def lower_tables(target: Target) -> Any:
    """The pass that reads tables so; after loops have become vectors, before TVM lowers intrinsics."""
    form = _form(target)

    def on_load(load: Any) -> Any:
        if width_of(load) == 1 or not is_look_up(load):
            return load
        assert form is not None
        lanes, read = form
        return tirx.reinterpret(str(load.ty.dtype), _in_pieces(load.source, load.indices[0].value, lanes, read))

    def lower(func: Any) -> Any:
        if form is None or not any(_is_table(param) for param in func.params if not is_scalar(param)):
            return func
        return with_body(func, tvm_ffi.structural_map(func.body, [(ir.TensorLoad, on_load)]))

    return program_pass(lower)


def _form(target: Target) -> tuple[int, _Read] | None:
    """Positions that are read at once, and how."""
    if target.machine in ("aarch64", "arm64"):
        return 16, _a64
    if target.machine == "armv7l" and target.has("neon"):
        return 16, _a32
    if target.machine != "x86_64":
        return None
    lanes = target.simd_bits // 8
    if lanes == 64 and target.has("avx512vbmi"):
        return 64, _halves
    shuffles = {
        64: ("avx512bw", "llvm.x86.avx512.pshuf.b.512"),
        32: ("avx2", "llvm.x86.avx2.pshuf.b"),
        16: ("ssse3", "llvm.x86.ssse3.pshuf.b.128"),
    }
    while lanes >= 16:
        feature, name = shuffles[lanes]
        if target.has(feature):
            return lanes, lambda table, at, name=name, lanes=lanes: _sixteenths(table, at, name, lanes)
        lanes //= 2
    return None


def _in_pieces(table: Any, positions: Any, lanes: int, read: _Read) -> Any:
    """The entries at any number of positions, a power of two."""
    count = width_of(positions)
    whole = tirx.Var("positions", str(positions.ty.dtype))
    if count < lanes:
        wide = shuffle([whole] * (lanes // count), range(lanes))
        entries = shuffle([_bound(wide, lambda at: read(table, at))], range(count))
    elif count == lanes:
        entries = read(table, whole)
    else:
        parts = [shuffle([whole], range(begin, begin + lanes)) for begin in range(0, count, lanes)]
        entries = shuffle([_bound(part, lambda at: read(table, at)) for part in parts], range(count))
    return tirx.Let(whole, positions, entries)


def _bound(value: Any, body: Callable[[Any], Any]) -> Any:
    """`body` over a variable, so that a value used more than once is computed once."""
    variable = tirx.Var("at", str(value.ty.dtype))
    return tirx.Let(variable, value, body(variable))


def _piece(table: Any, begin: int, lanes: int) -> Any:
    return _bytes(load_vector(table, begin, lanes))


def _bytes(vector: Any) -> Any:
    dtype = str(vector.ty.dtype)
    return vector if dtype.startswith("uint8") else tirx.reinterpret(f"u{dtype}", vector)


def _halves(table: Any, at: Any) -> Any:
    first, second = (
        _call(64, "llvm.x86.avx512.vpermi2var.qi.512", _piece(table, begin, 64), at, _piece(table, begin + 64, 64))
        for begin in (0, 128)
    )
    return tirx.Select(at < tirx.const(128, "uint8x64"), first, second)


def _sixteenths(table: Any, at: Any, name: str, lanes: int) -> Any:
    pieces = [
        shuffle([_piece(table, begin, 16)] * (lanes // 16), range(lanes)) if lanes > 16 else _piece(table, begin, 16)
        for begin in range(0, SIZE, 16)
    ]
    signed = f"llvm.ssub.sat.v{lanes}i8"
    entries = []
    for half in (0, 8):
        # In the other half positions are negative.
        own = tirx.bitwise_xor(at, tirx.const(128, f"uint8x{lanes}")) if half else at
        for number in range(8):
            piece = pieces[half + number]
            piece = tirx.bitwise_xor(piece, pieces[half + number - 1]) if number else piece
            less = _call(lanes, signed, own, tirx.const(16 * number, f"uint8x{lanes}")) if number else own
            entries.append(_call(lanes, name, piece, less))
    return reduce(tirx.bitwise_xor, entries)


def _a64(table: Any, at: Any) -> Any:
    entries = None
    for quarter in range(4):
        pieces = [_piece(table, 64 * quarter + begin, 16) for begin in range(0, 64, 16)]
        less = at - tirx.const(64 * quarter, "uint8x16") if quarter else at
        if entries is None:
            entries = _call(16, "llvm.aarch64.neon.tbl4.v16i8", *pieces, less)
        else:
            entries = _call(16, "llvm.aarch64.neon.tbx4.v16i8", entries, *pieces, less)
    return entries


def _a32(table: Any, at: Any) -> Any:
    entries: list[Any] = [None, None]
    for eighth in range(8):
        pieces = [_piece(table, 32 * eighth + begin, 8) for begin in range(0, 32, 8)]
        less = at - tirx.const(32 * eighth, "uint8x16") if eighth else at
        for half in (0, 1):
            own = shuffle([less], range(8 * half, 8 * half + 8))
            before = entries[half]
            entries[half] = (
                _call(8, "llvm.arm.neon.vtbl4", *pieces, own)
                if before is None
                else _call(8, "llvm.arm.neon.vtbx4", before, *pieces, own)
            )
    return shuffle(entries, range(16))


def _call(lanes: int, name: str, *values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(f"uint8x{lanes}", name, *values)
