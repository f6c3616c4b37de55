"""The bits of a tensor's elements taken for another type of the same width."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from .define import define


def bit_cast(data: Any, dtype: str) -> Any:
    """A Relax expression; a bool is a byte of 0 or 1."""
    return _call(data, dtype=dtype)


def _infer_type(call: Any) -> Any:
    return relax.TensorType(call.args[0].ty.shape, str(call.attrs["dtype"]))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    dtype = str(call.attrs["dtype"])

    def cast(values: Any) -> Any:
        def element(*at: Any) -> Any:
            if "bool" in (dtype, str(values.dtype)):
                return values(*at).astype(dtype)
            return tirx.reinterpret(dtype, values(*at))

        return te.compute(values.shape, element, name="bit_cast")

    return builder.call_te(cast, call.args[0], primfunc_name_hint="bit_cast")


_call = define("edgec.bit_cast", _infer_type, _legalize)
