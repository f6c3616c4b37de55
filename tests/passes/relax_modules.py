"""Small Relax modules, and their results before and after a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

Array = np.ndarray[Any, Any]


def module(shapes: Sequence[tuple[tuple[int, ...], str]], body: Callable[..., Any]) -> tvm.IRModule:
    """A module whose `main` returns what `body` makes of tensors of the given shapes and types."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, (shape, dtype) in enumerate(shapes)]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(body(*params))
        builder.emit_func_output(result)
    return builder.get()


def calls(mod: tvm.IRModule, operator: str | None = None) -> list[Any]:
    """The calls in `main`, all or those of one operator, named without the prefix `relax.`."""
    values = [binding.value for block in mod["main"].body.blocks for binding in block.bindings]
    return [v for v in values if isinstance(v, ir.Call) and operator in (None, _name(v))]


def operators(mod: tvm.IRModule) -> Counter[str]:
    """How often `main` calls each operator."""
    return Counter(map(_name, calls(mod)))


def _name(call: Any) -> str:
    return str(getattr(call.op, "name", "")).removeprefix("relax.")


def run(mod: tvm.IRModule, *arrays: Array) -> list[Array]:
    """The module's results by TVM's own compiler, without the passes and schedules under test."""
    compiled = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    result = compiled["main"](*[tvm.runtime.tensor(a) for a in arrays])
    return [r.numpy() for r in ([result] if isinstance(result, tvm.runtime.Tensor) else result)]


def check_equal(before: tvm.IRModule, after: tvm.IRModule, *arrays: Array, tolerance: float = 1e-4) -> None:
    """Asserts that both modules compute the same."""
    for a, b in zip(run(before, *arrays), run(after, *arrays), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
