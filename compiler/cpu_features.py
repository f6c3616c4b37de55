"""The one table of CPU features: their LLVM names, how a device shows them, and which CPU cores have them.

Only features that change the code LLVM makes (or that kernels reach by intrinsics) stand here; privileged ones
(`el3`, `spe`, `shstk`) and tuning hints do not. `tests/test_cpu_features.py` compares the table with LLVM's own.

Sources: Linux `arch/arm64/include/uapi/asm/hwcap.h`, `arch/arm/include/uapi/asm/hwcap.h`,
`arch/riscv/include/uapi/asm/hwcap.h`, `arch/x86/include/asm/cpufeatures.h`; LLVM 22 processor definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.target import Target

AT_HWCAP, AT_HWCAP2 = 16, 26


@dataclass(frozen=True)
class Feature:
    """One CPU feature.

    Attributes:
        name: LLVM's name.
        cpuinfo: the word in the `flags`, `Features` or `isa` line of /proc/cpuinfo (None: never shown there).
        auxv: `(type, bit)`: `getauxval(type)` has that bit on a device with the feature.
        implicit: LLVM may emit its instructions from plain code. A feature that only intrinsics reach
            (AES, AMX) is required of a device only where a descriptor asks for it with `+name`.
    """

    name: str
    cpuinfo: str | None = None
    auxv: tuple[int, int] | None = None
    implicit: bool = True


def _x86() -> dict[str, Feature]:
    renamed = {
        "sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "bmi": "bmi1", "lzcnt": "abm", "avxvnni": "avx_vnni",
        "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni", "avx512bitalg": "avx512_bitalg",
        "avx512vpopcntdq": "avx512_vpopcntdq", "avx512bf16": "avx512_bf16", "avx512fp16": "avx512_fp16",
        "avxifma": "avx_ifma", "avxvnniint8": "avx_vnni_int8", "avxvnniint16": "avx_vnni_int16",
        "avxneconvert": "avx_ne_convert", "amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
    }  # fmt: skip
    same = "ssse3 popcnt movbe avx avx2 fma f16c bmi2 gfni sse4a cmpccxadd"
    same512 = "avx512f avx512cd avx512bw avx512dq avx512vl avx512ifma avx512vbmi"
    flags = {name: name for name in (same + " " + same512).split()} | renamed
    return {name: Feature(name, flag, implicit=not name.startswith("amx-")) for name, flag in flags.items()}


def _hwcaps(machine: str) -> dict[str, Feature]:
    rows: dict[str, list[tuple[str, str, int, int, bool]]] = {
        "aarch64": [
            ("fp-armv8", "fp", AT_HWCAP, 0, True),
            ("neon", "asimd", AT_HWCAP, 1, True),
            ("aes", "aes", AT_HWCAP, 3, False),
            ("sha2", "sha2", AT_HWCAP, 6, False),
            ("crc", "crc32", AT_HWCAP, 7, False),
            ("lse", "atomics", AT_HWCAP, 8, True),
            ("fullfp16", "asimdhp", AT_HWCAP, 10, True),
            ("rdm", "asimdrdm", AT_HWCAP, 12, True),
            ("jsconv", "jscvt", AT_HWCAP, 13, False),
            ("complxnum", "fcma", AT_HWCAP, 14, True),
            ("rcpc", "lrcpc", AT_HWCAP, 15, True),
            ("sha3", "sha3", AT_HWCAP, 17, True),  # EOR3 and BCAX come from plain logic
            ("dotprod", "asimddp", AT_HWCAP, 20, True),
            ("sve", "sve", AT_HWCAP, 22, True),
            ("fp16fml", "asimdfhm", AT_HWCAP, 23, True),
            ("lse2", "uscat", AT_HWCAP, 25, True),
            ("rcpc-immo", "ilrcpc", AT_HWCAP, 26, True),
            ("flagm", "flagm", AT_HWCAP, 27, True),
            ("ssbs", "ssbs", AT_HWCAP, 28, False),
            ("sve2", "sve2", AT_HWCAP2, 1, True),
            ("altnzcv", "flagm2", AT_HWCAP2, 7, False),
            ("fptoint", "frint", AT_HWCAP2, 8, False),
            ("i8mm", "i8mm", AT_HWCAP2, 13, True),
            ("bf16", "bf16", AT_HWCAP2, 14, True),
        ],
        "armv7l": [
            ("neon", "neon", AT_HWCAP, 12, True),
            ("vfp3", "vfpv3", AT_HWCAP, 13, True),
            ("vfp4", "vfpv4", AT_HWCAP, 16, True),
            ("hwdiv-arm", "idiva", AT_HWCAP, 17, True),
            ("hwdiv", "idivt", AT_HWCAP, 18, True),
        ],
        "riscv64": [
            (name, name, AT_HWCAP, ord(name) - ord("a"), True) for name in "macfdv"
        ],
    }  # fmt: skip
    return {name: Feature(name, flag, (kind, bit), imp) for name, flag, kind, bit, imp in rows[machine]}


FEATURES: dict[str, dict[str, Feature]] = {
    "x86_64": _x86(),
    "aarch64": _hwcaps("aarch64"),
    "armv7l": _hwcaps("armv7l"),
    "riscv64": _hwcaps("riscv64"),
    # macOS has neither /proc/cpuinfo nor getauxval: the entries only inform.
    "arm64": {f.name: Feature(f.name, implicit=f.implicit) for f in _hwcaps("aarch64").values()},
}
"""machine -> LLVM feature name -> Feature."""

BASELINE: dict[str, frozenset[str]] = {
    "x86_64": frozenset(),
    "aarch64": frozenset({"fp-armv8", "neon"}),
    "arm64": frozenset({"fp-armv8", "neon"}),
    "armv7l": frozenset({"vfp3"}),  # the hard-float ABI
    "riscv64": frozenset("macfd"),  # what every Linux distribution for lp64d is built for
}
"""Features that every device of a machine has, so that no artifact needs to name them."""


def _cores(machine: str) -> dict[str, frozenset[str]]:
    """LLVM core name -> the features of `FEATURES[machine]` that LLVM switches on for it."""

    def names(text: str, *bases: frozenset[str]) -> frozenset[str]:
        return frozenset(text.split()).union(*bases)

    table: dict[str, frozenset[str]] = {}

    def put(cores: str, features: frozenset[str]) -> None:
        table.update(dict.fromkeys(cores.split(), features))

    if machine == "x86_64":
        v2 = names("sse3 ssse3 sse4.1 sse4.2 popcnt")
        v3 = names("movbe avx avx2 fma f16c bmi bmi2 lzcnt", v2)
        v4 = names("avx512f avx512cd avx512bw avx512dq avx512vl", v3)
        cascadelake = names("avx512vnni", v4)
        bits = "avx512ifma avx512vbmi avx512vbmi2 avx512bitalg avx512vpopcntdq gfni"
        icelake = names(bits, cascadelake)
        alderlake = names("gfni avxvnni", v3)
        arrowlake = names("avxifma avxvnniint8 avxneconvert cmpccxadd", alderlake)
        zen4 = names("avx512bf16 sse4a", icelake)
        amx = "avx512bf16 avx512fp16 avxvnni amx-tile amx-int8 amx-bf16"
        put("x86-64", frozenset())
        put("x86-64-v2", v2)
        put("x86-64-v3 haswell broadwell skylake", v3)
        put("x86-64-v4 skylake-avx512", v4)
        put("silvermont goldmont", names("movbe", v2))
        put("tremont", names("movbe gfni", v2))
        put("sandybridge", names("avx", v2))
        put("ivybridge", names("avx f16c", v2))
        put("cascadelake", cascadelake)
        put("cooperlake", names("avx512bf16", cascadelake))
        put("icelake-client icelake-server tigerlake rocketlake", icelake)
        put("alderlake gracemont raptorlake meteorlake", alderlake)
        put("arrowlake sierraforest", arrowlake)
        put("lunarlake", names("avxvnniint16", arrowlake))
        put("sapphirerapids emeraldrapids graniterapids", names(amx, icelake))
        put("znver1 znver2 znver3", names("sse4a", v3))
        put("znver4", zen4)
        put("znver5", names("avxvnni", zen4))
    elif machine in ("aarch64", "arm64"):
        v8 = names("fp-armv8 neon")
        v8crypto = names("crc aes sha2", v8)
        carmel = names("lse rdm fullfp16", v8crypto)
        a75 = names("dotprod rcpc", carmel)
        a76 = names("ssbs", a75)
        v84 = names("jsconv complxnum fp16fml lse2 rcpc-immo flagm", a76)
        m1 = names("sha3 fptoint altnzcv", v84)
        put("generic", v8)
        put("cortex-a35 cortex-a53 cortex-a57 cortex-a72 cortex-a73", v8crypto)
        put("carmel", carmel)
        put("cortex-a55 cortex-a75", a75)
        put("cortex-a76 cortex-a77 cortex-a78 cortex-a78ae cortex-x1 neoverse-n1", a76)
        put("neoverse-v1", names("sha3 i8mm bf16 sve", v84))
        v9 = names("fptoint altnzcv i8mm bf16 sve sve2", v84) - {"aes", "sha2"}
        put("neoverse-n2 neoverse-v2 cortex-a510 cortex-a520 cortex-a710 cortex-a715 cortex-a720", v9)
        put("apple-m1", m1)
        put("apple-m2 apple-m3", names("i8mm bf16", m1))
        put("apple-m4", names("i8mm bf16", m1) - {"ssbs"})
    elif machine == "armv7l":
        put("cortex-a9", names("neon vfp3"))
        put("cortex-a7 cortex-a15", names("neon vfp3 vfp4 hwdiv hwdiv-arm"))
    elif machine == "riscv64":
        put("generic-rv64", frozenset())
        put("sifive-u74", names("m a f d c"))
    return table


IMPLIED: dict[str, dict[str, frozenset[str]]] = {machine: _cores(machine) for machine in FEATURES}
"""machine -> LLVM core name -> features of the table that LLVM's core implies. A descriptor's core must be here."""

# feature -> what it needs (LLVM switches a feature off with what it needs: `-avx512f` leaves no AVX-512 at all).
_NEEDS: dict[str, frozenset[str]] = {
    name: frozenset(needs.split())
    for name, needs in {
        "ssse3": "sse3", "sse4.1": "ssse3", "sse4.2": "sse4.1", "sse4a": "sse3", "avx": "sse4.2", "avx2": "avx",
        "fma": "avx", "f16c": "avx", "avxvnni": "avx2", "avxifma": "avx2", "avxvnniint8": "avx2",
        "avxvnniint16": "avx2", "avxneconvert": "avx2", "avx512f": "avx2 f16c fma", "avx512cd": "avx512f",
        "avx512bw": "avx512f", "avx512dq": "avx512f", "avx512vl": "avx512f", "avx512ifma": "avx512f",
        "avx512vbmi": "avx512bw", "avx512vbmi2": "avx512bw", "avx512vnni": "avx512f", "avx512bitalg": "avx512bw",
        "avx512vpopcntdq": "avx512f", "avx512bf16": "avx512bw", "avx512fp16": "avx512bw",
        "amx-int8": "amx-tile", "amx-bf16": "amx-tile",
        "neon": "fp-armv8", "aes": "neon", "sha2": "neon", "sha3": "sha2", "rdm": "neon", "fullfp16": "fp-armv8",
        "dotprod": "neon", "complxnum": "neon", "fp16fml": "fullfp16 neon", "jsconv": "fp-armv8",
        "fptoint": "fp-armv8", "altnzcv": "flagm", "i8mm": "neon", "bf16": "neon", "sve": "fullfp16",
        "sve2": "sve", "rcpc-immo": "rcpc", "d": "f", "v": "d",
    }.items()
}  # fmt: skip
_NEEDS_ARMV7 = {"neon": frozenset({"vfp3"}), "vfp4": frozenset({"vfp3"})}


def enabled_features(machine: str, core: str, features: tuple[str, ...] = ()) -> frozenset[str]:
    """Features of the table that code for this core may use.

    Args:
        machine: key of `FEATURES`.
        core: LLVM's name, a key of `IMPLIED[machine]`.
        features: LLVM attributes in their order, `+name` or `-name`.
    """
    needs = _NEEDS_ARMV7 if machine == "armv7l" else _NEEDS
    enabled = set(IMPLIED[machine][core])
    for attribute in features:
        sign, name = attribute[0], attribute[1:]
        if sign == "+":
            added = [name]
            while added:
                feature = added.pop()
                enabled.add(feature)
                added.extend(needs.get(feature, ()))
        else:
            enabled.discard(name)
            while lost := {feature for feature in enabled if not needs.get(feature, frozenset()) <= enabled}:
                enabled -= lost
    return frozenset(enabled)


def required_features(target: Target) -> list[dict[str, Any]]:
    """Manifest entries `{"name", "auxv" or "cpuinfo"}` for what the code needs and a device of the machine may lack.

    ARM and RISC-V devices are asked by `getauxval` (true under an emulator too), x86-64 by /proc/cpuinfo.
    On macOS the entries carry the name alone: they inform.
    """
    table = FEATURES[target.machine]
    asked = {attribute[1:] for attribute in target.features if attribute[0] == "+"}
    entries: list[dict[str, Any]] = []
    for name in sorted(target.enabled_features - BASELINE[target.machine]):
        feature = table[name]
        if not (feature.implicit or name in asked):
            continue
        entry: dict[str, Any] = {"name": name}
        if feature.auxv is not None:
            entry["auxv"] = list(feature.auxv)
        elif feature.cpuinfo is not None:
            entry["cpuinfo"] = feature.cpuinfo
        entries.append(entry)
    return entries
