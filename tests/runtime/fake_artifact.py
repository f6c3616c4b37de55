"""Makes valid artifacts without the compiler: fake_program.c, the runtime, and a manifest with its hash."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parent.parent / "compiler" / "runtime"
CFLAGS = ["-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-ffp-contract=off"]
N = 4096  # FAKE_N of fake_program.c
# As in fake_program.c.
MODES = ["PLAIN", "FAIL", "TASK_FAILS", "BARRIER", "HUGE_WORKSPACE", "NESTED", "MANY_TASKS", "ONE_TASK"]
MAGIC = b"EDGECMF\x01"


def manifest(machine: Optional[str] = None, **changes: Any) -> Dict[str, Any]:
    """A manifest that fits fake_program.c; `changes` replace top-level keys."""
    made: Dict[str, Any] = {
        "format": 1,
        "abi": 3,
        "model": {"name": "fake", "sha256": "0" * 64},
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": [N]},
            {"name": "mode", "dtype": "int32", "shape": []},
            {"name": "empty", "dtype": "float64", "shape": [0, 3]},
        ],
        "outputs": [
            {"name": "y", "dtype": "float32", "shape": [N]},
            {"name": "total", "dtype": "float32", "shape": []},
            {"name": "nothing", "dtype": "int8", "shape": [0, 3]},
        ],
        "target": {"name": "host", "triple": "?", "cpu": "?", "fingerprint": "?", "fast_cores": None},
        "requires": {
            "os": "linux",
            "machine": machine or platform.machine(),
            "glibc": "2.17",
            "cpu_features": [{"name": "only information"}],
        },
        "precision": "fp32",
        "kernels": [{"name": "scale", "calls": 3, "rule": "none"}],
        "steps": [0, 0, 0],
    }
    made.update(changes)
    return made


def runtime_sources() -> List[str]:
    return sorted(str(path) for path in RUNTIME.glob("*.c"))


def _section_assembly(data: Path) -> str:
    return (
        '.section .edgec.manifest,"a"\n.balign 64\n'
        ".globl edgec_manifest_section\n.hidden edgec_manifest_section\n"
        f'edgec_manifest_section:\n.incbin "{data}"\n.section .note.GNU-stack,"",%progbits\n'
    )


def write_section(folder: Path, content: Dict[str, Any], version: int = 1, padding: int = 64) -> Path:
    """The assembly file with the manifest section, its hash still zero."""
    text = json.dumps(content).encode()
    text += b" " * padding
    data = folder / "manifest.bin"
    header = MAGIC + version.to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(32)
    data.write_bytes(header + text + b"\0")
    assembly = folder / "manifest.S"
    assembly.write_text(_section_assembly(data))
    return assembly


def seal(path: Path) -> None:
    """Computes the file's SHA-256 and writes it into the manifest section."""
    data = bytearray(path.read_bytes())
    at = data.index(MAGIC) + 16
    data[at : at + 32] = bytes(32)
    data[at : at + 32] = hashlib.sha256(data).digest()
    path.write_bytes(data)


def build(
    path: Path,
    content: Optional[Dict[str, Any]] = None,
    compiler: Sequence[str] = ("gcc",),
    flags: Sequence[str] = (),
    version: int = 1,
) -> Path:
    """Compiles and links an artifact at `path`."""
    folder = path.with_suffix(".build")
    folder.mkdir(parents=True, exist_ok=True)
    assembly = write_section(folder, content or manifest(), version)
    sources = [*runtime_sources(), str(HERE / "fake_program.c"), str(assembly)]
    command = [
        *compiler,
        *CFLAGS,
        *flags,
        "-I",
        str(RUNTIME),
        "-shared",
        *sources,
        "-o",
        str(path),
        "-lm",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    seal(path)
    return path


def edit_manifest(source: Path, target: Path, edit: Any) -> Path:
    """A copy of an artifact whose manifest went through `edit(dict)`, sealed again. Its JSON must not
    become longer than the capacity (64 bytes more than at first)."""
    data = bytearray(source.read_bytes())
    at = data.index(MAGIC)
    capacity = int.from_bytes(data[at + 12 : at + 16], "little")
    content = json.loads(data[at + 48 : at + 48 + capacity])
    changed = copy.deepcopy(content)
    changed = edit(changed) or changed
    text = json.dumps(changed).encode()
    assert len(text) <= capacity, "no room"
    data[at + 48 : at + 48 + capacity] = text.ljust(capacity)
    target.write_bytes(data)
    seal(target)
    return target


def make_feed(mode: str = "PLAIN", seed: int = 0) -> Dict[str, Any]:
    """Inputs of the fake model."""
    x = np.random.default_rng(seed).standard_normal(N).astype(np.float32)
    return {"x": x, "mode": np.int32(MODES.index(mode)), "empty": np.empty((0, 3))}


def expected(x: np.ndarray[Any, Any], scale: float = 2, rounds: int = 3) -> np.ndarray[Any, Any]:
    """Output y of the fake model, bit for bit: artifacts are compiled with -ffp-contract=off."""
    y = x.astype(np.float32)
    for _ in range(rounds):
        y = y * np.float32(scale) + np.float32(1)
    return y
