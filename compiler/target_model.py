"""A target: what the compiler knows of a board, and what follows from it."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .cpu_features import enabled_features
from .target_schema import SECTIONS, TRIPLES

_ASSUMED_GHZ = 1.5  # where a generic descriptor has no clusters
# Elements of a vector for one of float32.
_INTEGER_LANES = {"bool": 4.0, "int16": 2.0, "uint16": 2.0, "int32": 1.0, "uint32": 1.0, "int64": 0.5, "uint64": 0.5}
_ATTRIBUTE = {("board", "estimate"): "estimates", ("os", "name"): "os"}


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind. `ghz` is their highest sustained clock."""

    core: str
    cores: int
    ghz: float


@dataclass(frozen=True)
class Caches:
    """Data caches in KiB: L1 of a core; L2 of a core, or of a cluster where `l2_shared`; L3 of the chip (0: none)."""

    l1d_kib: int
    l2_kib: int
    l2_shared: bool
    l3_kib: int = 0


@dataclass(frozen=True)
class Cuda:
    """The GPU: `sm` is the compute capability without its point, `shared_memory_kib` of one SM, bandwidth in GB/s."""

    sm: int
    sm_count: int
    shared_memory_kib: int
    clock_ghz: float
    memory_bandwidth_gbs: float
    jetpack: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Target:
    """One board, or one machine.

    Attributes:
        triple, core, features, abi: for LLVM; `features` are attributes (`+dotprod`, `-aes`) beyond the core's own.
        clusters: fastest first; empty where a generic target does not know.
        simd_bits, simd_registers: width of a vector register, and how many there are.
        fma_pipes: multiply-adds of full width that a fast core starts in a cycle (0.5: one in two cycles).
        memory_bandwidth_gbs: the memory bus's limit, GB/s.
        os: "linux" or "macos"; `glibc` is the oldest one that artifacts run on ("" on macOS).
        estimates: keys whose values are estimates.
    """

    name: str
    aliases: tuple[str, ...]
    description: str
    sources: tuple[str, ...]
    triple: str
    core: str
    features: tuple[str, ...]
    abi: str
    clusters: tuple[Cluster, ...]
    caches: Caches
    simd_bits: int
    simd_registers: int
    fma_pipes: float
    memory_bandwidth_gbs: float
    os: str
    glibc: str
    python: str
    qemu_cpu: str = ""
    cuda: Cuda | None = None
    estimates: tuple[str, ...] = field(default=())

    @property
    def machine(self) -> str:
        """x86_64, aarch64, armv7l, riscv64 or arm64 (macOS)."""
        return TRIPLES[self.triple][0]

    @property
    def bits(self) -> int:
        """Bits of a pointer, 32 or 64."""
        return TRIPLES[self.triple][2]

    @property
    def vector_bits(self) -> int:
        """Width of a vector register."""
        return self.simd_bits

    @property
    def ghz(self) -> float:
        """Clock of the fast cores."""
        return self.clusters[0].ghz if self.clusters else _ASSUMED_GHZ

    @property
    def fast_cores(self) -> int | None:
        """Cores of the fastest cluster, None where the descriptor does not know."""
        return self.clusters[0].cores if self.clusters else None

    @property
    def num_cores(self) -> int | None:
        """All cores, None where the descriptor does not know."""
        return sum(cluster.cores for cluster in self.clusters) or None

    @property
    def l2_bytes(self) -> int:
        """Second-level cache that one fast core can count on."""
        sharers = (self.fast_cores or 1) if self.caches.l2_shared else 1
        return self.caches.l2_kib * 1024 // sharers

    @functools.cached_property
    def enabled_features(self) -> frozenset[str]:
        """CPU features that the code may use, of those in `cpu_features.FEATURES`."""
        return enabled_features(self.machine, self.core, self.features)

    def has(self, feature: str) -> bool:
        """Whether code for this target may use a CPU feature, by LLVM's name."""
        return feature in self.enabled_features

    def peak_gflops(self, dtype: str = "float32") -> float:
        """Multiply-add limit of the fast cores together, in GFLOP/s (GOP/s for integers); one multiply-add counts two.

        A target without clusters counts as one core at 1.5 GHz.
        """
        per_cycle = self.simd_bits / 32 * self.fma_pipes * 2 * self._speed_against_fp32(dtype)
        return (self.fast_cores or 1) * self.ghz * per_cycle

    def _speed_against_fp32(self, dtype: str) -> float:
        arm = self.machine in ("aarch64", "arm64", "armv7l")
        if dtype == "float64":
            return 0.5 if self.machine != "armv7l" else 0.25  # 32-bit NEON has no doubles
        if dtype in _INTEGER_LANES:
            return _INTEGER_LANES[dtype]
        if dtype == "float16":
            return 2.0 if self.has("fullfp16") or self.has("avx512fp16") else 1.0
        if dtype == "bfloat16":
            return 2.0 if self.has("bf16") or self.has("avx512bf16") else 1.0
        if dtype in ("int8", "uint8"):
            if self.has("i8mm"):
                return 8.0
            if self.has("dotprod") or self.has("avx512vnni") or self.has("avxvnni"):
                return 4.0
            return 2.0 if arm else 4 / 3  # SMLAL; on x86 three instructions do four products a lane
        if dtype == "float32":
            return 1.0
        raise ValueError(f"no peak rate for dtype {dtype!r}")

    def tvm_target(self) -> dict[str, Any]:
        """The dictionary that `tvm.target.Target` takes."""
        target: dict[str, Any] = {"kind": "llvm", "mtriple": self.triple, "mcpu": self.core}
        if self.features:
            target["mattr"] = list(self.features)
        if self.abi:
            target["mfloat-abi" if self.machine == "armv7l" else "mabi"] = self.abi
        if self.fast_cores:
            target["num-cores"] = self.fast_cores
        if self.machine == "armv7l":
            # LLVM 22 moves the base of a run of `stm` stores twice there: transposing float32 [2, 5, 11, 32] by
            # (0, 3, 1, 2) writes past where it should, on every core. tests/cross and tests/kernels hold this down.
            target["cl-opt"] = ["-arm-load-store-opt:bool=false"]
        return target

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the facts that code and schedules depend on.

        Names, sources, clocks and bandwidth are left out: a better estimate must not void tuning records.
        """
        facts = {
            "triple": self.triple,
            "core": self.core,
            "features": sorted(self.enabled_features),
            "abi": self.abi,
            "clusters": [(cluster.core, cluster.cores) for cluster in self.clusters],
            "caches": asdict(self.caches),
            "simd": (self.simd_bits, self.simd_registers, self.fma_pipes),
            "cuda": self.cuda and (self.cuda.sm, self.cuda.sm_count, self.cuda.shared_memory_kib),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The descriptor as JSON values, in the sections and keys of the file."""
        facts = asdict(self)
        out: dict[str, Any] = {}
        for section, rules in SECTIONS.items():
            values = facts["caches"] if section == "cpu.caches" else facts["cuda"] if section == "cuda" else facts
            if values is None:
                continue
            keys = {key: values[_ATTRIBUTE.get((section, key), key)] for key in rules}
            keys = {key: value for key, value in keys.items() if value != "" or rules[key].required}
            parent, _, child = section.partition(".")
            (out[parent] if child else out)[child or parent] = keys
        json_values: dict[str, Any] = json.loads(json.dumps(out))  # tuples become lists
        return json_values

    def to_toml(self) -> str:
        """The text of a descriptor file that `load_target` reads back to an equal target."""
        lines: list[str] = []

        def value(item: Any) -> str:
            if isinstance(item, dict):
                return "{ " + ", ".join(f"{key} = {value(v)}" for key, v in item.items()) + " }"
            if isinstance(item, list):
                return "[" + ", ".join(map(value, item)) + "]"
            return json.dumps(item, ensure_ascii=True)  # for these types TOML's notation too

        def section(name: str, keys: dict[str, Any]) -> None:
            lines.append(f"[{name}]")
            nested = {key: item for key, item in keys.items() if isinstance(item, dict)}
            lines.extend(f"{key} = {value(item)}" for key, item in keys.items() if key not in nested)
            lines.append("")
            for key, item in nested.items():
                section(f"{name}.{key}", item)

        for name, keys in self.to_dict().items():
            section(name, keys)
        return "\n".join(lines).rstrip() + "\n"
