"""How a model's kernel is scheduled."""

from __future__ import annotations

import onnx

from compiler.frontend.prepare import load_model
from compiler.kernels.schedule import Scheduled, schedule
from compiler.pipeline import lower_model, resolve
from compiler.target import Target
from compiler.tune.subject import whole_model


def kernel_of(proto: onnx.ModelProto, target: Target, rule: str = "packed") -> Scheduled:
    """The one kernel of a model that a rule takes."""
    net = load_model(proto)
    lowered = lower_model(net, resolve(net, target, None, None, False, None, True))
    programs = whole_model(lowered, target, None).functions.values()
    (found,) = (made for one in programs if (made := schedule(one, target)).rule == rule)
    return found
