"""Which toolchain is taken, and what is said when there is none."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from compiler.build import toolchain
from compiler.build.cache import Cache
from compiler.build.elf import needed_glibc
from compiler.build.toolchain import find_toolchains, link_shared
from compiler.errors import UserError
from compiler.process import CommandError
from compiler.target import load_target

SOURCE = """
#include <pthread.h>
#include <math.h>
static void *work(void *p) { return p; }
__attribute__((visibility("default"))) double edgec_f(double x) {
  pthread_t t;
  pthread_create(&t, 0, work, 0);
  pthread_join(t, 0);
  return exp(x);
}
"""


def without(monkeypatch: pytest.MonkeyPatch, zig: bool, gcc: bool) -> None:
    if zig:
        monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    if gcc:
        monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)


@pytest.mark.parametrize("name", ["raspberry-pi-5", "generic-armv7", "generic-riscv64"])
def test_a_missing_toolchain_names_the_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, zig=True, gcc=True)
    with pytest.raises(UserError) as error:
        find_toolchains(load_target(name))
    assert error.value.fix is not None
    assert "pip install ziglang" in error.value.fix
    assert "apt-get install gcc-" in error.value.fix


def test_apple_has_no_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, zig=True, gcc=True)
    with pytest.raises(UserError) as error:
        find_toolchains(load_target("apple-m1"))
    assert error.value.fix == "pip install ziglang"


def test_zig_comes_first_for_boards_and_alone_without_gcc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_toolchains(load_target("raspberry-pi-5"))[0].name == "ziglang"
    without(monkeypatch, zig=False, gcc=True)
    assert [t.name for t in find_toolchains(load_target("host"))] == ["ziglang"]


@pytest.mark.parametrize("name", ["raspberry-pi-5", "generic-armv7", "generic-riscv64", "x86-64-v3"])
def test_the_glibc_floor_is_kept(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    (tmp_path / "a.c").write_text(SOURCE)
    out = tmp_path / "a.so"
    _, needed = link_shared(target, [Path("a.c")], tmp_path / "none", out)
    assert needed == needed_glibc(out)
    assert needed is not None
    assert tuple(map(int, needed.split("."))) <= tuple(map(int, target.glibc.split("."))) == (2, 28)


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="no cross gcc")
def test_a_toolchain_with_a_newer_glibc_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, zig=True, gcc=False)
    (tmp_path / "a.c").write_text(SOURCE)
    with pytest.raises(UserError, match="newer glibc") as error:
        link_shared(load_target("raspberry-pi-5"), [Path("a.c")], tmp_path / "none", tmp_path / "a.so")
    assert "ziglang" in str(error.value.fix)


def test_a_compiler_error_shows_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("this is no C")
    with pytest.raises(CommandError, match=r"-shared.*a\.c") as error:
        link_shared(load_target("host"), [Path("a.c")], tmp_path / "none", tmp_path / "a.so")
    assert error.value.status not in (0, None)


def test_a_compiler_that_cannot_link_makes_way_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = toolchain.Toolchain("broken", ("false",))
    monkeypatch.setattr(toolchain, "_system_gcc", lambda target: broken)
    (tmp_path / "a.c").write_text(SOURCE)
    used, _ = link_shared(load_target("host"), [Path("a.c")], tmp_path / "none", tmp_path / "a.so")
    assert used.name == "ziglang"


def test_objects_of_the_library_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, compiled = tmp_path / "library", []
    library.mkdir()
    (library / "value.h").write_text("#define VALUE 42\n")
    for name in ("a", "b"):
        source = (
            f'#include "value.h"\n__attribute__((visibility("default"))) int edgec_{name}(void) {{ return VALUE; }}'
        )
        (library / f"{name}.c").write_text(source)
    run = toolchain._run

    def note(command: list[str], folder: Path) -> None:
        compiled.extend(Path(word).stem for word in command if word.endswith(".c"))
        run(command, folder)

    monkeypatch.setattr(toolchain, "_run", note)

    def link(cache: Cache | None) -> bytes:
        compiled.clear()
        (tmp_path / "out").mkdir()
        link_shared(load_target("host"), [], library, tmp_path / "out" / "a.so", cache)
        data = (tmp_path / "out" / "a.so").read_bytes()
        shutil.rmtree(tmp_path / "out")
        return data

    cache = Cache(tmp_path / "objects")
    without, cold = link(None), link(cache)
    assert sorted(compiled) == ["a", "b"]
    assert link(cache) == cold == without
    assert compiled == []
    (library / "a.c").write_text("// another\n" + (library / "a.c").read_text())
    link(cache)
    assert compiled == ["a"]
    (library / "value.h").write_text("#define VALUE 43\n")
    assert link(cache) != cold
    assert sorted(compiled) == ["a", "b"]
    newer = [dataclasses.replace(t, version="newer") for t in find_toolchains(load_target("host"))]
    monkeypatch.setattr(toolchain, "find_toolchains", lambda target: newer)
    link(cache)
    assert sorted(compiled) == ["a", "b"]
