"""One layout inside, which serves every target: channels last, output channels of weights last.

TVM's conversion keeps the old layout around an operator for which it knows no rule, with a transpose before and one
behind; the next pass moves these on (sink_transposes.py).
"""

from __future__ import annotations

import tvm
from tvm import relax

from .rewrite import definitions_of, operator_of

_CHANNELS_LAST = {"relax.nn.conv2d": ["NHWC", "HWIO"]}


def convert_layout(module: tvm.IRModule) -> tvm.IRModule:
    """The module with its convolutions, and what TVM knows to follow them, in the one layout."""
    operators = {operator_of(call) for call in definitions_of(module).values()}
    if operators.isdisjoint(_CHANNELS_LAST):
        return module  # TVM takes seconds to find nothing in a graph of thousands of calls
    return relax.transform.ConvertLayout(_CHANNELS_LAST)(module)
