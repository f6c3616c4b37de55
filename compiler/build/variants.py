"""Kernels for arguments that are views: the tensor program stays, its parameters get strides and an offset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tvm import tirx

from ..kernels.vectors import substitute
from .memory import ALIGNMENT
from .program import Layout, Program, Value, Variant, all_programs
from .views import compact_strides


def pointer_offset(value: Value) -> int:
    """Bytes from a value's memory to where kernels get a pointer: aligned, at or before its first element."""
    size = value.offset * value.item_bytes
    return size - size % ALIGNMENT


def name_variants(program: Program) -> None:
    """Lets every step name a kernel for the layouts of its arguments: the plain one keeps the program's name."""
    names = {variant: name for name, variant in program.kernels.items()}
    for number, step in enumerate(program.steps):
        if step.kernel is None:
            continue
        variant = Variant(step.kernel, tuple(_layout(program.values[index]) for index in step.args))
        if variant not in names:
            views = sum(other.program == step.kernel and any(other.layouts) for other in names)
            names[variant] = f"{step.kernel}_view{views + 1}" if any(variant.layouts) else step.kernel
        program.kernels[names[variant]] = variant
        program.steps[number] = replace(step, kernel=names[variant])


def _layout(value: Value) -> Layout | None:
    rest = value.offset - pointer_offset(value) // value.item_bytes
    if value.strides is None and not rest:
        return None
    return Layout(rest, value.strides or compact_strides(value.shape))


def variant_programs(program: Program, functions: Mapping[str, Any]) -> dict[str, Any]:
    """The tensor program of each kernel that is called, by the kernel's name.

    Args:
        functions: tensor programs by name.
    """
    return {
        name: with_layouts(functions[variant.program], variant.layouts)
        for one in all_programs(program)
        for name, variant in one.kernels.items()
    }


def with_layouts(func: Any, layouts: tuple[Layout | None, ...]) -> Any:
    """A PrimFunc whose parameters lie in memory as `layouts` say; indices and loops stay as they are."""
    buffers = {
        param: tirx.decl_buffer(
            param.ty.shape,
            param.ty.dtype,
            param.name,
            strides=[tirx.IntImm("int64", stride) for stride in layout.strides],
            elem_offset=tirx.IntImm("int64", layout.offset),
            layout=None,
        )
        for param, layout in zip(func.params, layouts, strict=True)
        if layout is not None
    }
    return substitute(func, buffers)
