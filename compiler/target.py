"""The target descriptor: what the compiler knows of a board, read from `targets/NAME.toml` and checked key by key."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import math
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compiler.cpu_features import FEATURES, IMPLIED, enabled_features
from compiler.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 64 * 1024

TRIPLES: dict[str, tuple[str, str, int]] = {
    "x86_64-linux-gnu": ("x86_64", "linux", 64),
    "aarch64-linux-gnu": ("aarch64", "linux", 64),
    "arm-linux-gnueabihf": ("armv7l", "linux", 32),
    "riscv64-linux-gnu": ("riscv64", "linux", 64),
    "arm64-apple-macos": ("arm64", "macos", 64),
}
"""LLVM triple -> machine, operating system, bits of a pointer."""

_ABI = {"armv7l": "hard", "riscv64": "lp64d"}
_ASSUMED_GHZ = 1.5  # where a generic descriptor has no clusters


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
    def fast_cores(self) -> int | None:
        """Cores of the fastest cluster, None where the descriptor does not know."""
        return self.clusters[0].cores if self.clusters else None

    @property
    def num_cores(self) -> int | None:
        """All cores, None where the descriptor does not know."""
        return sum(cluster.cores for cluster in self.clusters) or None

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
        ghz = self.clusters[0].ghz if self.clusters else _ASSUMED_GHZ
        per_cycle = self.simd_bits / 32 * self.fma_pipes * 2 * self._speed_against_fp32(dtype)
        return (self.fast_cores or 1) * ghz * per_cycle

    def roofline(self, flops: float, bytes_moved: float, dtype: str = "float32") -> float:
        """Seconds that no kernel can beat: the slower of computing `flops` and moving `bytes_moved` through memory."""
        return max(flops / (self.peak_gflops(dtype) * 1e9), bytes_moved / (self.memory_bandwidth_gbs * 1e9))

    def _speed_against_fp32(self, dtype: str) -> float:
        arm = self.machine in ("aarch64", "arm64", "armv7l")
        if dtype == "float64":
            return 0.5 if self.machine != "armv7l" else 0.25  # 32-bit NEON has no doubles
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
        if dtype in ("float32", "int32", "uint32"):
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
        for section, rules in _SECTIONS.items():
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


@dataclass(frozen=True)
class _Rule:
    """What a key of the file may hold: its type, and a range or a pattern."""

    kind: str
    required: bool = True
    low: float = 0
    high: float = 0
    pattern: str = r"[^\x00-\x1f\x7f]{0,1000}"


_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_CORE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_SECTIONS: dict[str, dict[str, _Rule]] = {
    "board": {
        "name": _Rule("string", pattern=_NAME),
        "aliases": _Rule("strings", required=False, pattern=_NAME),
        "description": _Rule("string"),
        "sources": _Rule("strings"),
        "estimate": _Rule("strings", required=False, pattern=r"[a-z0-9_.]{1,60}"),
    },
    "cpu": {
        "triple": _Rule("string", pattern="|".join(map(re.escape, TRIPLES))),
        "core": _Rule("string", pattern=_CORE),
        "features": _Rule("strings", required=False, pattern=r"[+-][a-z0-9.-]{1,40}"),
        "abi": _Rule("string", required=False, pattern="hard|lp64d"),
        "simd_bits": _Rule("integer", low=64, high=512),
        "simd_registers": _Rule("integer", low=8, high=64),
        "fma_pipes": _Rule("number", low=0.1, high=8),
        "memory_bandwidth_gbs": _Rule("number", low=0.1, high=10_000),
        "qemu_cpu": _Rule("string", required=False, pattern=_CORE),
        "clusters": _Rule("tables", required=False),
    },
    "cpu.caches": {
        "l1d_kib": _Rule("integer", low=1, high=4096),
        "l2_kib": _Rule("integer", low=0, high=1 << 20),
        "l2_shared": _Rule("boolean"),
        "l3_kib": _Rule("integer", required=False, low=0, high=1 << 22),
    },
    "os": {
        "name": _Rule("string", pattern="linux|macos"),
        "glibc": _Rule("string", required=False, pattern=r"2\.[0-9]{1,2}"),
        "python": _Rule("string", pattern=r"3\.[0-9]{1,2}"),
    },
    "cuda": {
        "sm": _Rule("integer", low=30, high=200),
        "sm_count": _Rule("integer", low=1, high=1024),
        "shared_memory_kib": _Rule("integer", low=16, high=1024),
        "clock_ghz": _Rule("number", low=0.1, high=10),
        "memory_bandwidth_gbs": _Rule("number", low=0.1, high=100_000),
        "jetpack": _Rule("string", required=False),
        "driver": _Rule("string", required=False),
    },
}
_CLUSTER = {
    "core": _Rule("string", pattern=_CORE),
    "cores": _Rule("integer", low=1, high=1024),
    "ghz": _Rule("number", low=0.1, high=10),
}
_ATTRIBUTE = {("board", "estimate"): "estimates", ("os", "name"): "os"}
_DEFAULTS: dict[str, Any] = {"strings": (), "string": "", "tables": (), "integer": 0}


def _close(word: str, words: Any, fallback: str) -> str:
    match = difflib.get_close_matches(word, list(words), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(match)}?" if match else fallback


def _check_value(value: Any, rule: _Rule, where: str) -> Any:
    """The value in its Python type. Raises UserError."""

    def wrong(expected: str) -> UserError:
        return UserError(f"{where.rsplit(': ', 1)[-1]} must be {expected}, not {value!r:.80}", where)

    if rule.kind == "boolean":
        if not isinstance(value, bool):
            raise wrong("true or false")
        return value
    if rule.kind in ("integer", "number"):
        allowed = int if rule.kind == "integer" else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed):
            raise wrong("an integer" if rule.kind == "integer" else "a number")
        if not (math.isfinite(value) and rule.low <= value <= rule.high):
            raise wrong(f"between {rule.low:g} and {rule.high:g}")
        return value if rule.kind == "integer" else float(value)
    if rule.kind == "string":
        if not isinstance(value, str):
            raise wrong("a string")
        if not re.fullmatch(rule.pattern, value):
            readable = re.fullmatch(r"[\w|.\\-]+", rule.pattern)
            choices = rule.pattern.replace("\\", "").replace("|", ", ") if readable else ""
            raise wrong(f"one of {choices}" if choices else f"a string like {rule.pattern}")
        return value
    if not isinstance(value, list) or len(value) > 64:
        raise wrong("an array of at most 64 values")
    if rule.kind == "strings":
        one = _Rule("string", pattern=rule.pattern)
        return tuple(_check_value(item, one, f"{where}[{i}]") for i, item in enumerate(value))
    return tuple(Cluster(**_check_table(item, _CLUSTER, f"{where}[{i}]")) for i, item in enumerate(value))


def _check_table(table: Any, rules: dict[str, _Rule], where: str, subtables: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every key of `rules` with its checked value, or its default. Raises UserError."""
    if not isinstance(table, dict):
        raise UserError(f"{where.rsplit(': ', 1)[-1]} must be a table, not {table!r:.80}", where)
    for key in table:
        if key not in rules and key not in subtables:
            known = [*rules, *subtables]
            raise UserError(f"unknown key {key!r:.80}", where, _close(key, known, f"Known keys: {', '.join(known)}."))
    out: dict[str, Any] = {}
    for key, rule in rules.items():
        separator = "." if ": " in where else ": "
        if key in table:
            out[key] = _check_value(table[key], rule, f"{where}{separator}{key}")
        elif rule.required:
            raise UserError(
                f"missing key {key!r}", where, f"Add `{key} = ...`; `edgec targets show host` is an example."
            )
        else:
            out[key] = _DEFAULTS[rule.kind]
    return out


def parse_target(text: str, where: str) -> Target:
    """The target that a descriptor's text describes. Raises UserError; `where` names the file in it."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid TOML: {error}", where, "Correct the syntax at that place.") from None
    top = ("board", "cpu", "os", "cuda")
    for key in data:
        if key not in top:
            raise UserError(f"unknown section [{key:.80}]", where, _close(key, top, f"Known: {', '.join(top)}."))
    for key in top[:3]:
        if key not in data:
            raise UserError(f"missing section [{key}]", where, f"Add [{key}]; `edgec targets show host` is an example.")
    board = _check_table(data["board"], _SECTIONS["board"], f"{where}: board")
    cpu = _check_table(data["cpu"], _SECTIONS["cpu"], f"{where}: cpu", subtables=("caches",))
    if "caches" not in data["cpu"]:
        raise UserError("missing section [cpu.caches]", where, "Add it with l1d_kib, l2_kib and l2_shared.")
    caches = Caches(**_check_table(data["cpu"]["caches"], _SECTIONS["cpu.caches"], f"{where}: cpu.caches"))
    system = _check_table(data["os"], _SECTIONS["os"], f"{where}: os")
    cuda = Cuda(**_check_table(data["cuda"], _SECTIONS["cuda"], f"{where}: cuda")) if "cuda" in data else None
    estimates = board.pop("estimate")
    target = Target(**board, **cpu, caches=caches, os=system.pop("name"), **system, cuda=cuda, estimates=estimates)
    _check_agreement(target, where)
    return target


def _check_agreement(target: Target, where: str) -> None:
    """What one key demands of another. Raises UserError."""
    machine, system, _ = TRIPLES[target.triple]
    if target.os != system:
        raise UserError(f"os.name is {target.os!r}, but {target.triple} runs {system}", where, "Correct one of them.")
    if bool(target.glibc) != (system == "linux"):
        raise UserError("os.glibc belongs to Linux targets, and each needs one", where, 'For example: glibc = "2.28".')
    if target.abi != _ABI.get(machine, ""):
        fix = f'Set abi = "{_ABI[machine]}".' if machine in _ABI else "Remove it."
        raise UserError(f"cpu.abi is {target.abi!r}, which {target.triple} does not take", where, fix)
    if target.simd_bits not in (64, 128, 256, 512):
        raise UserError(f"cpu.simd_bits must be 64, 128, 256 or 512, not {target.simd_bits}", where)
    if target.core not in IMPLIED[machine]:
        fix = _close(target.core, IMPLIED[machine], f"Known cores: {', '.join(sorted(IMPLIED[machine]))}.")
        raise UserError(f"unknown core {target.core!r} for {target.triple}", f"{where}: cpu.core", fix)
    for attribute in target.features:
        if attribute[1:] not in FEATURES[machine]:
            fix = _close(attribute[1:], FEATURES[machine], f"Known: {', '.join(sorted(FEATURES[machine]))}.")
            raise UserError(f"unknown CPU feature {attribute!r}", f"{where}: cpu.features", fix)
    known = {key for rules in _SECTIONS.values() for key in rules} | {"ghz", "cores", "caches"}
    for key in target.estimates:
        if key.rsplit(".", 1)[-1] not in known:
            raise UserError(f"estimate names no key: {key!r}", f"{where}: board.estimate", _close(key, known, ""))


def targets_dir() -> Path:
    """The folder of the descriptors: inside an installed wheel, or of the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / "targets"
    return installed if installed.is_dir() else package.parent / "targets"


def _load_file(path: Path) -> Target:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UserError(
                f"target file is larger than {MAX_FILE_BYTES} bytes", str(path), "Give a target's TOML file."
            )
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text: {error.reason} at byte {error.start}", str(path), "Save it as UTF-8."
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path; an unknown ~user
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot read target file: {reason}", str(path), "Check the path, or see `edgec targets`."
        ) from None
    return parse_target(text, str(path))


@functools.lru_cache(maxsize=1)
def list_targets() -> tuple[Target, ...]:
    """The targets that come with edgec, by name; `host` is not among them."""
    return tuple(_load_file(path) for path in sorted(targets_dir().glob("*.toml")))


def load_target(name_or_path: str) -> Target:
    """The target of that name or alias, this machine for `host`, or a user's file (contains `/`, or ends in `.toml`).

    Raises UserError for an unknown name, an unreadable file or a fault in it.
    """
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".toml"):
        return _load_file(Path(name_or_path))
    name = re.sub(r"[\s_]+", "-", name_or_path.strip().lower())
    if name == "host":
        from compiler.target_detect import detect_target

        return detect_target()
    names = {known: target for target in list_targets() for known in (target.name, *target.aliases)}
    if name in names:
        return names[name]
    fix = _close(name, [*names, "host"], "").strip()
    raise UserError(f"unknown target {name_or_path!r:.80}", None, f"{fix} `edgec targets list` shows all.".strip())
