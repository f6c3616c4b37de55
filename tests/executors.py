"""What runs artifacts of a target in tests."""

from __future__ import annotations

import pytest

from compiler.target import Target
from compiler.verify.execute import Executor, NoExecutor, find_executor

# Targets with different instructions, of those that run here or in an emulator.
ONE_OF_EACH = (
    "host",
    "x86-64-v3",
    "x86-64-v2",
    pytest.param("raspberry-pi-4", marks=pytest.mark.arm),
    pytest.param("generic-armv7", marks=pytest.mark.arm),
)


def executor_or_skip(target: Target) -> Executor:
    """What runs the target's artifacts here; the test is skipped with the reason if nothing does."""
    try:
        return find_executor(target.os, target.machine, target)
    except NoExecutor as reason:
        pytest.skip(str(reason))
