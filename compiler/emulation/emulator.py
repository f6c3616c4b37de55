"""qemu with our plugin, set up as a board: runs an inference and says which instructions it took."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..build.toolchain import find_toolchains
from ..errors import UserError
from ..files import cache_folder
from ..process import run
from ..target import Target, load_target
from ..verify.execute import LOADER, userland
from .board import describe_cores
from .profile import Block, group_by_file, group_by_function, parse_maps, read_blocks
from .symbols import read_functions

_HERE = Path(__file__).resolve().parent
_TIMEOUT = 3600.0  # seconds of one inference, with loading


@dataclass(frozen=True)
class Run:
    """What one inference executed, by file, and its outputs."""

    blocks: dict[str, list[Block]]
    outputs: list[np.ndarray[Any, Any]]

    def functions(self, artifact: Path) -> dict[str, list[Block]]:
        """What an artifact of ours that has its symbols executed, by function."""
        own = next(blocks for file, blocks in self.blocks.items() if Path(file).name == artifact.name)
        return group_by_function(own, read_functions(artifact))


@dataclass(frozen=True)
class Emulator:
    """A board in qemu.

    Attributes:
        command: qemu's own, without the plugin.
        python: the emulated one.
        packages: folder with onnxruntime for the emulated machine; None without.
        plugin: blocks.c, compiled.
    """

    command: tuple[str, ...]
    python: Path
    packages: Path | None
    plugin: Path

    def measure(self, runtime: str, model: Path, inputs: Mapping[str, np.ndarray[Any, Any]], runs: int = 1) -> Run:
        """Runs `model` in `edgec` or `onnxruntime`; blocks are of `runs` inferences after a warm-up.

        Raises:
            CommandError: it failed; the command line is in the message.
        """
        with tempfile.TemporaryDirectory(prefix="edgec-count-") as name:
            folder = Path(name)
            np.savez(folder / "in.npz", **{f"a{i}": value for i, value in enumerate(inputs.values())})  # type: ignore[arg-type]
            (folder / "names.json").write_text(json.dumps(list(inputs)))
            search = [
                *filter(None, [self.packages]),
                LOADER.parent,
                self.python.parents[1] / "lib/python3/dist-packages",
            ]
            command = [*self.command, "-plugin", f"{self.plugin},out={folder}/blocks"]
            command += ["-E", f"PYTHONPATH={':'.join(map(str, search))}", str(self.python), "-B"]
            command += [str(_HERE / "guest.py"), runtime, str(model.resolve()), str(runs)]
            maps = parse_maps(run(command, cwd=folder, timeout=_TIMEOUT).splitlines())
            blocks = group_by_file(read_blocks(folder / "blocks"), maps)
            with np.load(folder / "out.npz", allow_pickle=False) as archive:
                outputs = [archive[f"a{i}"] for i in range(len(archive.files))]
        return Run(blocks, outputs)


@contextmanager
def emulate(target: Target, qemu: Path | None = None, packages: Path | None = None) -> Iterator[Emulator]:
    """An emulator of a target.

    Args:
        qemu: a folder with a dynamically linked qemu-user and all its libraries: a static one loads no plugins. None
            for the one that scripts/bench_arm keeps.
        packages: a folder with onnxruntime for the emulated machine; None without.

    Raises:
        UserError: the target is not a board of 64-bit ARM, or there is no such qemu, or no system to emulate.
        CommandError: the plugin could not be compiled.
    """
    if target.machine != "aarch64" or not target.clusters or not target.qemu_cpu:
        raise UserError(f"{target.name} is not a board with 64-bit ARM cores that qemu has", fix="name another target")
    qemu, root = qemu or cache_folder() / "bench_arm" / "qemu", userland(target.machine)
    pythons = sorted(root.glob("usr/bin/python3.*[0-9]"))
    if not pythons or not qemu.is_dir():
        missing = f"no qemu with plugins in {qemu}" if pythons else f"no {target.machine} userland in {root}"
        raise UserError(f"instructions cannot be counted: {missing}", fix="scripts/bench_arm makes both")
    with tempfile.TemporaryDirectory(prefix="edgec-board-") as name:
        folder = Path(name)
        board = _board(target, root, folder) if packages else root
        options = ("-cpu", target.qemu_cpu, "-L", str(board), "-E", f"PYTHONHOME={root}/usr")
        yield Emulator((*_qemu_command(qemu), *options), pythons[-1], packages, _build_plugin(folder))


def _board(target: Target, root: Path, folder: Path) -> Path:
    """The userland with the files of /sys and /proc that onnxruntime wants, in `folder`."""
    board = folder / "root"
    board.mkdir()
    for entry in root.iterdir():
        if entry.name not in ("sys", "proc"):
            (board / entry.name).symlink_to(entry.resolve())
    describe_cores(target, board)
    return board


def _qemu_command(folder: Path) -> tuple[str, ...]:
    """Starts the folder's qemu with the folder's own C library."""
    loader = min(folder.glob("**/ld-linux-*.so.*"), key=lambda path: path.is_symlink())
    libraries = sorted({str(path.parent) for path in folder.glob("**/lib*.so.*")})
    return (str(loader), "--library-path", ":".join(libraries), str(folder / "usr" / "bin" / "qemu-aarch64"))


def _build_plugin(folder: Path) -> Path:
    out = folder / "blocks.so"
    compiler = find_toolchains(load_target("host"))[0].command
    # qemu has the functions that are undefined here.
    run([*compiler, "-std=c11", "-O2", "-shared", "-fPIC", "-Wl,-z,undefs", "-o", str(out), str(_HERE / "blocks.c")])
    return out
