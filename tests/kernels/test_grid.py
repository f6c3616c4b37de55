"""Kernels of every family against a reference, on every instruction set that can run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.target import load_target
from compiler.verify.execute import NoExecutor, find_executor
from tests.kernels import cases_convolution, cases_elementwise, cases_matrix, cases_reduction, cases_shape
from tests.kernels.grid import failures

FAMILIES = (
    cases_convolution.FAMILIES
    | cases_matrix.FAMILIES
    | cases_reduction.FAMILIES
    | cases_elementwise.FAMILIES
    | cases_shape.FAMILIES
)

# Every case runs on the host; the others get a share of each family, since compiling takes the time.
TARGETS = {
    "host": slice(None),
    "x86-64-v2": slice(0, None, 2),
    "x86-64-v3": slice(1, None, 2),
    "raspberry-pi-5": slice(2, None, 6),
    "raspberry-pi-4": slice(4, None, 12),
    "generic-armv7": slice(0, None, 8),
}
PARAMETERS = [
    pytest.param(target, marks=pytest.mark.arm if load_target(target).machine in ("aarch64", "armv7l") else [])
    for target in TARGETS
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", PARAMETERS)
def test_results_equal_the_reference(target: str, family: str, tmp_path: Path) -> None:
    described = load_target(target)
    try:
        find_executor(described.os, described.machine, described)
    except NoExecutor as error:
        pytest.skip(str(error))
    cases = FAMILIES[family]()
    assert len({case.name for case in cases}) == len(cases)
    lines = failures(cases[TARGETS[target]], target, tmp_path)
    assert not lines, "\n".join(lines)
