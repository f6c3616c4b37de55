"""Blocks of channels of which the last is narrower."""

from __future__ import annotations

import re

import pytest

from compiler.build.codegen import lower_kernel
from compiler.target import load_target
from tests.kernels.pointwise import pointwise
from tests.kernels.scheduled import kernel_of


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "raspberry-pi-4"])
@pytest.mark.parametrize("channels", [20, 44, 116])
def test_sums_of_all_blocks_stay_in_registers(target: str, channels: int) -> None:
    """Which they do where their places are constants."""
    made = kernel_of(pointwise((1, 8, 6, 5), channels), load_target(target))
    text = str(lower_kernel(made.func, "kernel", load_target(target)))
    places = re.findall(r"_local\[((?:T\.Ramp\([^)]*\)|[^\]])*)\]", text)
    assert places and not [place for place in places if re.search("[a-z]", place.replace("T.Ramp", ""))]
