"""Blocks of channels of which the last is narrower."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.build.codegen import lower_kernel
from compiler.frontend.prepare import load_model
from compiler.kernels.schedule import schedule
from compiler.pipeline import lower_model, resolve
from compiler.tune.subject import whole_model
from tests.networks import model


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "raspberry-pi-4"])
@pytest.mark.parametrize("channels", [20, 44, 116])
def test_sums_of_all_blocks_stay_in_registers(target: str, channels: int) -> None:
    """Which they do where their places are constants."""
    weights = np.ones((channels, 8, 1, 1), np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 8, 6, 5)), ("y", (1, channels, 6, 5)))
    ]
    net = load_model(model(nodes, value[:1], value[1:], [numpy_helper.from_array(weights, "w")]))
    options = resolve(net, target, None, None, False, None, True)
    programs = whole_model(lower_model(net, options), options.target, None).functions.values()
    packed = [made for one in programs if (made := schedule(one, options.target)).rule == "packed"]
    assert packed
    for made in packed:
        text = str(lower_kernel(made.func, "kernel", options.target))
        places = re.findall(r"_local\[((?:T\.Ramp\([^)]*\)|[^\]])*)\]", text)
        assert places and not [place for place in places if re.search("[a-z]", place.replace("T.Ramp", ""))]
