"""Artifacts made once for the whole folder, and the loader, imported from its one file as on a device."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Dict

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import fake_artifact  # noqa: E402  (needs the path above)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "arm: runs ARM code under qemu")


@pytest.fixture(scope="session")
def loader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgec_loader", fake_artifact.RUNTIME / "loader.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["edgec_loader"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to build the fake artifact with")
    return fake_artifact.build(tmp_path_factory.mktemp("fake") / "fake.so")


@pytest.fixture(scope="session")
def other_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same interface, other numbers: y = x * 3 + 1, once."""
    path = tmp_path_factory.mktemp("other") / "fake.so"
    return fake_artifact.build(path, flags=["-DFAKE_SCALE=3.0f", "-DFAKE_ROUNDS=1"])


@pytest.fixture
def feed() -> Dict[str, Any]:
    return fake_artifact.make_feed()
