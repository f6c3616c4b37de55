"""Where tuning records lie, and what compilations take from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files import shipped_folder, user_folder
from ..kernels.rule import Decision
from ..target import Target
from .records import CHOICE, STATIC, Log, Record

ENVIRONMENT = "EDGEC_TUNING_LOGS"


def user_logs() -> Path:
    """The folder that records are written to where none is given: the environment's, or one in the user's home."""
    if folder := os.environ.get(ENVIRONMENT):
        return Path(folder)
    return user_folder() / "tuning_logs"


def shipped_log(target: Target) -> Log:
    """The records of a target that come with edgec."""
    return Log(shipped_folder("tuning_logs"), target.name)


@dataclass(frozen=True)
class Verdicts:
    """What tuning decided.

    Attributes:
        decisions: schedules of kernels, by the keys of their programs.
        choices: of graph passes, by key.
        estimated: keys of decisions that nothing measured stands behind.
    """

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    choices: Mapping[str, int] = field(default_factory=dict)
    estimated: frozenset[str] = frozenset()

    @staticmethod
    def of(decided: Mapping[str, Decision], estimated: frozenset[str] = frozenset()) -> Verdicts:
        """Decisions of both kinds, by key."""
        return Verdicts(
            {key: decision for key, decision in decided.items() if decision.rule != CHOICE},
            {key: decision.parameters["value"] for key, decision in decided.items() if decision.rule == CHOICE},
            estimated,
        )


def verdicts_for(target: Target, given: Path | None = None, threads: int | None = None) -> Verdicts:
    """What records say of a target.

    Only verdicts of this very target, and of these versions of edgec, TVM and LLVM, count. Of several the newest does;
    the user's are newer than those that come with edgec. Those of kind STATIC count for kernels of which nothing was
    measured.

    Args:
        given: the user's folder of records; None for the usual one.
        threads: verdicts count that were measured with as many; None for all.

    Raises:
        UserError: a file of records is damaged.
    """
    logs = [shipped_log(target), Log(given if given is not None else user_logs(), target.name)]

    def read(kind: str) -> Iterator[Record]:
        for log in logs:
            for record in log.read(kind):
                if record.applies_to(target):
                    yield record

    verdicts = [record for record in read("verdict") if threads in (None, record.threads)]
    found = {record.workload: record.decision for record in verdicts}
    static = {record.workload: record.decision for record in read(STATIC)}
    measured = {*found, *(record.workload for record in read("trial"))} if static else set()
    estimated = static.keys() - measured
    found |= {key: static[key] for key in estimated}
    decided = {key: one for key, one in found.items() if one is not None}
    return Verdicts.of(decided, frozenset(estimated & decided.keys()))
