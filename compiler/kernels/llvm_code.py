"""Functions in LLVM's own language: for pairs of bfloat16, for which TVM's code generation has no types, and for
instructions that LLVM must not take apart, and for sums that may wrap around.

They become part of the code that calls them, and take words of 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

from ..target import Target

PAIRS = "edgec_pairs_"  # and how many words there are
WRAPPING = "edgec_wrapping_"  # and an operation on int32, and how many lanes there are
BYTES = "edgec_bytes_"  # and how many vectors of bytes there are of data, on ARM of 64 bits

ALIGNED = "edgec_aligned_"  # and a number of bytes, of which the function's stack is made whole multiples


def has_pairs(target: Target) -> bool:
    """Whether the target has dot products of bfloat16 in vectors as wide as its registers."""
    if target.machine == "x86_64":
        return target.has("avx512bf16") and target.simd_bits == 512
    return target.machine in ("aarch64", "arm64") and target.has("bf16")


def import_code(body: Any, target: Target) -> Any:
    """The body with the functions in front that it calls."""
    called: set[str] = set()

    def on_text(text: Any) -> None:
        if text.value.startswith(tuple(_MADE)):
            called.add(text.value)

    tvm_ffi.structural_walk(body, [(ir.StringImm, on_text)])
    for name in sorted(called):
        prefix = next(prefix for prefix in _MADE if name.startswith(prefix))
        code = _MADE[prefix](name.removeprefix(prefix), target)
        body = tirx.AttrStmt(tvm.runtime.convert("llvm"), "pragma_import_llvm", ir.StringImm(code), body)
    return body


def _pairs(count: str, target: Target) -> str:
    """sums + x[2i] w[2i] + x[2i+1] w[2i+1] of float32 sums and words of bfloat16."""
    words = int(count)
    if target.machine == "x86_64":
        name = {4: "dpbf16ps.128", 8: "dpbf16ps.256", 16: "dpbf16ps.512"}[words]
        intrinsic = f"llvm.x86.avx512bf16.{name}"
    else:
        intrinsic = {2: "llvm.aarch64.neon.bfdot.v2f32.v4bf16", 4: "llvm.aarch64.neon.bfdot.v4f32.v8bf16"}[words]
    sums, word, pairs = f"<{words} x float>", f"<{words} x i32>", f"<{2 * words} x bfloat>"
    return f"""
define {sums} @{PAIRS}{words}({sums} %sums, {word} %x, {word} %w) {{
  %a = bitcast {word} %x to {pairs}
  %b = bitcast {word} %w to {pairs}
  %made = call {sums} @{intrinsic}({sums} %sums, {pairs} %a, {pairs} %b)
  ret {sums} %made
}}
declare {sums} @{intrinsic}({sums}, {pairs}, {pairs})
"""


def _bytes(which: str, _target: Target) -> str:
    """The products of one or two vectors of bytes by weights, of which neighbours are added in 16 bits first; with
    sums, but for the `first` ones.

    LLVM would compute the products of many sums before it adds any, and run out of registers.
    """
    vectors, _, first = which.partition("_")
    count = int(vectors)
    lines = []
    for vector in range(count):
        x, w = 2 + 2 * vector, 3 + 2 * vector
        lines += [f"{'smlal' if vector else 'smull'} $1.8h, ${x}.8b, ${w}.8b", f"smlal2 $1.8h, ${x}.16b, ${w}.16b"]
    text = "\\0A".join([*lines, f"{'saddlp' if first else 'sadalp'} $0.4s, $1.8h"])
    operands = [f"<4 x i32> %{letter}{vector}" for vector in range(count) for letter in "xw"]
    given = operands if first else [*operands, "<4 x i32> %sums"]
    registers = ",".join(["=w", "=&w", *["w"] * len(operands), *([] if first else ["0"])])
    return f"""
define <4 x i32> @{BYTES}{which}({", ".join([*given[len(operands) :], *operands])}) {{
  %made = call {{ <4 x i32>, <8 x i16> }} asm "{text}", "{registers}"({", ".join(given)})
  %sum = extractvalue {{ <4 x i32>, <8 x i16> }} %made, 0
  ret <4 x i32> %sum
}}
"""


def _wrapping(which: str, _target: Target) -> str:
    operation, _, lanes = which.partition("_")
    numbers = "i32" if lanes == "1" else f"<{lanes} x i32>"
    return f"""
define {numbers} @{WRAPPING}{which}({numbers} %a, {numbers} %b) {{
  %made = {operation} {numbers} %a, %b
  ret {numbers} %made
}}
"""


def _aligned(size: str, _target: Target) -> str:
    """What lies on the stack with such an alignment, without a use.

    Without any such value LLVM does not align the stack for registers either that it has no room for, and finds so late
    that there are some: most that it moves there are then in two cache lines.
    """
    return f"""
define i32 @{ALIGNED}{size}() {{
  %place = alloca i8, align {size}
  call void asm sideeffect "", "r"(ptr %place)
  ret i32 0
}}
"""


_MADE: dict[str, Callable[[str, Target], str]] = {PAIRS: _pairs, BYTES: _bytes, WRAPPING: _wrapping, ALIGNED: _aligned}
