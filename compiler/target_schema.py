"""The keys of a descriptor file, and what each may hold."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import UserError

TRIPLES: dict[str, tuple[str, str, int]] = {
    "x86_64-linux-gnu": ("x86_64", "linux", 64),
    "aarch64-linux-gnu": ("aarch64", "linux", 64),
    "arm-linux-gnueabihf": ("armv7l", "linux", 32),
    "riscv64-linux-gnu": ("riscv64", "linux", 64),
    "arm64-apple-macos": ("arm64", "macos", 64),
}
"""LLVM triple -> machine, operating system, bits of a pointer."""


@dataclass(frozen=True)
class Rule:
    """What a key of the file may hold: its type, and a range or a pattern."""

    kind: str
    required: bool = True
    low: float = 0
    high: float = 0
    pattern: str = r"[^\x00-\x1f\x7f]{0,1000}"


NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_CORE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
SECTIONS: dict[str, dict[str, Rule]] = {
    "board": {
        "name": Rule("string", pattern=NAME),
        "aliases": Rule("strings", required=False, pattern=NAME),
        "description": Rule("string"),
        "sources": Rule("strings"),
        "estimate": Rule("strings", required=False, pattern=r"[a-z0-9_.]{1,60}"),
    },
    "cpu": {
        "triple": Rule("string", pattern="|".join(map(re.escape, TRIPLES))),
        "core": Rule("string", pattern=_CORE),
        "features": Rule("strings", required=False, pattern=r"[+-][a-z0-9.-]{1,40}"),
        "abi": Rule("string", required=False, pattern="hard|lp64d"),
        "simd_bits": Rule("integer", low=64, high=512),
        "simd_registers": Rule("integer", low=8, high=64),
        "fma_pipes": Rule("number", low=0.1, high=8),
        "memory_bandwidth_gbs": Rule("number", low=0.1, high=10_000),
        "qemu_cpu": Rule("string", required=False, pattern=_CORE),
        "clusters": Rule("tables", required=False),
    },
    "cpu.caches": {
        "l1d_kib": Rule("integer", low=1, high=4096),
        "l2_kib": Rule("integer", low=0, high=1 << 20),
        "l2_shared": Rule("boolean"),
        "l3_kib": Rule("integer", required=False, low=0, high=1 << 22),
    },
    "os": {
        "name": Rule("string", pattern="linux|macos"),
        "glibc": Rule("string", required=False, pattern=r"2\.[0-9]{1,2}"),
        "python": Rule("string", pattern=r"3\.[0-9]{1,2}"),
    },
    "cuda": {
        "sm": Rule("integer", low=30, high=200),
        "sm_count": Rule("integer", low=1, high=1024),
        "shared_memory_kib": Rule("integer", low=16, high=1024),
        "clock_ghz": Rule("number", low=0.1, high=10),
        "memory_bandwidth_gbs": Rule("number", low=0.1, high=100_000),
        "jetpack": Rule("string", required=False),
        "driver": Rule("string", required=False),
    },
}
_CLUSTER = {
    "core": Rule("string", pattern=_CORE),
    "cores": Rule("integer", low=1, high=1024),
    "ghz": Rule("number", low=0.1, high=10),
}
_DEFAULTS: dict[str, Any] = {"strings": (), "string": "", "tables": (), "integer": 0}


def suggest(word: str, words: Iterable[str], fallback: str) -> str:
    """`Did you mean …?` with the words that are close, else the fallback."""
    match = difflib.get_close_matches(word, list(words), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(match)}?" if match else fallback


def _check_value(value: Any, rule: Rule, where: str) -> Any:
    """The value in its Python type, a table as a dictionary. Raises UserError."""

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
        one = Rule("string", pattern=rule.pattern)
        return tuple(_check_value(item, one, f"{where}[{i}]") for i, item in enumerate(value))
    return tuple(check_table(item, _CLUSTER, f"{where}[{i}]") for i, item in enumerate(value))


def check_table(table: Any, rules: dict[str, Rule], where: str, subtables: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every key of `rules` with its checked value, or its default. Raises UserError."""
    if not isinstance(table, dict):
        raise UserError(f"{where.rsplit(': ', 1)[-1]} must be a table, not {table!r:.80}", where)
    for key in table:
        if key not in rules and key not in subtables:
            known = [*rules, *subtables]
            raise UserError(f"unknown key {key!r:.80}", where, suggest(key, known, f"Known keys: {', '.join(known)}."))
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
