"""What all tests share."""

from __future__ import annotations

import ctypes.util
import os
import tempfile

import hypothesis
import pytest

# A deadline of an example would measure what else this machine does.
hypothesis.settings.register_profile("edgec", deadline=None)
hypothesis.settings.load_profile("edgec")

# Compilations follow what was tuned on this machine, which tests are not to depend on.
os.environ["EDGEC_TUNING_LOGS"] = os.path.join(tempfile.gettempdir(), "edgec-tests-have-no-tuning-logs")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and ctypes.util.find_library("cuda") is None:
        pytest.skip("no NVIDIA driver (libcuda.so.1)")
