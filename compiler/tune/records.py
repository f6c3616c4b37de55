"""Tuning records: what was measured, one JSON object a line, in `<logs>/<target>/<rule>.jsonl`.

Files are only appended to, and lines of several files may be joined in any order: what is read from them does not
depend on it. A record stands for a kernel's program and a target's fingerprint; what was measured on another CPU is a
starting point for a search, and never applied.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..kernels.rule import Decision
from ..target import Target
from ..versions import EDGEC, TVM, llvm_version

FORMAT = 1
STATIC = "static"  # the kind of verdicts without a measurement
ESTIMATED, COUNTED = "static", "counted"  # their sources: of cycles, and of instructions in an emulator
CHOICE = "choice"  # the rule in records of choices of graph passes, whose parameter `value` is what is chosen
THROTTLED = "throttled"  # the source of times of a board that lowered its clock meanwhile; nothing is decided by them

_LOCK = ".lock"
_KINDS = ("trial", "verdict", STATIC)
_LISTS = ("spatial", "reduction")  # of a record's features
_MOST_FILE_BYTES = 64 << 20
MOST_PRUNED_BYTES = 256 << 20  # of a file to take from, or to make smaller
_MOST_LINE_BYTES = 16 << 10
_MOST_PARAMETERS, _MOST_EXTENTS, _MOST_TEXT = 32, 32, 200
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_DIGITS = frozenset("0123456789abcdef")


def now() -> str:
    """The date of records."""
    return datetime.now(timezone.utc).strftime(_DATE)


@functools.lru_cache
def current_versions() -> tuple[str, ...]:
    """Those that the times of a schedule depend on."""
    return (EDGEC, TVM, llvm_version())


@dataclass(frozen=True)
class Record:
    """One measured schedule, or a verdict on one.

    Attributes:
        kind: `trial`, a measurement; `verdict`, that this schedule is to be used for the kernel from now on, as it was
            faster in a whole model; or that the default is, if there is no decision; `static`, a verdict without a
            measurement, for kernels that were never measured on the target.
        workload: key of the kernel's program, see `workloads.workload_key`.
        work: features of the program, see `features.describe`.
        target, fingerprint: where it was measured; the name is for people.
        decision: the schedule.
        seconds: median of one call; infinite if the schedule failed.
        spread: half of the range between the quartiles.
        base: seconds of the default schedule in the same turns.
        rounds: measurements behind the medians.
        threads: of the run.
        source: how the times were obtained: `measured`, `throttled`, `static` for an estimate, or `counted` for
            instructions.
        failure: why there is no time; empty if there is.
        versions: of edgec, TVM and LLVM.
        date: in UTC, as `2026-11-21T16:00:00Z`; now, if it is not given.
    """

    kind: str
    workload: str
    work: Mapping[str, Any]
    target: str
    fingerprint: str
    decision: Decision | None
    seconds: float
    spread: float
    base: float
    rounds: int
    threads: int
    date: str = field(default_factory=lambda: now())
    source: str = "measured"
    failure: str = ""
    versions: tuple[str, ...] = field(default_factory=current_versions)

    @property
    def ratio(self) -> float:
        """Of the time to the default schedule's."""
        return self.seconds / self.base if self.base else math.inf

    @property
    def decides(self) -> bool:
        """Whether it counts for its kernel today: others, of a throttled board or other versions, teach the cost model.

        A schedule that failed counts too.
        """
        return self.source == "measured" and self.is_current

    @property
    def is_current(self) -> bool:
        """Whether it is of these versions of edgec, TVM and LLVM."""
        return self.versions == current_versions()

    def applies_to(self, target: Target) -> bool:
        """Whether compilations for the target may follow it, if it is a verdict."""
        return self.fingerprint == target.fingerprint and self.is_current

    @property
    def text(self) -> str:
        """The schedule for people; `default` for none."""
        return self.decision.text if self.decision is not None else "default"

    @property
    def family(self) -> str:
        """The kind of kernel, which names the file that the record belongs in."""
        family = str(self.work.get("family", ""))
        return family if family.isidentifier() else "other"

    def to_line(self) -> str:
        """The record as a line of a file."""
        made: dict[str, Any] = {"format": FORMAT} | {
            name: value for name, value in vars(self).items() if name not in ("decision", "versions")
        }
        made["rule"] = self.decision.rule if self.decision else None
        made["parameters"] = dict(self.decision.parameters) if self.decision else {}
        made["versions"] = list(self.versions)
        for name in ("seconds", "spread", "base"):
            made[name] = float(f"{made[name]:.6g}") if math.isfinite(made[name]) else None
        return json.dumps(made, sort_keys=True, separators=(",", ":")) + "\n"


def parse_line(line: str, where: str) -> Record:
    """The record of a line. Raises UserError, with `where` for its place."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not a tuning record: {error}", where, _FIX) from None
    if not isinstance(data, dict):
        raise UserError("not a tuning record: it is not a JSON object", where, _FIX)
    if data.get("format") != FORMAT:
        newer = isinstance(data.get("format"), int) and data["format"] > FORMAT
        what = "it was written by a newer edgec" if newer else "its format is not known"
        raise UserError(f"tuning record of format {data.get('format')!r:.20}: {what}", where, _FIX)
    reader = _Reader(data, where)
    rule, parameters = reader.text("rule", optional=True), reader.numbers("parameters")
    record = Record(
        kind=reader.choice("kind", _KINDS),
        workload=reader.digits("workload"),
        work=reader.work("work"),
        target=reader.text("target"),
        fingerprint=reader.digits("fingerprint"),
        decision=Decision(rule, parameters) if rule else None,
        seconds=reader.seconds("seconds"),
        spread=reader.seconds("spread"),
        base=reader.seconds("base"),
        rounds=reader.count("rounds"),
        threads=reader.count("threads"),
        date=reader.date("date"),
        source=reader.choice("source", ("measured", THROTTLED, ESTIMATED, COUNTED)),
        failure=reader.text("failure"),
        versions=reader.texts("versions"),
    )
    reader.end()
    if rule == CHOICE and parameters.keys() != {"value"}:
        raise reader.wrong("parameters")
    if math.isinf(record.base) and not record.failure:  # which any schedule would be faster than
        raise reader.wrong("base")
    return record


_SMALLER = "`edgec tune --prune` makes the records of a folder smaller"
_PARTS = "take it in parts: its lines may be in any files and order"
_FIX = "remove the line, or the file: what it holds can be measured again"


class _Reader:
    """Takes values out of a JSON object, each checked."""

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data, self.where = data, where
        self.left = set(data) - {"format"}

    def take(self, name: str) -> Any:
        if name not in self.left:
            raise UserError(f"tuning record without {name!r}", self.where, _FIX)
        self.left.remove(name)
        return self.data[name]

    def wrong(self, name: str) -> UserError:
        return UserError(f"tuning record whose {name!r} is {self.data[name]!r:.60}", self.where, _FIX)

    def text(self, name: str, optional: bool = False) -> str:
        value = self.take(name)
        if value is None and optional:
            return ""
        if not isinstance(value, str) or len(value) > _MOST_TEXT or not value.isprintable():
            raise self.wrong(name)
        return value

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        if (value := self.text(name)) not in values:
            raise self.wrong(name)
        return value

    def date(self, name: str) -> str:
        value = self.text(name)
        try:
            datetime.strptime(value, _DATE)
        except ValueError:
            raise self.wrong(name) from None
        return value

    def digits(self, name: str) -> str:
        value = self.text(name)
        if not value or not set(value) <= _DIGITS:
            raise self.wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > 8 or not all(isinstance(v, str) and len(v) < 64 for v in value):
            raise self.wrong(name)
        return tuple(value)

    def seconds(self, name: str) -> float:
        value = self.take(name)
        if value is None:
            return math.inf
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise self.wrong(name)
        return float(value)

    def count(self, name: str) -> int:
        value = self.take(name)
        if not _is_count(value):
            raise self.wrong(name)
        return int(value)

    def numbers(self, name: str) -> dict[str, int]:
        value = self.take(name)
        good = isinstance(value, dict) and len(value) <= _MOST_PARAMETERS
        if not good or not all(len(key) < 64 and key.isidentifier() and _is_count(v) for key, v in value.items()):
            raise self.wrong(name)
        return dict(value)

    def work(self, name: str) -> dict[str, Any]:
        """Numbers, short texts, and lists of numbers, by name."""
        value = self.take(name)
        if not isinstance(value, dict) or len(value) > _MOST_PARAMETERS:
            raise self.wrong(name)
        for key, part in value.items():
            if (key in _LISTS) != isinstance(part, list):
                raise self.wrong(name)
            numbers = part if isinstance(part, list) else [part] if not isinstance(part, str) else []
            short = len(part) <= _MOST_TEXT if isinstance(part, (str, list)) else True
            if not short or len(numbers) > _MOST_EXTENTS or not all(map(_is_count, numbers)):
                raise self.wrong(name)
        return dict(value)

    def end(self) -> None:
        if self.left:
            raise UserError(f"tuning record with an unknown key {min(self.left)!r:.60}", self.where, _FIX)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def read_file(path: Path, kind: str = "", whole: bool = False, most: int | None = None) -> Iterator[Record]:
    """The records of a file, or those of one kind.

    Args:
        whole: half a line at the end is an error too; else it is left out, as a process that was killed left it.
        most: bytes of the file; None for those of a file that is added to.

    Raises:
        UserError: the file cannot be read, is too large, or a line is no record.
    """
    most = most or _MOST_FILE_BYTES
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UserError(f"cannot read tuning records: {error.strerror}", str(path)) from error
    if len(data) > most:
        raise UserError(f"larger than {most >> 20} MiB", str(path), _SMALLER if most < MOST_PRUNED_BYTES else _PARTS)
    *lines, last = data.split(b"\n")
    lines += [last] if whole or _is_record(last) else []
    others = [f'"kind":"{other}"'.encode() for other in _KINDS if kind and other != kind]
    for number, line in enumerate(lines, 1):
        if any(other in line for other in others):  # quicker than to read it
            continue
        where = f"{path}:{number}"
        if len(line) > _MOST_LINE_BYTES:
            raise UserError(f"a line of more than {_MOST_LINE_BYTES} bytes", where, _FIX)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"not a tuning record: {error.reason}", where, _FIX) from None
        if text.strip() and (record := parse_line(text, where)).kind in ((kind,) if kind else _KINDS):
            yield record


def _is_record(line: bytes) -> bool:
    if len(line) > _MOST_LINE_BYTES:
        return False
    try:
        parse_line(line.decode("utf-8"), "")
    except (UserError, UnicodeDecodeError):
        return False
    return True


class Log:
    """The records of a target in a folder.

    Args:
        folder: of all targets' records; it is made when the first record is written.
        target: name of the target.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder / target

    def files(self) -> list[Path]:
        """What there is, in order."""
        return sorted(self.folder.glob("*.jsonl"))

    def read(self, kind: str = "") -> list[Record]:
        """All records, or those of one kind, in an order that does not depend on that of lines or files, each once."""
        lines = {record.to_line(): record for path in self.files() for record in read_file(path, kind)}
        return [lines[line] for line in sorted(lines, key=lambda line: (lines[line].date, line))]

    def check_writable(self) -> None:
        """Raises UserError if records cannot be written, rather than after they were measured."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise self._refusal(error) from error

    def append(self, records: Iterable[Record]) -> None:
        """Adds lines, each whole or not at all, on the disk when this returns.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        by_file: dict[str, list[str]] = {}
        for record in records:
            by_file.setdefault(record.family, []).append(record.to_line())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for family, lines in by_file.items():
                _append(self.folder / f"{family}.jsonl", "".join(lines).encode())
        except OSError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> UserError:
        what = f"cannot write tuning records: {error.strerror or error}"
        return UserError(what, str(self.folder), "free some space there, or give another --tuning-logs")


@contextmanager
def locked(path: Path) -> Iterator[FileIO]:
    """A file of records, made if it is not there, that nobody else adds to or replaces meanwhile.

    What is locked is another file beside it, which stays when this one is replaced.
    """
    with path.with_name(_LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with path.open("a+b", buffering=0) as file:  # a buffer would be written again after an error
            yield file


def _append(path: Path, data: bytes) -> None:
    with locked(path) as file:
        size = file.seek(0, os.SEEK_END)
        if size + len(data) > _MOST_FILE_BYTES:  # nobody would read it again
            raise UserError(f"no room for more in {_MOST_FILE_BYTES >> 20} MiB", str(path), _SMALLER)
        if size:
            file.seek(max(0, size - _MOST_LINE_BYTES))
            tail = file.readall()
            last = tail[tail.rfind(b"\n") + 1 :]
            if _is_record(last):  # of a file that somebody joined
                data = b"\n" + data
            elif last:  # of a process that was killed while it wrote
                size -= len(last)
                file.truncate(size)
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
