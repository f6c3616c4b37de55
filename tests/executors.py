"""What runs artifacts of a target in tests."""

from __future__ import annotations

import pytest

from compiler.target import Target
from compiler.verify.execute import Executor, NoExecutor, find_executor


def executor_or_skip(target: Target) -> Executor:
    """What runs the target's artifacts here; the test is skipped with the reason if nothing does."""
    try:
        return find_executor(target.os, target.machine, target)
    except NoExecutor as reason:
        pytest.skip(str(reason))
