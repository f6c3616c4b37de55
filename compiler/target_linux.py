"""What Linux tells of a machine in /proc and /sys. Nothing there is taken on trust: what makes no sense is left out."""

from __future__ import annotations

import math
import re
from pathlib import Path

from .cpu_features import BASELINE, FEATURES
from .target_model import Caches

FLAGS_KEY = {"x86_64": "flags", "riscv64": "isa"}  # the key in /proc/cpuinfo; Arm: "features"


def read_text(path: Path) -> str:
    """The first MiB of a file, stripped; "" if it cannot be read."""
    try:
        return path.read_bytes()[: 1 << 20].decode("utf-8", "replace").strip()
    except OSError:
        return ""


def read_cpuinfo(root: Path) -> list[dict[str, str]]:
    """The paragraphs of /proc/cpuinfo, each as key -> value (keys in lower case)."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", read_text(root / "proc/cpuinfo")):
        pairs = (line.partition(":") for line in paragraph.splitlines() if ":" in line)
        block = {key.strip().lower(): value.strip() for key, _, value in pairs}
        if block:
            blocks.append(block)
    return blocks


def common_flags(blocks: list[dict[str, str]], machine: str) -> frozenset[str]:
    """The flags that every CPU has; on RISC-V the letters of `isa`. Without any, those of the machine's baseline."""
    key = FLAGS_KEY.get(machine, "features")
    sets = []
    for block in blocks:
        if machine == "riscv64" and key in block:
            letters = re.sub(r"^rv\d+", "", block[key].lower()).split("_")[0].replace("g", "imafd")
            sets.append(frozenset(letters))
        elif key in block:
            sets.append(frozenset(block[key].lower().split()))
    if not sets:
        table = FEATURES[machine]
        return frozenset(table[name].cpuinfo or name for name in BASELINE[machine])
    return frozenset.intersection(*sets)


def parse_cpu_list(text: str) -> frozenset[int]:
    """`0-3,8` as numbers; what is not such a list is empty."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if match:
            numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(numbers)


def nominal_ghz(block: dict[str, str]) -> float:
    """The clock in the model's name, else an x86's time stamp counter (bogomips / 2,000); 0: neither is there."""
    named = re.search(r"@\s*([0-9.]{1,5})\s*GHz", block.get("model name", ""))
    if named and re.fullmatch(r"\d+(\.\d+)?", named[1]):
        return float(named[1])
    ticks = block.get("bogomips", "")
    if "flags" in block and re.fullmatch(r"\d{1,6}(\.\d+)?", ticks):
        return round(float(ticks) / 2000, 1)
    return 0.0


def cgroup_cores(root: Path) -> int | None:
    """Cores that a container's quota is worth, None without one."""
    quota, _, period = read_text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return max(1, math.ceil(int(quota) / int(period)))
    return None


def read_caches(root: Path, machine: str, cpu: int, estimates: list[str]) -> Caches:
    """Data caches of one CPU."""
    found: dict[int, tuple[int, str]] = {}
    folder = root / f"sys/devices/system/cpu/cpu{cpu}"
    for index in range(8):
        entry = folder / f"cache/index{index}"
        level, size = read_text(entry / "level"), re.fullmatch(r"(\d{1,7})([KM])", read_text(entry / "size"))
        if level in ("1", "2", "3") and size and read_text(entry / "type") in ("Data", "Unified"):
            kib = int(size[1]) * (1024 if size[2] == "M" else 1)
            found[int(level)] = kib, read_text(entry / "shared_cpu_list")
    if 1 not in found or 2 not in found:
        estimates.append("caches")
    l1, _ = found.get(1, (32, ""))
    l2, sharers = found.get(2, (256 if machine == "x86_64" else 512, ""))
    threads = parse_cpu_list(read_text(folder / "topology/thread_siblings_list")) or frozenset({cpu})
    shared = len(parse_cpu_list(sharers) - threads) > 0 if 2 in found else machine != "x86_64"
    return Caches(min(max(l1, 1), 4096), min(l2, 1 << 20), shared, min(found.get(3, (0, ""))[0], 1 << 22))


def read_model_name(root: Path, blocks: list[dict[str, str]]) -> str:
    name = read_text(root / "proc/device-tree/model") or next(
        (b["model name"] for b in blocks if "model name" in b), ""
    )
    return re.sub(r"[^\x20-\x7e]", "", name)[:200]
