"""The shipped target descriptors, users' own files, and the error for every fault in one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import UserError
from compiler.target import MAX_FILE_BYTES, Target, list_targets, load_target, parse_target, targets_dir

NAMES = [
    "raspberry-pi-3",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
    "radxa-orion-o6",
    "rock-5b",
    "jetson-nano",
    "jetson-xavier-nx",
    "jetson-orin-nano",
    "jetson-agx-orin",
    "intel-nuc-12",
    "intel-n100",
    "x86-64-v2",
    "x86-64-v3",
    "x86-64-v4",
    "apple-m1",
    "apple-m2",
    "generic-aarch64",
    "generic-armv7",
    "generic-riscv64",
]
TEXT = (targets_dir() / "jetson-orin-nano.toml").read_text()


def test_all_names_are_there() -> None:
    assert sorted(target.name for target in list_targets()) == sorted(NAMES)


def test_names_and_aliases_are_unique_and_resolve() -> None:
    words = [word for target in list_targets() for word in (target.name, *target.aliases)]
    assert len(words) == len(set(words))
    assert "host" not in words
    for target in list_targets():
        for word in (target.name, *target.aliases, target.name.upper(), target.name.replace("-", "_")):
            assert load_target(word) is target


@pytest.mark.parametrize("name", NAMES)
def test_descriptor_is_sound(name: str) -> None:
    target = load_target(name)
    assert (targets_dir() / f"{name}.toml").is_file()
    assert target.sources
    assert target.description
    assert target.peak_gflops() > 0
    assert target.peak_gflops("float64") < target.peak_gflops() < target.peak_gflops("int8")
    assert parse_target(target.to_toml(), "again") == target
    json.dumps(target.to_dict())
    assert hash(target)


@pytest.mark.parametrize("name", NAMES)
def test_tvm_takes_the_target(name: str) -> None:
    tvm = pytest.importorskip("tvm")
    spec = load_target(name).tvm_target()
    assert tvm.target.codegen.llvm_is_valid_cpu(spec["mcpu"], spec["mtriple"])
    tvm.target.Target(spec)


def test_facts_of_some_boards() -> None:
    pi, rock, armv7, generic = map(load_target, ("rpi5", "rock-5b", "generic-armv7", "generic-aarch64"))
    assert (pi.machine, pi.os, pi.bits, pi.fast_cores, pi.vector_bits) == ("aarch64", "linux", 64, 4, 128)
    assert pi.peak_gflops() == pytest.approx(153.6)
    assert pi.peak_gflops("int8") == pytest.approx(4 * 153.6)
    assert pi.peak_gflops("float16") == pytest.approx(2 * 153.6)
    assert [pi.peak_gflops(t) / pi.peak_gflops() for t in ("bool", "uint16", "int32", "int64")] == [4, 2, 1, 0.5]
    assert (pi.ghz, rock.ghz, generic.ghz) == (2.4, 2.4, 1.5)
    assert (rock.fast_cores, rock.num_cores) == (4, 8)
    assert not rock.has("ssbs")
    assert (generic.fast_cores, generic.num_cores) == (None, None)
    shared = load_target("raspberry-pi-4")
    assert [target.l2_bytes >> 10 for target in (pi, shared, generic)] == [512, 256, 512]
    assert "num-cores" not in generic.tvm_target()
    assert (armv7.machine, armv7.bits, armv7.tvm_target()["mfloat-abi"]) == ("armv7l", 32, "hard")
    assert load_target("generic-riscv64").tvm_target()["mabi"] == "lp64d"
    assert load_target("apple-m1").machine == "arm64"
    assert load_target("apple-m1").glibc == ""
    with pytest.raises(ValueError, match="complex64"):
        pi.peak_gflops("complex64")


def test_fingerprint_follows_the_hardware_only() -> None:
    target = load_target("raspberry-pi-5")
    same = dataclasses.replace(target, name="my-pi", sources=(), memory_bandwidth_gbs=9.0, glibc="2.31")
    assert same.fingerprint == target.fingerprint
    for change in (
        {"simd_registers": 16},
        {"core": "cortex-a72"},
        {"features": ("-dotprod",)},
        {"clusters": ()},
    ):
        assert dataclasses.replace(target, **change).fingerprint != target.fingerprint
    assert len({load_target(name).fingerprint for name in NAMES}) == len(NAMES) - 1  # Pi Zero 2 W is a Pi 3


def test_file_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace('name = "jetson-orin-nano"', 'name = "mine"'))
    assert load_target(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rasberry-pi-5", "raspberry-pi-5"),
        ("orin-nan", "orin-nano"),
        ("hots", "host"),
        ("qqqq", "edgec targets list"),
        ("", "edgec targets list"),
    ],
)
def test_unknown_name(name: str, expected: str) -> None:
    with pytest.raises(UserError, match="unknown target") as error:
        load_target(name)
    assert expected in str(error.value)


FAULTS = {
    "unknown section": ("[os]", "[system]", "unknown section [system]"),
    "unknown key": ("simd_bits", "simd_bitz", "Did you mean simd_bits"),
    "unknown cluster key": ("ghz = 1.7", "mhz = 1700", "unknown key 'mhz'"),
    "missing key": ("simd_registers = 32\n", "", "missing key 'simd_registers'"),
    "missing section": ('[os]\nname = "linux"\nglibc = "2.28"\npython = "3.8"\n', "", "missing section [os]"),
    "missing caches": ("[cpu.caches]", "[cuda.caches]", "missing section [cpu.caches]"),
    "syntax": ("simd_bits = 128", "simd_bits = ", "line"),
    "string for number": ("simd_bits = 128", 'simd_bits = "wide"', "must be an integer"),
    "float for integer": ("simd_bits = 128", "simd_bits = 128.0", "must be an integer"),
    "bool for number": ("fma_pipes = 2", "fma_pipes = true", "must be a number"),
    "number for bool": ("l2_shared = false", "l2_shared = 0", "must be true or false"),
    "number for string": ('core = "cortex-a78ae"\n', "core = 78\n", "must be a string"),
    "string for array": ("features = []", 'features = "+aes"', "must be an array"),
    "number in array": ("features = []", "features = [1]", "features[0] must be a string"),
    "table for array": ("features = []", "features = {}", "must be an array"),
    "long array": ("features = []", f"features = {['+aes'] * 65}", "at most 64"),
    "string for cluster": ("clusters = [{", 'clusters = ["x", {', "must be a table"),
    "value for section": ("[cuda]", "[cuda.x]", "unknown key 'x'"),
    "out of range": ("ghz = 1.7", "ghz = 1700.0", "between 0.1 and 10"),
    "negative": ("l1d_kib = 64", "l1d_kib = -64", "between 1 and 4096"),
    "nan": ("memory_bandwidth_gbs = 102.4\nqemu", "memory_bandwidth_gbs = nan\nqemu", "between"),
    "infinite": ("fma_pipes = 2", "fma_pipes = inf", "between"),
    "odd width": ("simd_bits = 128", "simd_bits = 100", "64, 128, 256 or 512"),
    "unknown triple": ("aarch64-linux-gnu", "aarch64-linux-musl", "one of x86_64-linux-gnu"),
    "unknown core": ('core = "cortex-a78ae"\n', 'core = "cortex-a78e"\n', "Did you mean cortex-a78ae"),
    "core of another machine": ('core = "cortex-a78ae"\n', 'core = "haswell"\n', "unknown core 'haswell'"),
    "unknown feature": ("features = []", 'features = ["+dotprd"]', "Did you mean dotprod"),
    "feature without sign": ("features = []", 'features = ["dotprod"]', "features[0]"),
    "bad name": ('name = "jetson-orin-nano"', 'name = "../etc"', "must be a string like"),
    "bad glibc": ('glibc = "2.28"', 'glibc = "new"', "glibc must be"),
    "no glibc": ('glibc = "2.28"\n', "", "each needs one"),
    "system against triple": ('name = "linux"', 'name = "macos"', "runs linux"),
    "abi": ("features = []", 'features = []\nabi = "hard"', "Remove it"),
    "unknown estimate": ('estimate = ["l3_kib"]', 'estimate = ["l3"]', "estimate names no key"),
    "control character": ('description = "', 'description = "\\u001b', "description must be"),
    "duplicate key": ("simd_bits = 128", "simd_bits = 128\nsimd_bits = 128", "not valid TOML"),
    "deep nesting": ("features = []", f"features = {'[' * 5000}{']' * 5000}", "not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str) -> None:
    old, new, expected = FAULTS[fault]
    assert old in TEXT
    with pytest.raises(UserError) as error:
        parse_target(TEXT.replace(old, new, 1), "mine.toml")
    assert expected in str(error.value)
    assert "mine.toml" in str(error.value)
    assert len(str(error.value)) < 2000


def test_unreadable_files(tmp_path: Path) -> None:
    for name, content, expected in (
        ("big.toml", b"#" * (MAX_FILE_BYTES + 1), "larger than"),
        ("latin.toml", TEXT.encode() + b"# \xe9", "not UTF-8"),
        ("empty.toml", b"", "missing section"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=expected):
            load_target(str(tmp_path / name))
    for path in (tmp_path, tmp_path / "none.toml", "a\0b.toml", "~nobody-here/x.toml"):
        with pytest.raises(UserError):
            load_target(str(path))


def load_bytes(data: bytes) -> Target | None:
    try:
        return parse_target(data.decode("utf-8"), "mutated.toml")
    except (UserError, UnicodeDecodeError):
        return None


@given(
    st.lists(
        st.tuples(st.integers(0, len(TEXT) - 1), st.binary(max_size=4), st.integers(0, 9)),
        min_size=1,
        max_size=4,
    )
)
def test_mutations_only_give_user_errors(edits: list[tuple[int, bytes, int]]) -> None:
    data = TEXT.encode()
    for place, inserted, removed in edits:
        data = data[:place] + inserted + data[place + removed :]
    target = load_bytes(data)
    if target is not None:  # what is accepted works
        assert target.tvm_target()
        assert target.fingerprint
        assert target.peak_gflops() > 0
        assert load_bytes(target.to_toml().encode()) == target
