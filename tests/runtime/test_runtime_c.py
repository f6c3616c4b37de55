"""The C runtime by itself: driven from C, under the sanitizers, on every compiler; its size and needs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

import fake_artifact
import pytest

HERE = Path(__file__).resolve().parent
STRICT = [
    "-Wpedantic",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wno-unknown-warning-option",
    "-Werror",
]
ZIG_TARGETS = [
    "x86_64-linux-gnu.2.28",
    "aarch64-linux-gnu.2.28",
    "arm-linux-gnueabihf.2.28",
    "riscv64-linux-gnu.2.28",
    "aarch64-macos",
]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def build_program(tmp_path: Path, flags: Sequence[str]) -> Path:
    """api_test.c, the fake program and the runtime in one executable; skips without the sanitizers."""
    sanitizers = [flag for flag in flags if flag.startswith("-fsanitize")]
    if sanitizers:
        (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
        probe = [*sanitizers, str(tmp_path / "empty.c"), "-o", str(tmp_path / "empty")]
        linked = subprocess.run(["gcc", *probe], capture_output=True, check=False).returncode == 0
        if not linked or subprocess.run([str(tmp_path / "empty")], capture_output=True, check=False).returncode:
            pytest.skip(f"gcc cannot link or run {' '.join(sanitizers)} here")
    section = fake_artifact.write_section(tmp_path, fake_artifact.manifest())
    sources = [HERE / "api_test.c", HERE / "fake_program.c", section, *fake_artifact.runtime_sources()]
    program = tmp_path / "api_test"
    command = ["gcc", *fake_artifact.CFLAGS, *flags, "-I", str(fake_artifact.RUNTIME), *map(str, sources)]
    subprocess.run([*command, "-o", str(program), "-lpthread"], check=True)
    return program


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([], id="plain"),
        pytest.param(["-DEDGEC_NO_FUTEX"], id="condition-variables"),
        pytest.param(["-g", "-fsanitize=thread"], id="thread-sanitizer"),
        pytest.param(["-g", "-fsanitize=thread", "-DEDGEC_NO_FUTEX"], id="thread-sanitizer-condition-variables"),
        pytest.param(["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], id="address-undefined"),
    ],
)
def test_c_api(tmp_path: Path, flags: List[str]) -> None:
    program = build_program(tmp_path, flags)
    # ThreadSanitizer supports no threads in a child forked from a threaded process; AddressSanitizer's own
    # allocator may be locked by another thread at the fork and then hangs the child.
    sanitizer = next((flag for flag in flags if flag.startswith("-fsanitize=")), "")
    forks = {"": "fork", "-fsanitize=thread": "no-fork"}.get(sanitizer, "quiet-fork")
    environment = {
        **os.environ,
        "TSAN_OPTIONS": "halt_on_error=1",
        "ASAN_OPTIONS": "allocator_may_return_null=1",
    }
    done = subprocess.run(
        [str(program), forks], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr[-3000:]


def test_thread_sanitizer_would_see_a_race(tmp_path: Path) -> None:
    """The busy flag is what keeps two threads out of one context: without it the same test must fail."""
    source = (fake_artifact.RUNTIME / "context.c").read_text()
    broken = source.replace("return owner != process && ", "return true || ")
    assert broken != source
    runtime = tmp_path / "runtime"
    shutil.copytree(fake_artifact.RUNTIME, runtime, ignore=shutil.ignore_patterns("__pycache__"))
    (runtime / "context.c").write_text(broken)
    patch = pytest.MonkeyPatch()
    patch.setattr(fake_artifact, "RUNTIME", runtime)
    try:
        program = build_program(tmp_path, ["-g", "-fsanitize=thread"])
    finally:
        patch.undo()
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([str(program), "no-fork"], capture_output=True, timeout=120, env=environment, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize(
    "flags, status, words",
    [
        (["-DFAKE_ABI=99"], 6, "compile it again"),
        (["-DFAKE_ARENA=SIZE_MAX"], 3, "memory.arena_bytes"),
        (["-DFAKE_ARENA=(SIZE_MAX/2)"], 3, "memory.arena_bytes"),
        (["-DFAKE_DAMAGED"], 6, "the model's weights are damaged"),
    ],
)
def test_create_errors(tmp_path: Path, flags: List[str], status: int, words: str) -> None:
    path = fake_artifact.build(tmp_path / "bad.so", flags=flags)
    code = (
        "import ctypes, sys; m = ctypes.CDLL(sys.argv[1]); c = ctypes.c_void_p(7)\n"
        "m.edgec_last_error.restype = ctypes.c_char_p\n"
        "print(m.edgec_create(1, None, ctypes.byref(c)), c.value, m.edgec_last_error(None).decode())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{status} None ") and words in done.stdout


def test_no_memory_for_the_arena(tmp_path: Path) -> None:
    """A loader's view of the same: a clear error, no crash."""
    path = fake_artifact.build(tmp_path / "bad.so", flags=["-DFAKE_ARENA=SIZE_MAX"])
    code = "import sys; sys.path.insert(0, sys.argv[2]); import loader; loader.Model(sys.argv[1])"
    command = [sys.executable, "-c", code, str(path), str(fake_artifact.RUNTIME)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "LoadError: cannot prepare" in done.stderr and "not enough memory" in done.stderr


def test_example(tmp_path: Path, artifact: Path, other_artifact: Path) -> None:
    """Two models in one C program: each finds its own functions and weights (y of zeros: 7 and 1)."""
    shutil.copy(artifact, tmp_path / "model.so")
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", str(fake_artifact.RUNTIME)]
    subprocess.run([*command, str(HERE / "example.c"), "./model.so", "-ldl", "-o", "example"], check=True, cwd=tmp_path)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        ["./example", str(other_artifact)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "linked: y = 7\nopened: y = 1\n"), done.stdout + done.stderr


def test_header_is_cpp(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    source = tmp_path / "use.cc"
    source.write_text('#include "edgec.h"\nint main() { return edgec_abi_version() == EDGEC_ABI ? 0 : 1; }\n')
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]
    subprocess.run(
        ["g++", *flags, "-I", str(fake_artifact.RUNTIME), str(source), "-o", str(tmp_path / "o")], check=True
    )


def compile_runtime(compiler: Sequence[str], folder: Path, flags: Sequence[str] = ()) -> None:
    for source in fake_artifact.runtime_sources():
        target = folder / (Path(source).stem + ".o")
        command = [*compiler, *fake_artifact.CFLAGS, *STRICT, *flags, "-c", source, "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc", "clang"])
def test_no_warnings(tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    compile_runtime([compiler], tmp_path)
    compile_runtime([compiler], tmp_path, ["-DEDGEC_NO_FUTEX"])


@pytest.mark.parametrize("target", ZIG_TARGETS)
def test_no_warnings_with_zig(tmp_path: Path, target: str) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang")
    compile_runtime([sys.executable, "-m", "ziglang", "cc", "-target", target], tmp_path)


def test_code_size(tmp_path: Path) -> None:
    compile_runtime(["gcc"], tmp_path)
    objects = sorted(str(path) for path in tmp_path.glob("*.o"))
    lines = subprocess.run(["size", *objects], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    total = sum(int(line.split()[0]) + int(line.split()[1]) for line in lines)
    assert len(lines) == len(fake_artifact.runtime_sources()) and 2000 < total < 16384


def test_needs_only_the_c_library(artifact: Path) -> None:
    shown = subprocess.run(["readelf", "-d", "-W", str(artifact)], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", shown))
    assert "libc.so.6" in needed and needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    segments = subprocess.run(["readelf", "-l", "-W", str(artifact)], capture_output=True, text=True, check=True)
    assert " TLS " not in segments.stdout  # thread-local storage would need the dynamic linker's __tls_get_addr


def test_exports_only_the_api(artifact: Path) -> None:
    command = ["nm", "-D", "--defined-only", str(artifact)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in shown.splitlines()}
    header = (fake_artifact.RUNTIME / "edgec.h").read_text()
    assert names == set(re.findall(r"^EDGEC_API .*?(edgec_\w+)\(", header, re.MULTILINE))


def test_imports_no_recent_or_private_symbols(artifact: Path) -> None:
    shown = subprocess.run(["nm", "-D", "-u", str(artifact)], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split("@")[0] for line in shown.splitlines()}
    assert "pthread_create" in names
    assert not names & {"__tls_get_addr", "__isoc23_strtol", "strtol", "pthread_atfork", "__register_atfork"}
