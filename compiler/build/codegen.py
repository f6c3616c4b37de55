"""A scheduled tensor program to a native object file that holds one plain C function.

TVM wraps kernels in its packed calling convention, which needs TVM's runtime on the device. The pass here
gives them the bare one instead: `int32_t SYMBOL(void *a0, …)`, all pointers 64-byte aligned and free of
aliases, 0 for success.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, s_tir, tirx

from ..kernels.bfloat16 import convert_bfloat16, round_to_bfloat16
from ..kernels.dots import lower_dots
from ..kernels.float16 import convert_float16
from ..kernels.lowering import node_pass, program_pass
from ..kernels.nested_math import separate_nested_math
from ..kernels.peel import peel_last
from ..kernels.quotients import divide_bounded
from ..kernels.requantise import requantise
from ..kernels.scalars import is_scalar
from ..kernels.tables import lower_tables
from ..kernels.vector_math import call_double_math, expand_math
from ..kernels.vectors import substitute
from ..kernels.wide_words import interleave_words, split_wide_words
from ..kernels.wrapping import lower_wrapping
from ..target import Target
from .llvm_options import LLVM, options_for
from .memory import ALIGNMENT


def compile_kernel(func: Any, symbol: str, target: Target, aliases: bool = False) -> bytes:
    """The object file of a scheduled PrimFunc, as the C function `symbol`; may be called by several threads at once.

    Args:
        aliases: the result may be the memory of an argument.

    Raises:
        tvm.error.TVMError: TVM or LLVM cannot generate code for it.
    """
    module = lower_kernel(func, symbol, target, aliases)
    options = [*target.tvm_target().get("cl-opt", []), *options_for(module)]
    tvm_target = tvm.target.Target(target.tvm_target() | ({"cl-opt": options} if options else {}))
    with tvm_target, LLVM.enter(alone=bool(options)):
        build = tvm_ffi.get_global_func("target.build.llvm")
        return _object_file(build(module, tvm_target.with_host(tvm_target)))


def _object_file(module: Any) -> bytes:
    """The object file of a runtime module.

    LLVM ends the process if it cannot write a file, as on a full disk: where there are files in memory, it gets one.
    """
    if hasattr(os, "memfd_create"):  # not on macOS
        with open(os.memfd_create("kernel.o"), "rb") as file:
            module.write_to_file(f"/proc/self/fd/{file.fileno()}", "o")
            return file.read()
    with tempfile.TemporaryDirectory(prefix="edgec-kernel-") as folder:
        path = Path(folder, "kernel.o")
        module.write_to_file(str(path), "o")
        return path.read_bytes()


def lower_kernel(func: Any, symbol: str, target: Target, aliases: bool = False) -> Any:
    """The module with a scheduled PrimFunc alone, in loops and vectors, as LLVM's code generation takes it."""
    tvm_target = tvm.target.Target(target.tvm_target())
    tvm_target = tvm_target.with_host(tvm_target)
    func = func.with_attr({"global_symbol": symbol, "tirx.noalias": not aliases})
    module = tvm.IRModule({ir.GlobalVar(symbol): func})
    # Asserts would call TVM's error functions; the loader checks shapes and types instead.
    with tvm.transform.PassContext(opt_level=3, config={"tirx.disable_assert": True}), tvm_target:
        module = tirx.transform.BindTarget(tvm_target)(module)
        return tvm.transform.Sequential(_lowering(target))(module)


def _lowering(target: Target) -> list[Any]:
    """TVM's own CPU lowering without the GPU passes, and with the bare calling convention."""
    s, t = s_tir.transform, tirx.transform
    return [
        _compact_caches(),
        s.CanonicalizeLoop(),
        s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(),
        s.ConvertBlocksToOpaque(),
        s.CompactBufferAllocation(),
        s.LowerMatchBuffer(),
        s.StmtSimplify(),
        s.LowerOpaqueBlock(),
        t.FlattenBuffer(),
        convert_bfloat16(),
        convert_float16(target),
        t.BF16ComputeLegalize(),
        t.NarrowDataType(32),
        s.LoopPartition(),
        peel_last(),
        t.StmtSimplify(),
        call_double_math(),
        t.VectorizeLoop(True),
        split_wide_words(target),
        t.StorageRewrite(),
        s.HoistIfThenElse(),
        t.UnrollLoop(),
        s.RenormalizeSplitPattern(),
        t.StmtSimplify(),
        t.RemoveNoOp(),
        s.RewriteUnsafeSelect(),
        round_to_bfloat16(),
        interleave_words(target),
        lower_dots(target),
        lower_wrapping(target),
        requantise(target),
        divide_bounded(target),
        lower_tables(target),
        separate_nested_math(),
        t.CommonSubexprElim(),
        t.VerifyMemory(),
        expand_math(target),
        _tiles_on_stack(),
        _bare_calls(),
        _broadcast_bits(),
        t.BF16StorageLegalize(),
        t.LowerTVMBuiltin(),
        t.LowerIntrin(),
    ]


def _compact_caches() -> Any:
    """Makes a kernel's own buffers compact, to which TVM gives the strides of the parameters that they cache."""

    def compact(func: Any) -> Any:
        params, buffers = set(func.params), {}

        def on_var(var: Any) -> None:
            ty = var.ty
            if isinstance(ty, tirx.BufferType) and var not in params and list(ty.strides):
                buffers[var] = tirx.decl_buffer(ty.shape, ty.dtype, var.name, scope=ty.storage_scope, layout=None)

        tvm_ffi.structural_walk(func.body, [(ir.Var, on_var)])
        return substitute(func, buffers)

    return program_pass(compact)


def _tiles_on_stack() -> Any:
    """Keeps `local` buffers, the tiles of accumulators, out of the heap, from which TVM would take them.

    On the stack, and addressed by constants after unrolling, they become registers.
    """

    def keep(allocation: Any) -> Any:
        if str(allocation.buffer.ty.storage_scope) != "local":
            return allocation
        return tirx.AllocBuffer(allocation.buffer, {"disable_lower_builtin": tirx.IntImm("int32", 1)})

    return node_pass(tirx.AllocBuffer, keep)


def _broadcast_bits() -> Any:
    """Copies one bfloat16 to all lanes as an integer; TVM leaves its type where it stores vectors as integers."""

    def change(broadcast: Any) -> Any:
        if str(broadcast.value.ty.dtype) != "bfloat16":
            return broadcast
        bits = tirx.Broadcast(tirx.reinterpret("uint16", broadcast.value), broadcast.lanes)
        return tirx.reinterpret(str(broadcast.ty.dtype), bits)

    return node_pass(tirx.Broadcast, change)


def _bare_calls() -> Any:
    def with_bare_call(func: Any) -> Any:
        pointers, declarations = [], []
        numbers = [param for param in func.params if is_scalar(param)]
        packed = tirx.decl_buffer((len(numbers),), "float32", "numbers", layout=None)
        for param in [*dict.fromkeys(packed if is_scalar(param) else param for param in func.params)]:
            pointer = tirx.Var(f"{param.name}_data", ir.PointerType(param.ty.dtype))
            pointers.append(pointer)
            declarations.append(tirx.DeclBuffer(param, data=pointer))
        for place, number in enumerate(numbers):
            declarations.append(tirx.Bind(number, tirx.BufferLoad(packed, [tirx.IntImm("int32", place)])))
        body = tirx.SeqStmt([*declarations, func.body])
        # The lowering of workspaces asks for the device they are on.
        for key, value in (("device_id", 0), ("device_type", 1)):
            body = tirx.AttrStmt(tvm.runtime.convert("default"), key, tirx.IntImm("int32", value), body)
        for pointer in pointers:
            body = tirx.AttrStmt(pointer, "storage_alignment", tirx.IntImm("int32", ALIGNMENT), body)
        return tirx.PrimFunc(pointers, body, ir.PrimType("int32"), func.attrs)

    return program_pass(with_bare_call)
