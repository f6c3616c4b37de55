"""The runtime and the loader on 64-bit ARM, under qemu, with that system's own Python and NumPy."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, List

import fake_artifact
import pytest

HERE = Path(__file__).resolve().parent
ROOT = os.environ.get("EDGEC_ARM64_ROOT", "")
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") or ""
GCC = "aarch64-linux-gnu-gcc"
REASON = next(
    (
        reason
        for missing, reason in (
            (not QEMU, "no qemu-aarch64"),
            (shutil.which(GCC) is None, f"no {GCC}"),
            (not ROOT, "EDGEC_ARM64_ROOT names no ARM userland (one with python3 and numpy)"),
        )
        if missing
    ),
    "",
)
pytestmark = [pytest.mark.arm, pytest.mark.skipif(bool(REASON), reason=REASON)]

RUN = """
import sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import numpy as np
from fake_artifact import expected, make_feed
import loader
try:
    model = loader.Model(sys.argv[1], threads=3)
except loader.LoadError as error:
    print("refused:", error)
    sys.exit()
for mode in ("PLAIN", "NESTED", "MANY_TASKS"):
    feed = make_feed(mode)
    assert np.array_equal(model.run(feed)["y"], expected(feed["x"])), mode
try:
    model.run(make_feed("TASK_FAILS"))
except RuntimeError as error:
    print(error)
model.close()
print("ok", sys.version_info[:2], np.__version__)
"""


@pytest.fixture(scope="module")
def arm_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm") / "fake.so"
    dot_product = {"name": "dotprod", "auxv": [16, 20]}
    content = fake_artifact.manifest("aarch64")
    content["requires"]["cpu_features"] = [dot_product]
    return fake_artifact.build(path, content, compiler=[GCC], flags=["-mno-outline-atomics"])


def emulate(cpu: str, *arguments: Any) -> "subprocess.CompletedProcess[str]":
    python = sorted(Path(ROOT, "usr/bin").glob("python3.[0-9]*[0-9]"))[-1]
    command: List[str] = [QEMU, "-cpu", cpu, "-L", ROOT, "-E", f"PYTHONHOME={ROOT}/usr", str(python)]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_runs(arm_artifact: Path) -> None:
    done = emulate("cortex-a76", "-c", RUN, arm_artifact, HERE, fake_artifact.RUNTIME)
    assert done.returncode == 0 and "kernel 'scale' failed" in done.stdout and "\nok" in done.stdout, done.stderr


def test_refuses_an_older_cpu(arm_artifact: Path) -> None:
    done = emulate("cortex-a72", "-c", RUN, arm_artifact, HERE, fake_artifact.RUNTIME)
    assert "refused:" in done.stdout and "a CPU with dotprod" in done.stdout, done.stdout + done.stderr


def test_refuses_the_host_artifact(artifact: Path) -> None:
    done = emulate("cortex-a76", "-c", RUN, artifact, HERE, fake_artifact.RUNTIME)
    assert "this Python runs on linux aarch64" in done.stdout, done.stdout + done.stderr


def test_c_api(tmp_path: Path) -> None:
    section = fake_artifact.write_section(tmp_path, fake_artifact.manifest("aarch64"))
    sources = [HERE / "api_test.c", HERE / "fake_program.c", section, *fake_artifact.runtime_sources()]
    program = tmp_path / "api_test"
    command = [GCC, *fake_artifact.CFLAGS, "-static", "-I", str(fake_artifact.RUNTIME), *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True)
    done = subprocess.run([QEMU, str(program), "no-fork"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
