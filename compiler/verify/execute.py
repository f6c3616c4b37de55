"""Runs an artifact in a process of its own: here, or in an emulator for another machine.

New code may crash; it does so where it takes nothing else with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import cache_folder
from ..process import run as run_command
from ..target import Target, load_target
from ..target_detect import missing_here, running_machine

LOADER = Path(__file__).resolve().parent.parent / "runtime" / "loader.py"

_QEMU = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm", "riscv64": "qemu-riscv64", "x86_64": "qemu-x86_64"}
_GENERIC = {
    "aarch64": "generic-aarch64",
    "armv7l": "generic-armv7",
    "riscv64": "generic-riscv64",
    "x86_64": "x86-64-v2",
}
# By machine, the variable that names a userland (libc, Python, NumPy) to emulate with, and its folder by default.
_USERLAND = {
    "aarch64": ("EDGEC_ARM64_ROOT", "arm64"),
    "armv7l": ("EDGEC_ARMHF_ROOT", "armhf"),
    "riscv64": ("EDGEC_RISCV64_ROOT", "riscv64"),
    "x86_64": ("EDGEC_AMD64_ROOT", "amd64"),
}
# Written last, so that a userland in the making is not taken for a whole one.
_USERLAND_MARK = ".edgec-userland"


@dataclass(frozen=True)
class Executor:
    """A way to run artifacts of a target.

    Attributes:
        name: `host` or the emulator with its CPU model.
        python: the command that starts a Python with NumPy there.
    """

    name: str
    python: tuple[str, ...]


class NoExecutor(Exception):
    """Artifacts of this target cannot run on this machine; says why."""


def find_executor(os_name: str, machine: str, target: Target | str) -> Executor:
    """How to run artifacts for `machine` here.

    Args:
        target: the target they were made for, or its name; gives the CPU to emulate.

    Raises:
        NoExecutor: another machine without an emulator or userland, or CPU features that this machine lacks.
    """
    if os_name != ("macos" if sys.platform == "darwin" else "linux"):
        raise NoExecutor(f"{os_name} code does not run here")
    if isinstance(target, str):
        try:
            target = load_target(target)
        except UserError:  # made elsewhere, for a target of its maker's own
            target = load_target("host") if machine == running_machine() else load_target(_GENERIC[machine])
    if machine == running_machine():
        missing = missing_here(target)
        if missing:
            raise NoExecutor(f"this CPU lacks {', '.join(missing)}")
        return Executor("host", (sys.executable,))
    emulator = _QEMU.get(machine)
    path = next((p for p in (shutil.which(f"{emulator}-static"), shutil.which(str(emulator))) if p), None)
    if emulator is None or path is None:
        raise NoExecutor(f"no emulator for {machine} (Debian: qemu-user-static)")
    root = userland(machine)
    pythons = sorted(root.glob("usr/bin/python3.*[0-9]"))
    if not pythons or not (root / _USERLAND_MARK).exists():
        raise NoExecutor(f"no {machine} userland with Python in {root} (scripts/userland makes one)")
    packages = f"{root}/usr/lib/python3/dist-packages"
    command = [path, "-L", str(root), "-E", f"PYTHONHOME={root}/usr", "-E", f"PYTHONPATH={packages}"]
    if target.qemu_cpu:
        command[1:1] = ["-cpu", target.qemu_cpu]
    return Executor(f"{emulator} -cpu {target.qemu_cpu or 'default'}", (*command, str(pythons[-1])))


def userland(machine: str) -> Path:
    """The folder that holds the machine's system files: where the variable says, or scripts/userland put it."""
    variable, name = _USERLAND[machine]
    return Path(os.environ.get(variable) or cache_folder() / "userland" / name)


def execute(
    executor: Executor,
    artifact: Path,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    threads: int = 1,
    timeout: float = 600,
) -> dict[str, np.ndarray[Any, Any]]:
    """The artifact's outputs for `inputs`; see `execute_each`."""
    return execute_each(executor, artifact, [inputs], threads, timeout)[0]


def execute_each(
    executor: Executor,
    artifact: Path,
    feeds: Sequence[Mapping[str, np.ndarray[Any, Any]]],
    threads: int = 1,
    timeout: float = 600,
) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The artifact's outputs for each of the feeds, which have the same names.

    Raises:
        CommandError: it crashed or failed; the command line is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="edgec-run-") as name:
        folder = Path(name)
        # Names may be anything, those of files in an archive may not: arrays travel by number.
        names = list(feeds[0])
        arrays: dict[str, Any] = {
            f"r{run}a{i}": _plain(inputs[n]) for run, inputs in enumerate(feeds) for i, n in enumerate(names)
        }
        np.savez(folder / "in.npz", **arrays)
        script = folder / "run.py"
        loader = str(LOADER.parent)
        text = _RUN.format(loader=loader, artifact=str(artifact), names=names, threads=threads, runs=len(feeds))
        script.write_text(text)
        run_command([*executor.python, "-B", str(script)], cwd=folder, timeout=timeout)
        with np.load(folder / "out.npz", allow_pickle=False) as archive:
            order = [str(n) for n in archive["names"]]
            return [{n: archive[f"r{run}a{i}"] for i, n in enumerate(order)} for run in range(len(feeds))]


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Strings in a form that files hold without pickles."""
    return array.astype(np.str_) if array.dtype == object else array


_RUN = """\
import sys
sys.path.insert(0, {loader!r})
import numpy as np
from loader import Model
names, made = {names!r}, {{}}
with np.load("in.npz") as archive, Model({artifact!r}, threads={threads}) as model:
    for run in range({runs}):
        outputs = model.run({{name: archive["r%da%d" % (run, i)] for i, name in enumerate(names)}})
        for i, array in enumerate(outputs.values()):
            made["r%da%d" % (run, i)] = array.astype("U") if array.dtype == object else array
np.savez("out.npz", names=np.array(list(outputs)), **made)
"""
