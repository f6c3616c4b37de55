"""Targets by name: descriptors read from `targets/NAME.toml` or a user's file, and checked key by key."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

from .cpu_features import FEATURES, IMPLIED
from .errors import UserError
from .files import shipped_folder
from .target_model import Caches, Cluster, Cuda, Target
from .target_schema import SECTIONS, TRIPLES, check_table, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "TRIPLES",
    "Caches",
    "Cluster",
    "Cuda",
    "Target",
    "list_targets",
    "load_target",
    "parse_target",
    "targets_dir",
]

MAX_FILE_BYTES = 64 * 1024

_ABI = {"armv7l": "hard", "riscv64": "lp64d"}


def parse_target(text: str, where: str) -> Target:
    """The target that a descriptor's text describes. Raises UserError; `where` names the file in it."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid TOML: {error}", where, "Correct the syntax at that place.") from None
    top = ("board", "cpu", "os", "cuda")
    for key in data:
        if key not in top:
            raise UserError(f"unknown section [{key:.80}]", where, suggest(key, top, f"Known: {', '.join(top)}."))
    for key in top[:3]:
        if key not in data:
            raise UserError(f"missing section [{key}]", where, f"Add [{key}]; `edgec targets show host` is an example.")
    board = check_table(data["board"], SECTIONS["board"], f"{where}: board")
    cpu = check_table(data["cpu"], SECTIONS["cpu"], f"{where}: cpu", subtables=("caches",))
    if "caches" not in data["cpu"]:
        raise UserError("missing section [cpu.caches]", where, "Add it with l1d_kib, l2_kib and l2_shared.")
    caches = Caches(**check_table(data["cpu"]["caches"], SECTIONS["cpu.caches"], f"{where}: cpu.caches"))
    system = check_table(data["os"], SECTIONS["os"], f"{where}: os")
    cuda = Cuda(**check_table(data["cuda"], SECTIONS["cuda"], f"{where}: cuda")) if "cuda" in data else None
    cpu["clusters"] = tuple(Cluster(**cluster) for cluster in cpu["clusters"])
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
        fix = suggest(target.core, IMPLIED[machine], f"Known cores: {', '.join(sorted(IMPLIED[machine]))}.")
        raise UserError(f"unknown core {target.core!r} for {target.triple}", f"{where}: cpu.core", fix)
    for attribute in target.features:
        if attribute[1:] not in FEATURES[machine]:
            fix = suggest(attribute[1:], FEATURES[machine], f"Known: {', '.join(sorted(FEATURES[machine]))}.")
            raise UserError(f"unknown CPU feature {attribute!r}", f"{where}: cpu.features", fix)
    known = {key for rules in SECTIONS.values() for key in rules} | {"ghz", "cores", "caches"}
    for key in target.estimates:
        if key.rsplit(".", 1)[-1] not in known:
            raise UserError(f"estimate names no key: {key!r}", f"{where}: board.estimate", suggest(key, known, ""))


def targets_dir() -> Path:
    """The folder of the descriptors."""
    return shipped_folder("targets")


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
        from .target_detect import detect_target

        return detect_target()
    names = {known: target for target in list_targets() for known in (target.name, *target.aliases)}
    if name in names:
        return names[name]
    fix = suggest(name, [*names, "host"], "").strip()
    raise UserError(f"unknown target {name_or_path!r:.80}", None, f"{fix} `edgec targets list` shows all.".strip())
