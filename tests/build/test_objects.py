"""Kernels as objects: what makes two of them the same, and what their machine code depends on."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tvm import te, topi

from compiler.build import objects
from compiler.build.cache import Cache
from compiler.build.objects import canonical_form, compile_kernels, kernel_key
from compiler.kernels.schedule import UNSCHEDULED
from compiler.target import Target, load_target

COMPILER = Path(objects.__file__).resolve().parent.parent


def program(name: str = "x", shape: tuple[int, ...] = (4, 33), floor: float = 0.5) -> Any:
    """max(x, floor) + x, with the name that its input has in some model."""
    x = te.placeholder(shape, name=name)
    y = te.compute(shape, lambda *i: te.max(x(*i), te.const(floor, "float32")) + x(*i), name="y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", f"from_{name}")


def softmax() -> Any:
    x = te.placeholder((4, 100), name="x")
    return te.create_prim_func([x, topi.nn.softmax(x)])


def rotation() -> Any:
    """A transposition, which armv7 gets wrong unless one of LLVM's options is set."""
    x = te.placeholder((2, 5, 11, 32), name="x")
    return te.create_prim_func([x, topi.transpose(x, (0, 3, 1, 2))])


@pytest.fixture
def target() -> Target:
    return load_target("x86-64-v3")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "objects")


def key(func: Any, target: Target, parameters: dict[str, int] | None = None) -> str:
    return kernel_key(canonical_form(func), target, parameters or {})


def test_names_do_not_matter_and_nothing_else_is_overlooked(target: Target) -> None:
    assert key(program("x"), target) == key(program("another"), target)
    others = (program(shape=(4, 34)), program(shape=(33, 4)), program(floor=0.5000001), program(floor=-0.0))
    assert len({key(func, target) for func in (program(), *others, program(floor=0.0))}) == 6


def test_equal_programs_are_one_object(target: Target) -> None:
    made = compile_kernels({"b": program("p"), "a": program("q"), "c": softmax()}, target)
    assert made.kernels["a"] is made.kernels["b"]
    assert list(made.distinct) == [made.kernels["b"].symbol, made.kernels["c"].symbol]
    assert made.kernels["a"].symbol.encode() in made.kernels["a"].code


@pytest.mark.parametrize("name", ["x86-64-v3", "raspberry-pi-5", "generic-armv7"])
def test_the_second_compilation_finds_all_kernels_the_same(name: str, cache: Cache) -> None:
    target = load_target(name)
    programs = {"p": program(), "s": softmax(), "r": rotation()}
    without = compile_kernels(programs, target)
    first, second = (compile_kernels(programs, target, cache) for _ in range(2))
    assert (without.cached, first.cached, second.cached) == (0, 0, 3)
    assert without.kernels == first.kernels == second.kernels
    assert compile_kernels({"other": program("y"), "new": program(shape=(3, 3))}, target, cache).cached == 1


def test_a_damaged_entry_is_compiled_again(tmp_path: Path, cache: Cache, target: Target) -> None:
    first = compile_kernels({"p": program()}, target, cache)
    (entry,) = (tmp_path / "objects").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = compile_kernels({"p": program()}, target, cache)
    assert again.cached == 0
    assert again.kernels == first.kernels
    assert entry.read_bytes() == whole


def test_another_target_another_version_or_other_sources_find_nothing(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    func = softmax()
    keys = [key(func, target), key(func, target, {"rows": 2}), key(func, target, {"rows": 3})]
    for change in (
        {"simd_registers": 8},
        {"simd_bits": 128},
        {"core": "x86-64-v2"},
        {"features": ("+avx512f",)},
        {"fma_pipes": 1.0},
    ):
        keys.append(key(func, dataclasses.replace(target, **change)))
    for name in ("EDGEC", "TVM", "TVM_FFI", "_SOURCES"):
        with monkeypatch.context() as changed:
            changed.setattr(objects, name, "another")
            objects._context.cache_clear()
            keys.append(key(func, target))
        objects._context.cache_clear()
    assert len(set(keys)) == len(keys) == 12
    assert key(func, target) == keys[0]


def test_a_board_by_another_name_finds_the_same_kernels(target: Target) -> None:
    other = dataclasses.replace(target, name="mine", description="", sources=(), glibc="2.31")
    assert key(softmax(), target) == key(softmax(), other)


def test_why_a_kernel_is_not_scheduled_is_kept(cache: Cache, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(sch: Any, limits: Any) -> None:
        raise ValueError("too odd")

    monkeypatch.setattr("compiler.kernels.schedule.RULES", (("odd", failing),))
    first, second = (compile_kernels({"p": program()}, target, cache) for _ in range(2))
    assert second.cached == 1
    assert second.kernels["p"].rule == UNSCHEDULED
    assert second.kernels["p"].failures == first.kernels["p"].failures == {"odd": "too odd"}


def test_parameters_are_applied_and_kept(cache: Cache, target: Target) -> None:
    default = compile_kernels({"p": softmax()}, target, cache).kernels["p"]
    if not default.parameters:
        pytest.skip("the rule that takes a softmax has no parameters")
    name, value = next(iter(default.parameters.items()))
    changed = compile_kernels({"p": softmax()}, target, cache, {"p": {name: value}})
    assert changed.cached == 0
    assert changed.kernels["p"].parameters == default.parameters


def test_the_digest_of_the_sources_covers_all_that_makes_a_kernel() -> None:
    """What schedules and code generation import of ours is in the digest, or in the key by itself."""
    built = {"build.codegen", "build.llvm_options", "build.objects"}
    covered = built | {f"kernels.{path.stem}" for path in COMPILER.glob("kernels/*.py")}
    in_the_key = {"target", "versions", "build.memory"}  # as limits and LLVM's target; versions; ALIGNMENT
    stores_and_types = {"build.cache"}
    for module in covered:
        tree = ast.parse((COMPILER / f"{module.replace('.', '/')}.py").read_text())
        package = module.split(".")[:-1]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                modules = [node.module] if node.module else [alias.name for alias in node.names]
                for name in (".".join([*base, *part.split(".")]) for part in modules):
                    assert name in covered | in_the_key | stores_and_types, f"{module} imports {name}"
