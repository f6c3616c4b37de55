"""Kernels for views: one for each layout of its arguments."""

from __future__ import annotations

import numpy as np
import tvm
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st
from tvm import ir, te, tirx, topi

from compiler.build.codegen import _compact_caches
from compiler.build.memory import ALIGNMENT
from compiler.build.program import Layout, Program, Step, Value
from compiler.build.variants import name_variants, pointer_offset, with_layouts
from compiler.kernels.schedule import schedule
from compiler.target import load_target


@given(st.integers(0, 1000), st.sampled_from(["float32", "int8", "float64"]))
def test_pointers_are_aligned_and_the_rest_is_in_the_kernel(offset: int, dtype: str) -> None:
    values = [Value(0, "temporary", dtype, (5000,)), Value(1, "temporary", dtype, (5,), alias=0, offset=offset)]
    program = Program(values, [Step("k", (1,))])
    name_variants(program)
    ((layout,),) = (variant.layouts for variant in program.kernels.values())
    assert pointer_offset(values[1]) % ALIGNMENT == 0
    rest = layout.offset if layout else 0
    assert pointer_offset(values[1]) + rest * np.dtype(dtype).itemsize == offset * np.dtype(dtype).itemsize
    assert rest * np.dtype(dtype).itemsize < ALIGNMENT


def test_a_kernel_is_compiled_once_a_layout() -> None:
    strided = {"offset": 16, "strides": (8, 1), "alias": 0}
    values = [
        Value(0, "temporary", "float32", (32, 8)),
        Value(1, "temporary", "float32", (4, 4)),
        Value(2, "temporary", "float32", (4, 4), **strided),
        Value(3, "temporary", "float32", (4, 4), **(strided | {"offset": 32})),  # the pointer's matter
        Value(4, "temporary", "float32", (4, 4), **(strided | {"offset": 20})),  # not the pointer's alone
    ]
    program = Program(values, [Step("k", (1, other)) for other in (1, 2, 3, 4, 1)] + [Step("m", (1, 2))])
    name_variants(program)
    assert [step.kernel for step in program.steps] == ["k", "k_view1", "k_view1", "k_view2", "k", "m_view1"]
    assert set(program.kernels) == {"k", "k_view1", "k_view2", "m_view1"}
    assert program.kernels["k_view2"].layouts == (None, Layout(4, (8, 1)))


def test_only_the_parameters_change() -> None:
    x = te.placeholder((4, 8), "float32", name="x")
    func = te.create_prim_func([x, te.compute((4, 8), lambda i, j: x[i, j] * x[i, j], name="y")])
    viewed = with_layouts(func, (Layout(3, (20, 1)), None))
    assert [int(s) for s in viewed.params[0].ty.strides] == [20, 1] and int(viewed.params[0].ty.elem_offset) == 3
    assert [list(param.ty.shape) for param in viewed.params] == [list(param.ty.shape) for param in func.params]
    stores = [str(f.body).rsplit("=", 1)[-1] for f in (func, viewed)]
    assert stores[0] == stores[1] and isinstance(viewed, tirx.PrimFunc)
    assert with_layouts(func, (None, None)).same_as(func)


def test_caches_of_views_are_compact() -> None:
    """A tile of results is on the stack; with the view's offset its kernel would write beyond it."""
    x = te.placeholder((1, 8, 8, 64), "float32", name="x")
    func = te.create_prim_func([x, topi.nn.pool2d(x, [3, 3], [1, 1], [1, 1], [0] * 4, "max", layout="NHWC")])
    viewed = with_layouts(func, (None, Layout(5, (6 * 6 * 128, 6 * 128, 128, 1))))
    module = tvm.IRModule({"main": schedule(viewed, load_target("host")).func})
    compact = _compact_caches()(module)["main"]
    caches: list[int] = []

    def on_var(var: ir.Var) -> None:
        if isinstance(var.ty, tirx.BufferType) and not any(var.same_as(param) for param in compact.params):
            caches.append(len(var.ty.strides) + int(var.ty.elem_offset))

    tvm_ffi.structural_walk(compact.body, [(ir.Var, on_var)])
    assert caches and not any(caches)
