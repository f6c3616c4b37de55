"""Functions in LLVM's own language, for what TVM's code generation has no types for: pairs of bfloat16.

They become part of the code that calls them, and take words of 32 bits.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

from ..target import Target

PAIRS = "edgec_pairs_"  # and how many words there are


def has_pairs(target: Target) -> bool:
    """Whether the target has dot products of bfloat16 in vectors as wide as its registers."""
    if target.machine == "x86_64":
        return target.has("avx512bf16") and target.simd_bits == 512
    return target.machine in ("aarch64", "arm64") and target.has("bf16")


def import_code(body: Any, target: Target) -> Any:
    """The body with the functions in front that it calls."""
    called: set[str] = set()

    def on_text(text: Any) -> None:
        if text.value.startswith(PAIRS):
            called.add(text.value)

    tvm_ffi.structural_walk(body, [(ir.StringImm, on_text)])
    for name in sorted(called):
        code = _pairs(int(name.removeprefix(PAIRS)), target)
        body = tirx.AttrStmt(tvm.runtime.convert("llvm"), "pragma_import_llvm", ir.StringImm(code), body)
    return body


def _pairs(words: int, target: Target) -> str:
    """sums + x[2i] w[2i] + x[2i+1] w[2i+1] of float32 sums and words of bfloat16."""
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
