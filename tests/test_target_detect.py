"""Detection of this machine, and of others from copies of their /proc and /sys."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from compiler.cpu_features import FEATURES
from compiler.errors import UserError
from compiler.target import Target, load_target, parse_target
from compiler.target_detect import detect_target, missing_here, running_machine

V3 = "fpu sse sse2 pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt xsave avx f16c bmi1 avx2 bmi2 abm lahf_lm"
ZEN5 = V3 + (
    " avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx_vnni avx512_bf16 avx512vbmi avx512_vbmi2 gfni"
    " avx512_vnni avx512_bitalg avx512_vpopcntdq sse4a"
)
PI5 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def caches(cpu: int, l1: str, l2: str, l2_cpus: str, l3: str = "") -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu{cpu}/cache"
    files = {}
    rows = [("1", "Data", l1, str(cpu)), ("1", "Instruction", "99K", str(cpu)), ("2", "Unified", l2, l2_cpus)]
    for index, (level, kind, size, cpus) in enumerate([*rows, ("3", "Unified", l3, "0-63")][: 3 + bool(l3)]):
        entry = {"level": level, "type": kind, "size": size, "shared_cpu_list": cpus}
        files.update({f"{folder}/index{index}/{key}": value for key, value in entry.items()})
    return files


def x86(root: Path, flags: str, count: int = 2, extra: str = "bogomips\t: 5200.00") -> None:
    blocks = [f"processor\t: {i}\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n{extra}" for i in range(count)]
    put(root, {"proc/cpuinfo": "\n\n".join(blocks)} | caches(0, "48K", "1024K", "0", "32M"))


def arm(root: Path, parts: list[str], features: str) -> None:
    blocks = [
        f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}"
        for i, part in enumerate(parts)
    ]
    put(root, {"proc/cpuinfo": "\n\n".join(blocks)})


def round_trips(target: Target) -> bool:
    return parse_target(target.to_toml(), "detected.toml") == target


def test_this_machine() -> None:
    target = load_target("host")
    assert target.name == "host"
    assert target == load_target("HOST")
    assert round_trips(target)
    assert missing_here(target) == []
    assert target.peak_gflops() > 1
    tvm = pytest.importorskip("tvm")
    tvm.target.Target(target.tvm_target())
    if platform.system() == "Linux" and target.machine == "x86_64":
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        assert flags is not None
        shown = {f.name for f in FEATURES["x86_64"].values() if f.cpuinfo in flags[1].split()}
        assert target.enabled_features <= shown


def test_missing_here_names_the_machine_or_the_feature() -> None:
    other = "raspberry-pi-5" if running_machine() != "aarch64" else "x86-64-v3"
    assert missing_here(load_target(other))[0].startswith("machine ")


def test_server_with_avx512(tmp_path: Path) -> None:
    x86(tmp_path, ZEN5)
    target = detect_target(tmp_path, "x86_64", frozenset({0, 1}), lambda: "znver5")
    assert (target.core, target.features, target.fast_cores) == ("znver5", (), 2)
    assert (target.simd_bits, target.simd_registers) == (512, 32)
    assert (target.caches.l1d_kib, target.caches.l2_kib, target.caches.l3_kib) == (48, 1024, 32768)
    assert not target.caches.l2_shared
    assert target.clusters[0].ghz == pytest.approx(3.9)  # 2.6 nominal
    assert "ghz" in target.estimates
    assert round_trips(target)


def test_hypervisor_that_hides_avx512(tmp_path: Path) -> None:
    x86(tmp_path, V3 + " sse4a")
    target = detect_target(tmp_path, "x86_64", frozenset({0, 1}), lambda: "znver5")
    assert target.core == "znver5"
    assert {"-avx512f", "-avx512vnni", "-avxvnni", "-gfni"} <= set(target.features)
    assert not any(name.startswith("avx512") for name in target.enabled_features)
    assert target.has("avx2")
    assert (target.simd_bits, target.simd_registers) == (256, 16)
    assert round_trips(target)


@pytest.mark.parametrize(
    ("flags", "core"),
    [
        (ZEN5, "x86-64-v4"),
        (V3, "x86-64-v3"),
        (V3.replace("avx2", ""), "x86-64-v2"),
        ("fpu sse sse2", "x86-64"),
    ],
)
@pytest.mark.parametrize("llvm", ["", "cpu-of-2030"])
def test_cpu_that_llvm_or_the_table_does_not_know(tmp_path: Path, flags: str, core: str, llvm: str) -> None:
    x86(tmp_path, flags)
    target = detect_target(tmp_path, "x86_64", frozenset({0}), lambda: llvm)
    assert target.core == core
    assert target.has("avx512vnni") == (flags == ZEN5)
    shown = {f.name for f in FEATURES["x86_64"].values() if f.cpuinfo in flags.split()}
    assert target.enabled_features <= shown
    assert round_trips(target)


def test_intrinsics_only_features_are_not_asked_for(tmp_path: Path) -> None:
    x86(tmp_path, ZEN5 + " amx_tile amx_int8")
    target = detect_target(tmp_path, "x86_64", frozenset({0}), lambda: "znver5")
    assert not target.has("amx-tile")


def test_hyper_threads_and_container_quota(tmp_path: Path) -> None:
    x86(tmp_path, V3, count=8)
    topology = {
        f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{i % 4},{i % 4 + 4}" for i in range(8)
    }
    put(tmp_path, topology)
    everything = frozenset(range(8))
    assert detect_target(tmp_path, "x86_64", everything, lambda: "").fast_cores == 4
    assert detect_target(tmp_path, "x86_64", frozenset({0, 4}), lambda: "").fast_cores == 1
    put(tmp_path, {"sys/fs/cgroup/cpu.max": "250000 100000"})
    assert detect_target(tmp_path, "x86_64", everything, lambda: "").fast_cores == 3
    put(tmp_path, {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert detect_target(tmp_path, "x86_64", everything, lambda: "").fast_cores == 4


def test_hybrid_intel(tmp_path: Path) -> None:
    x86(tmp_path, V3 + " gfni avx_vnni", count=6)
    put(tmp_path, {"sys/devices/cpu_core/cpus": "0-3", "sys/devices/cpu_atom/cpus": "4-5"})
    put(tmp_path, {f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "4400000" for i in range(4)})
    put(tmp_path, {f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "3300000" for i in (4, 5)})
    put(
        tmp_path,
        {f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{i & 2}-{(i & 2) + 1}" for i in range(4)},
    )
    target = detect_target(tmp_path, "x86_64", frozenset(range(6)), lambda: "alderlake")
    assert [(c.core, c.cores, c.ghz) for c in target.clusters] == [
        ("alderlake", 2, 4.4),
        ("efficiency", 2, 3.3),
    ]
    assert "ghz" not in target.estimates
    assert target.features == ()


def test_raspberry_pi_5(tmp_path: Path) -> None:
    arm(tmp_path, ["0xd0b"] * 4, PI5)
    put(tmp_path, {f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "2400000" for i in range(4)})
    put(
        tmp_path,
        {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"} | caches(0, "64K", "512K", "0", "2048K"),
    )
    target = detect_target(tmp_path, "aarch64", frozenset(range(4)))
    shipped = load_target("raspberry-pi-5")
    assert (target.core, target.clusters, target.caches) == (shipped.core, shipped.clusters, shipped.caches)
    assert target.peak_gflops() == shipped.peak_gflops()
    assert target.features == ("-ssbs",)  # the kernel does not show it
    assert target.description == "Raspberry Pi 5 Model B Rev 1.0, detected"
    assert round_trips(target)


def test_raspberry_pi_4_has_no_crypto(tmp_path: Path) -> None:
    arm(tmp_path, ["0xd08"] * 4, "fp asimd evtstrm crc32 cpuid")
    put(tmp_path, caches(0, "32K", "1024K", "0-3"))
    target = detect_target(tmp_path, "aarch64", frozenset(range(4)))
    assert target.core == "cortex-a72"
    assert target.features == load_target("raspberry-pi-4").features
    assert target.caches.l2_shared
    assert "ghz" in target.estimates


def test_big_little(tmp_path: Path) -> None:
    arm(tmp_path, ["0xd05"] * 4 + ["0xd0b"] * 4, PI5)
    for cpu in range(8):
        put(
            tmp_path,
            {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq": "1800000" if cpu < 4 else "2400000"},
        )
    target = detect_target(tmp_path, "aarch64", frozenset(range(8)))
    assert [(c.core, c.cores) for c in target.clusters] == [("cortex-a76", 4), ("cortex-a55", 4)]
    assert target.core == "cortex-a76"


def test_32_bit_arm_system_on_a_64_bit_core(tmp_path: Path) -> None:
    arm(
        tmp_path,
        ["0xd08"] * 4,
        "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32",
    )
    target = detect_target(tmp_path, "armv7l", frozenset(range(4)))
    assert (target.core, target.abi, target.simd_registers, target.bits) == ("cortex-a7", "hard", 16, 32)
    assert target.features == ()
    assert round_trips(target)


def test_unknown_arm_core_keeps_its_features(tmp_path: Path) -> None:
    arm(tmp_path, ["0xfff"], PI5)
    target = detect_target(tmp_path, "aarch64", frozenset({0}))
    assert target.core == "generic"
    assert target.has("dotprod")
    assert target.has("fullfp16")
    assert round_trips(target)


def test_riscv(tmp_path: Path) -> None:
    for isa, vector in (("rv64imafdc_zicsr_zifencei", False), ("rv64imafdcv_zicsr", True)):
        put(tmp_path, {"proc/cpuinfo": f"processor\t: 0\nhart\t: 1\nisa\t\t: {isa}\nmmu\t: sv39"})
        target = detect_target(tmp_path, "riscv64", frozenset({0}))
        assert target.has("d")
        assert target.has("v") == vector
        assert (target.abi, target.simd_bits) == ("lp64d", 64)
        assert round_trips(target)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv7l", "riscv64"])
def test_nothing_to_read(tmp_path: Path, machine: str) -> None:
    target = detect_target(tmp_path, machine, frozenset({0, 1}), lambda: "")
    assert {"ghz", "caches", "features"} <= set(target.estimates)
    assert target.fast_cores == 2
    assert round_trips(target)


def test_garbage_is_not_believed(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"proc/cpuinfo": "\x00:\nprocessor : x\n\nflags : \xff\nbogomips : nan\nmodel name: @ ..GHz \x1b[1m"},
    )
    put(
        tmp_path,
        {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "9" * 50, "sys/fs/cgroup/cpu.max": "0 0"},
    )
    put(tmp_path, caches(0, "-1K", "9999999M", "0-99999999"))
    assert round_trips(detect_target(tmp_path, "x86_64", frozenset({0}), lambda: "\x00"))


def test_unsupported_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    with pytest.raises(UserError, match="not supported on Windows"):
        detect_target()
    assert "not supported" in missing_here(load_target("x86-64-v3"))[0]


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"machdep.cpu.brand_string": "Apple M4 Pro", "hw.perflevel0.physicalcpu": "10"}
    monkeypatch.setattr("compiler.target_detect._sysctl", lambda name: answers.get(name, ""))
    target = detect_target(machine="arm64")
    assert (target.name, target.core, target.fast_cores, target.os) == ("host", "apple-m2", 10, "macos")
    assert round_trips(target)
