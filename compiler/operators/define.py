"""Operators of our own in Relax, beside TVM's: what the standard's operators say, and TVM's cannot say in one call.

Relax asks for an operator's type, for its place in a change of layout, and for the tensor program in the end. The
passes between see one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import ir, relax
from tvm.ir import _ffi_api


def define(
    name: str,
    infer_type: Callable[[Any], Any],
    legalize: Callable[[relax.BlockBuilder, Any], Any] | None = None,
) -> Callable[..., Any]:
    """Registers an operator; returns the function that makes calls of it, from arguments and attributes.

    Args:
        infer_type: the type of a call's result.
        legalize: the tensor programs that compute a call; None if a pass makes them.
    """
    _ffi_api.RegisterOp(name, "see compiler/operators")
    ir.register_op_attr(name, "FInferType", lambda call, _builder: infer_type(call))
    if legalize is not None:
        ir.register_op_attr(name, "FLegalize", legalize)
    ir.register_op_attr(name, "FPurity", True)

    def call(*args: Any, **attributes: Any) -> Any:
        return ir.Call(ir.Op.get(name), list(args), attributes_of(**attributes), [])

    return call


def attributes_of(**attributes: Any) -> Any:
    """Attributes of a call."""
    return ir.make_node("ir.DictAttrs", **attributes)


def axes_of(call: Any) -> Sequence[int]:
    """The attribute `axes`."""
    return [int(axis) for axis in call.attrs["axes"]]
