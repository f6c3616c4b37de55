"""Describes the machine this runs on as a Target: Linux on x86-64, Arm and RISC-V; macOS on Apple silicon.

Nothing is measured and no current clock is read, so a machine always gets the same description. /proc/cpuinfo
decides over the CPU's model: what a hypervisor or the kernel hides is switched off.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import os
import platform
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from .cpu_features import BASELINE, FEATURES, IMPLIED, enabled_features, required_features
from .errors import UserError
from .target import TRIPLES, Cluster, Target, list_targets
from .target_linux import (
    FLAGS_KEY,
    cgroup_cores,
    common_flags,
    nominal_ghz,
    parse_cpu_list,
    read_caches,
    read_cpuinfo,
    read_model_name,
    read_text,
)

# MIDR implementer and part -> LLVM's core name (Arm and vendor technical reference manuals).
_ARM_PARTS = {
    "0x41:0xc07": "cortex-a7", "0x41:0xc09": "cortex-a9", "0x41:0xc0f": "cortex-a15", "0x41:0xd03": "cortex-a53",
    "0x41:0xd04": "cortex-a35", "0x41:0xd05": "cortex-a55", "0x41:0xd07": "cortex-a57", "0x41:0xd08": "cortex-a72",
    "0x41:0xd09": "cortex-a73", "0x41:0xd0a": "cortex-a75", "0x41:0xd0b": "cortex-a76", "0x41:0xd0c": "neoverse-n1",
    "0x41:0xd0d": "cortex-a77", "0x41:0xd40": "neoverse-v1", "0x41:0xd41": "cortex-a78", "0x41:0xd42": "cortex-a78ae",
    "0x41:0xd44": "cortex-x1", "0x41:0xd49": "neoverse-n2", "0x41:0xd4f": "neoverse-v2", "0x4e:0x004": "carmel",
}  # fmt: skip
# 128-bit (NEON) multiply-adds a cycle; the others: 2. Arm software optimization guides.
_ARM_PIPES = {
    "cortex-a7": 0.5,
    "cortex-a9": 0.5,
    "cortex-a15": 1.0,
    "cortex-a35": 0.5,
    "generic": 1.0,
} | dict.fromkeys(("cortex-a53", "cortex-a55", "cortex-a57", "cortex-a72", "cortex-a73"), 1.0)
_BANDWIDTH_GBS = {"x86_64": 25.6, "aarch64": 12.8, "armv7l": 3.0, "riscv64": 4.0}
_GHZ = {"x86_64": 2.5, "aarch64": 1.5, "armv7l": 1.0, "riscv64": 1.2}
_GENERIC_CORE = {"aarch64": "generic", "armv7l": "cortex-a7", "riscv64": "generic-rv64"}
# Virtual machines show the nominal clock only; server CPUs boost to 1.4 (Xeon) .. 1.9 times it, Zen 4 and 5 to 1.5.
_NOMINAL_TO_BOOST = 1.5
_TRIPLE_OF = {machine: triple for triple, (machine, _, _) in TRIPLES.items()}


def ask_llvm() -> str:
    """LLVM's name of this CPU, "" where TVM is not there to be asked."""
    try:
        codegen = importlib.import_module("tvm.target.codegen")  # a second's import: only where it is asked
    except ImportError:
        return ""
    return str(codegen.llvm_get_system_cpu())


def running_machine() -> str:
    """The machine of this process: a 32-bit Python on a 64-bit Arm kernel is armv7l. Raises UserError."""
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "armv8l": "armv7l"}.get(machine, machine)
    if platform.system() == "Darwin" and machine == "arm64":
        return "arm64"
    if struct.calcsize("P") == 4:
        machine = {"aarch64": "armv7l"}.get(machine, machine + " (32-bit)" * (machine != "armv7l"))
    if platform.system() != "Linux" or machine not in _TRIPLE_OF:
        raise UserError(
            f"target `host` is not supported on {platform.system()} {machine}",
            None,
            "Name the board to compile for; `edgec targets list` shows all.",
        )
    return machine


def detect_target(
    root: Path = Path("/"),
    machine: str | None = None,
    cpus: frozenset[int] | None = None,
    llvm_cpu: Callable[[], str] = ask_llvm,
) -> Target:
    """This machine as the target `host`. What could not be read is a default, named in `estimates`.

    Args:
        root: where /proc and /sys are (tests give a copy of another machine's).
        machine: x86_64, aarch64, armv7l, riscv64 or arm64; None: this process's.
        cpus: numbers of the CPUs that may be used; None: this process's.
        llvm_cpu: gives LLVM's name of the CPU, used on x86-64.

    Raises:
        UserError: an unsupported operating system or machine.
    """
    machine = machine or running_machine()
    if machine == "arm64":
        return _detect_macos()
    cpus = frozenset(os.sched_getaffinity(0)) if cpus is None else cpus
    estimates = ["memory_bandwidth_gbs", "fma_pipes"]
    blocks = read_cpuinfo(root)
    flags = common_flags(blocks, machine)
    if not any(FLAGS_KEY.get(machine, "features") in block for block in blocks):
        estimates.append("features")
    clusters, core = _clusters(root, machine, blocks, cpus, estimates)
    if machine == "x86_64":
        core = llvm_cpu()
    core, features = _core_and_features(machine, core, flags)
    clusters = tuple(dataclasses.replace(c, core=c.core or core) for c in clusters)
    enabled = enabled_features(machine, core, features)
    bits, registers = _simd(machine, enabled)
    if machine in ("aarch64", "armv7l"):
        pipes = _ARM_PIPES.get(clusters[0].core, 2.0)
    else:
        pipes = 0.5 if machine == "riscv64" else 2.0 if "fma" in enabled else 1.0
    python = platform.python_version_tuple()
    return Target(
        name="host",
        aliases=(),
        description=f"{read_model_name(root, blocks) or machine}, detected",
        sources=("/proc/cpuinfo", "/sys/devices/system/cpu"),
        triple=_TRIPLE_OF[machine],
        core=core,
        features=features,
        abi={"armv7l": "hard", "riscv64": "lp64d"}.get(machine, ""),
        clusters=clusters,
        caches=read_caches(root, machine, min(cpus, default=0), estimates),
        simd_bits=bits,
        simd_registers=registers,
        fma_pipes=pipes,
        memory_bandwidth_gbs=_BANDWIDTH_GBS[machine],
        os="linux",
        glibc=_glibc(estimates),
        python=f"{python[0]}.{python[1]}",
        estimates=tuple(estimates),
    )


def missing_here(target: Target) -> list[str]:
    """Why code for the target cannot run on this machine, in words; empty where it can."""
    try:
        machine = running_machine()
    except UserError as error:
        return [error.what]
    if machine != target.machine:
        return [f"machine {target.machine} (this is {machine})"]
    flags = common_flags(read_cpuinfo(Path("/")), machine)
    missing = []
    for entry in required_features(target):
        if "auxv" in entry:
            kind, bit = entry["auxv"]
            present = bool(_getauxval(kind) >> bit & 1)
        else:
            present = entry.get("cpuinfo") is None or entry["cpuinfo"] in flags
        if not present:
            missing.append(f"CPU feature {entry['name']}")
    return missing


def _getauxval(kind: int) -> int:
    function = ctypes.CDLL(None).getauxval
    function.argtypes, function.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(function(kind))


def _core_and_features(machine: str, core: str, flags: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """An LLVM core from the table and the attributes that make its features the machine's own."""
    present = {f.name for f in FEATURES[machine].values() if f.cpuinfo in flags} | BASELINE[machine]
    known = IMPLIED[machine]
    if machine == "armv7l" and core not in known:
        core = "cortex-a7" if known["cortex-a7"] <= present else "cortex-a9"  # 64-bit cores in 32-bit mode
    elif core not in known:
        levels = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
        core = _GENERIC_CORE.get(machine) or next(level for level in levels if known[level] <= present)
    removed = tuple(f"-{name}" for name in sorted(known[core] - present))
    # Intrinsics-only features (AMX, AES) are not asked for: a device would then be refused for want of them.
    left = enabled_features(machine, core, removed)
    added = sorted(name for name in present - left if FEATURES[machine][name].implicit)
    features = tuple(f"+{name}" for name in added) + removed
    # An added feature must not come back with one that it needs and the machine hides.
    while extra := enabled_features(machine, core, features) - present:
        features += tuple(f"-{name}" for name in sorted(extra))
    return core, features


def _simd(machine: str, enabled: frozenset[str]) -> tuple[int, int]:
    """Width in bits and number of the vector registers."""
    if machine == "x86_64":
        if "avx512f" in enabled:
            return 512, 32
        return (256, 16) if "avx2" in enabled else (128, 16)
    if machine == "riscv64":
        return 64, 32
    return 128, 16 if machine == "armv7l" else 32


def _clusters(
    root: Path, machine: str, blocks: list[dict[str, str]], cpus: frozenset[int], estimates: list[str]
) -> tuple[tuple[Cluster, ...], str]:
    """The kinds of cores this process may use, fastest first, and LLVM's name of the fast ones ("": unknown)."""
    system = root / "sys/devices"
    by_number = {int(block["processor"]): block for block in blocks if block.get("processor", "").isdigit()}
    atoms = parse_cpu_list(read_text(system / "cpu_atom/cpus"))
    exact = True
    kinds: dict[str, dict[frozenset[int], float]] = {}  # kind -> threads of a core -> GHz
    for cpu in sorted(cpus):
        folder = system / f"system/cpu/cpu{cpu}"
        block = by_number.get(cpu, {})
        kind = "atom" if cpu in atoms else "core"
        if machine in ("aarch64", "armv7l"):
            part = f"{block.get('cpu implementer', '').lower()}:{block.get('cpu part', '').lower()}"
            kind = _ARM_PARTS.get(part, "")
        threads = parse_cpu_list(read_text(folder / "topology/thread_siblings_list")) or frozenset({cpu})
        khz = read_text(folder / "cpufreq/cpuinfo_max_freq")
        if khz.isdigit() and len(khz) < 9:
            ghz = int(khz) / 1e6
        else:
            ghz = _NOMINAL_TO_BOOST * nominal_ghz(block)
            exact = False
        kinds.setdefault(kind, {})[threads] = ghz
    if not exact or not kinds:
        estimates.append("ghz")
    clusters = []
    for kind, cores in kinds.items():
        ghz = max(cores.values()) or _GHZ[machine]
        if machine in ("aarch64", "armv7l"):
            name = kind or "generic"
        else:
            name = "efficiency" if kind == "atom" else ""  # "": filled in with LLVM's name
        clusters.append(Cluster(name, len(cores), min(max(round(ghz, 2), 0.1), 10.0)))
    clusters.sort(key=lambda cluster: (-cluster.ghz * _ARM_PIPES.get(cluster.core, 2.0), cluster.core == "efficiency"))
    if not clusters:
        clusters = [Cluster("", max(1, len(cpus)), _GHZ[machine])]
    limit = cgroup_cores(root)
    if limit is not None and limit < clusters[0].cores:
        clusters = [dataclasses.replace(clusters[0], cores=limit)]
    fast = clusters[0].core
    return tuple(clusters), fast if machine in ("aarch64", "armv7l") else ""


def _glibc(estimates: list[str]) -> str:
    """The running glibc: artifacts for `host` are linked against it."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        text = ""
    match = re.search(r"glibc (2\.\d{1,2})", text)
    if match is None:
        estimates.append("glibc")
    return match[1] if match else "2.28"


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], check=False, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _detect_macos() -> Target:
    """Apple silicon: the facts of apple-m1, or of apple-m2 for any newer chip, with this machine's core counts."""
    brand = _sysctl("machdep.cpu.brand_string")
    model = "apple-m2" if re.match(r"Apple M([2-9]|\d\d)", brand) else "apple-m1"
    base = next(target for target in list_targets() if target.name == model)
    counts = [_sysctl(f"hw.perflevel{level}.physicalcpu") for level in (0, 1)]
    clusters = tuple(
        dataclasses.replace(cluster, cores=int(count) if count.isdigit() and int(count) else cluster.cores)
        for cluster, count in zip(base.clusters, counts, strict=False)
    )
    python = platform.python_version_tuple()
    return dataclasses.replace(
        base,
        name="host",
        aliases=(),
        description=f"{brand or 'Apple silicon'}, detected",
        sources=("sysctl", f"targets/{model}.toml"),
        clusters=clusters,
        python=f"{python[0]}.{python[1]}",
        estimates=tuple(dict.fromkeys((*base.estimates, "ghz", "memory_bandwidth_gbs", "caches"))),
    )
