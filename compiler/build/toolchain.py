"""Finds a C compiler for a target, and links an artifact with it.

The system's own compiler serves the host. For boards, PyPI's ziglang comes first: it links against any
glibc from 2.17 on, where a distribution's cross gcc ties the result to its own, newer one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import UserError
from ..files import cache_folder
from ..process import CommandError, run
from ..target import Target
from ..target_detect import running_machine
from .cache import Cache
from .elf import needed_glibc

# Zig's name of the CPU to compile our C for, where the triple's baseline would use what the board lacks or ABI needs.
_ZIG_CPU = {"armv7l": "cortex_a7"}
_GNU_TRIPLE = {
    "x86_64": "x86_64-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "riscv64": "riscv64-linux-gnu",
}
_GCC_FLAGS = {
    "aarch64": ("-mno-outline-atomics",),  # the helpers they call are in libgcc
    "armv7l": ("-march=armv7-a", "-mfpu=neon-vfpv4", "-mfloat-abi=hard"),
}
_DEBIAN_PACKAGE = {
    "x86_64": "gcc",
    "aarch64": "gcc-aarch64-linux-gnu",
    "armv7l": "gcc-arm-linux-gnueabihf",
    "riscv64": "gcc-riscv64-linux-gnu",
}


@dataclass(frozen=True)
class Toolchain:
    """A compiler and linker for one target.

    Attributes:
        name: for people, as `gcc` or `ziglang`.
        command: the compiler driver with the options that choose the target.
        flags: further options for linking a shared object.
        version: changes when another compiler is installed in its place.
    """

    name: str
    command: tuple[str, ...]
    flags: tuple[str, ...] = ()
    version: str = ""


def find_toolchains(target: Target) -> list[Toolchain]:
    """Every installed toolchain for `target`, best first.

    Raises:
        UserError: there is none; says which package brings one.
    """
    gcc = _system_gcc(target) if target.os == "linux" else None
    zig = _zig(target) if importlib.util.find_spec("ziglang") else None
    native = target.os == "linux" and target.machine == running_machine()
    order = (gcc, zig) if native and target.name == "host" else (zig, gcc)
    found = [toolchain for toolchain in order if toolchain is not None]
    if not found:
        debian = _DEBIAN_PACKAGE.get(target.machine)
        other = f", or apt-get install {debian}" if debian and target.os == "linux" else ""
        raise UserError(f"no C compiler and linker for {target.triple}", fix=f"pip install ziglang{other}")
    return found


def _system_gcc(target: Target) -> Toolchain | None:
    native = target.machine == running_machine()
    names = ("cc", "gcc", "clang") if native else (f"{_GNU_TRIPLE[target.machine]}-gcc",)
    path = next((p for p in map(shutil.which, names) if p), None)
    if path is None:
        return None
    status = os.stat(path)
    return Toolchain(
        Path(path).name,
        (path, *_GCC_FLAGS.get(target.machine, ())),
        ("-static-libgcc", "-nostartfiles", "-Wl,--build-id=none"),
        f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}",
    )


def _zig(target: Target) -> Toolchain:
    if target.os == "macos":
        triple = "aarch64-macos"
    else:
        triple = f"{_GNU_TRIPLE[target.machine]}.{target.glibc}"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple]
    if target.machine in _ZIG_CPU:
        command.append(f"-mcpu={_ZIG_CPU[target.machine]}")
    # Zig's own runtime library takes 15 seconds to build the first time; only armv7 needs it, for division.
    flags = () if target.machine == "armv7l" or target.os == "macos" else ("-nostdlib",)
    return Toolchain("ziglang", tuple(command), flags, metadata.version("ziglang"))


def link_shared(
    target: Target,
    sources: Sequence[Path],
    library: Path,
    out: Path,
    cache: Cache | None = None,
    keep_symbols: bool = False,
) -> tuple[Toolchain, str | None]:
    """Compiles C and assembly sources and links them with objects into the shared object `out`.

    Args:
        sources: in the folder of `out`.
        library: folder of C sources that are linked too, and of headers for all.
        cache: holds the library's objects.
        keep_symbols: the names of functions stay in it.

    Returns:
        The toolchain that did it, and the glibc that the result needs at least (None for other systems).

    Raises:
        UserError: no toolchain, or only ones whose glibc is newer than the target's.
        CommandError: the compiler failed.
    """
    too_new = []
    *others, last = find_toolchains(target)
    for toolchain in (*others, last):
        try:
            objects = _compile_library(toolchain, library, out.parent, cache)
            _link(toolchain, target, [*sources, *objects], library, out, keep_symbols)
        except CommandError:
            if toolchain is last:
                raise
            continue  # a compiler without its C library, as a bare gcc package installs it
        if target.os != "linux":
            return toolchain, None
        needed = needed_glibc(out)
        if _version(needed) <= _version(target.glibc):
            return toolchain, needed
        too_new.append(f"{toolchain.name} links against glibc {needed}")
    raise UserError(
        f"the artifact would need a newer glibc than {target.name} has ({target.glibc}): {'; '.join(too_new)}",
        fix="pip install ziglang, which links against the target's own version",
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


# The guard of the stack lives in the dynamic linker, which would become a library that artifacts need. No exception
# passes through our code, so it has no tables for that.
_C_FLAGS = (
    *("-fPIC", "-O2", "-std=c11", "-fvisibility=hidden", "-fno-stack-protector", "-ffunction-sections", "-g0"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
)


def _compile_library(toolchain: Toolchain, library: Path, folder: Path, cache: Cache | None) -> list[Path]:
    """Writes the objects of the library's sources into `folder`; returns their names."""
    command = [*toolchain.command, *_C_FLAGS, "-I", str(library), "-c"]
    common = hashlib.sha256("\0".join([toolchain.version, *command]).encode())
    for shared in (Path(__file__), *sorted(library.glob("*.h"))):
        common.update(shared.read_bytes() + b"\0")
    keys = {}
    for source in sorted(library.glob("*.c")):
        digest = common.copy()
        digest.update(source.read_bytes())
        keys[source] = digest.hexdigest()

    def make(source: Path) -> Path:
        out = folder / f"{source.stem}.o"
        code = cache.load(keys[source]) if cache else None
        if code is not None:
            out.write_bytes(code)
        else:
            _run([*command, str(source), "-o", out.name], folder)
            if cache:
                cache.store(keys[source], out.read_bytes())
        return Path(out.name)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(make, keys))


def _link(
    toolchain: Toolchain, target: Target, sources: Sequence[Path], include: Path, out: Path, keep_symbols: bool
) -> None:
    command = [*toolchain.command, "-shared", *_C_FLAGS, "-I", str(include)]
    if target.os == "linux":
        exports = out.parent / "exports.map"
        exports.write_text("{ global: edgec_*; __tvm_ffi_edgec_*; local: *; };\n")
        # The prefix of the API is the generated symbols' too; those are hidden, which a version script respects.
        command += ["-Wl,--gc-sections", "-Wl,-z,noexecstack", f"-Wl,--version-script={exports.name}"]
        command += ["-Wl,--as-needed", "-Wl,-z,defs", *([] if keep_symbols else ["-s"])]
    linked = out.parent / f"{out.name}.linked"
    command += [*toolchain.flags, "-o", linked.name, *map(str, sources), "-lc", "-lm", "-lpthread"]
    _run(command, out.parent)
    # A linker fills the pages of its file in any order, and so they lie in memory, where the model reads its weights:
    # MobileNetV3 in int8 took 4 % longer than from the same file written from its begin to its end, as on a device.
    shutil.copyfile(linked, out)
    linked.unlink()


def _run(command: Sequence[str], folder: Path) -> None:
    environment = dict(os.environ)
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache_folder() / "zig"))
    environment["ZIG_LOCAL_CACHE_DIR"] = str(folder / "zig-cache")
    environment["SOURCE_DATE_EPOCH"] = "0"
    run(command, cwd=folder, env=environment)
