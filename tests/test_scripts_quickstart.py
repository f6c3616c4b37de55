"""scripts/quickstart, from where everything is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "quickstart.py", tmp_path]
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    right = int(result.stdout.split("right: ")[1].split()[0])
    assert right >= 0.97 * 360
    assert {path.name for path in tmp_path.glob("*")} >= {
        "digits-host.so",
        "digits-raspberry-pi-5.so",
        "loader.py",
    }


@pytest.mark.parametrize("name", ["quickstart", "test", "userland", "venv.sh", "../.ci/run"])
def test_shell_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", SCRIPTS / name], check=True)
