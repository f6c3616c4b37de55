"""The files of /sys and /proc by which programs choose their kernels and threads, as a board has them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..target import Target

# Arm's number of each core, in its Technical Reference Manual under MIDR_EL1.
_PART = {
    "cortex-a53": 0xD03,
    "cortex-a55": 0xD05,
    "cortex-a72": 0xD08,
    "cortex-a76": 0xD0B,
    "cortex-a520": 0xD80,
    "cortex-a720": 0xD81,
}
_FEATURES = "fp asimd evtstrm crc32 cpuid"
_FEATURES_V82 = f"{_FEATURES} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


def describe_cores(target: Target, root: Path) -> None:
    """Writes them below `root`. onnxruntime does not start in qemu without them: this machine's mislead it."""
    last = sum(cluster.cores for cluster in target.clusters) - 1
    cpus, everyone = root / "sys/devices/system/cpu", f"0-{last}"
    _write(cpus, {"kernel_max": last, "possible": everyone, "present": everyone, "online": everyone})
    features = _FEATURES_V82 if target.has("dotprod") else _FEATURES
    numbers, text = itertools.count(), ""
    for cluster in target.clusters:
        members = list(itertools.islice(numbers, cluster.cores))
        siblings = f"{members[0]}-{members[-1]}"
        for number in members:
            cpu = cpus / f"cpu{number}"
            lists = {"cluster_cpus_list": siblings, "core_siblings_list": siblings}
            _write(cpu / "topology", {"physical_package_id": 0, "core_id": number, **lists})
            _write(cpu / "cpufreq", {"cpuinfo_max_freq": round(cluster.ghz * 1e6), "cpuinfo_min_freq": 600_000})
            first = {"level": 1, "size": f"{target.caches.l1d_kib}K", "shared_cpu_list": number}
            second = {"level": 2, "size": f"{target.caches.l2_kib}K", "shared_cpu_list": siblings}
            for index, cache in enumerate((first, first, second)):  # data, instructions, both
                _write(cpu / f"cache/index{index}", cache)
            text += (
                f"processor\t: {number}\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
                f"CPU variant\t: 0x0\nCPU part\t: {_PART[cluster.core]:#x}\nCPU revision\t: 3\n\n"
            )
    _write(root / "proc", {"cpuinfo": text})


def _write(folder: Path, files: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
