"""Says of each tensor program how it may be fused, as TVM does, but for one mistake.

TVM looks at indices alone: padding behind the last row, x[i] if i < n else 0, passes for element-wise. Fused
behind a convolution it would make its kernel write a tensor of another shape than its tiles have.
"""

from __future__ import annotations

import tvm
from tvm import relax, tirx

from .rewrite import shape_of

# TVM's kBroadcast, kInjective and kOutEWiseFusable; element-wise is 0.
BROADCAST, _INJECTIVE, OUT_ELEMENTWISE = 1, 2, 4


def annotate_patterns(module: tvm.IRModule) -> tvm.IRModule:
    """The module with the attribute `op_pattern` at every tensor program."""
    module = relax.transform.AnnotateTIROpPattern()(module)
    for variable, function in list(module.functions.items()):
        if isinstance(function, tirx.PrimFunc) and int(function.attrs["op_pattern"]) <= BROADCAST:
            *inputs, output = (shape_of(param) for param in function.params)
            if not all(_fits(shape, output) for shape in inputs):
                module.update_func(variable, function.with_attr("op_pattern", _INJECTIVE))
    return module


def _fits(shape: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be broadcast to the output."""
    rest = output[len(output) - len(shape) :]
    return len(shape) <= len(output) and all(a in (1, b) for a, b in zip(shape, rest, strict=True))
