"""One layout inside, which serves every target: channels last, output channels of weights last.

TVM's conversion keeps the old layout around an operator for which it knows no rule, with a transpose before and one
behind; the next pass moves these on (sink_transposes.py).
"""

from __future__ import annotations

import tvm
from tvm import relax

_CHANNELS_LAST = {"relax.nn.conv2d": ["NHWC", "HWIO"]}


def convert_layout(module: tvm.IRModule) -> tvm.IRModule:
    """The module with its convolutions, and what TVM knows to follow them, in the one layout."""
    return relax.transform.ConvertLayout(_CHANNELS_LAST)(module)
