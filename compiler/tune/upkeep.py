"""Looks after folders of tuning records: lists and prunes them, takes records in, and gives them away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import write_text
from ..target_schema import NAME
from .records import MOST_PRUNED_BYTES, STATIC, Log, Record, locked, read_file

_TRIALS_KEPT = 24  # of a kernel, the fastest; some slow ones teach the cost model too
_SLOW_KEPT = 8


@dataclass(frozen=True)
class Contents:
    """What a folder has for a target and a family of kernels.

    Attributes:
        kernels: different ones.
        trials, verdicts, static: records of each kind.
        usable: verdicts that compilations with this edgec follow, on a CPU with the fingerprint.
        newest: date.
    """

    target: str
    fingerprint: str
    family: str
    kernels: int
    trials: int
    verdicts: int
    static: int
    usable: int
    newest: str


def list_contents(folder: Path) -> list[Contents]:
    """What there is, by target, fingerprint and family. Raises UserError for damaged files."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for target in sorted(path.name for path in folder.glob("*") if path.is_dir()):
        for record in Log(folder, target).read():
            groups.setdefault((target, record.fingerprint, record.family), []).append(record)
    return [
        Contents(
            *key,
            kernels=len({record.workload for record in records}),
            trials=sum(record.kind == "trial" for record in records),
            verdicts=sum(record.kind == "verdict" for record in records),
            static=sum(record.kind == STATIC for record in records),
            usable=len({r.workload for r in records if r.kind == "verdict" and r.is_current}),
            newest=max(record.date for record in records),
        )
        for key, records in sorted(groups.items())
    ]


def prune(folder: Path) -> tuple[int, int]:
    """Keeps of every kernel its newest verdicts and its most telling trials; how many records there were, and are.

    Raises:
        UserError: a file is damaged, or cannot be written; the others may be pruned already.
    """
    before = after = 0
    for path in sorted(folder.glob("*/*.jsonl")):
        with locked(path):
            records = {record.to_line(): record for record in read_file(path, most=MOST_PRUNED_BYTES)}
            kept = list(_kept(records.values()))
            before, after = before + len(records), after + len(kept)
            write_text(path, "".join(sorted(record.to_line() for record in kept)))
    return before, after


def _kept(records: Iterable[Record]) -> Iterable[Record]:
    groups: dict[tuple[str, str, int, tuple[str, ...]], list[Record]] = {}
    for record in records:
        groups.setdefault((record.workload, record.fingerprint, record.threads, record.versions), []).append(record)
    for group in groups.values():
        for kind in ("verdict", STATIC):
            verdicts = [record for record in group if record.kind == kind]
            yield from sorted(verdicts, key=lambda record: (record.date, record.to_line()))[-1:]
        trials = sorted((r for r in group if r.kind == "trial"), key=lambda record: (record.ratio, record.to_line()))
        yield from trials[:_TRIALS_KEPT]
        yield from trials[_TRIALS_KEPT:][-_SLOW_KEPT:]


def export_records(folder: Path, out: Path) -> int:
    """Writes all records of a folder into one file; how many. Raises UserError."""
    records = [record for path in sorted(folder.glob("*/*.jsonl")) for record in read_file(path)]
    write_text(out, "".join(sorted({record.to_line() for record in records})))
    return len(records)


def import_records(folder: Path, source: Path) -> int:
    """Adds the records of a file that are not in the folder yet; how many. All of the file's lines are checked first.

    Raises:
        UserError: the file is damaged, or a target's name is no name.
    """
    by_target: dict[str, list[Record]] = {}
    for record in read_file(source, whole=True, most=MOST_PRUNED_BYTES):
        if not re.fullmatch(NAME, record.target):
            raise UserError(f"tuning record of a target named {record.target!r:.40}", str(source), "remove the line")
        by_target.setdefault(record.target, []).append(record)
    added = 0
    for target, records in by_target.items():
        log = Log(folder, target)
        known = {record.to_line() for record in log.read()}
        new = _unknown(records, known)
        log.append(new)
        added += len(new)
    return added


def _unknown(records: Sequence[Record], known: set[str]) -> list[Record]:
    return [record for line, record in {record.to_line(): record for record in records}.items() if line not in known]
