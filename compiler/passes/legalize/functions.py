"""Element-wise functions that LLVM has no intrinsic for, or that some C libraries lack."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, te, tirx

_CAST = tvm.ir.Op.get("relax.astype").get_attr("FLegalize")


def _cast(builder: relax.BlockBuilder, call: Any) -> Any:
    """float64 → float16 goes through float32: the direct way is a function that some C libraries lack."""
    data, dtype = call.args[0], str(call.ty.dtype)
    if str(data.ty.dtype) != "float64" or dtype != "float16":
        return _CAST(builder, call)

    def cast(value: Any) -> Any:
        return te.compute(value.shape, lambda *i: value(*i).astype("float32").astype("float16"), name="cast")

    return builder.call_te(cast, data, primfunc_name_hint="cast")


def _libm(name: str) -> Any:
    """A function that LLVM has no intrinsic for; libm's float32 and float64 versions do."""

    def compute(data: Any) -> Any:
        dtype = str(data.dtype)
        wide = "float64" if dtype == "float64" else "float32"
        symbol = name if wide == "float64" else name + "f"

        def element(*i: Any) -> Any:
            return tirx.call_pure_extern(wide, symbol, data(*i).astype(wide)).astype(dtype)

        return te.compute(data.shape, element, name=name)

    return lambda builder, call: builder.call_te(compute, call.args[0], primfunc_name_hint=name)


FUNCTIONS = {"relax.astype": _cast, "relax.sinh": _libm("sinh"), "relax.cosh": _libm("cosh")}
