"""Compiles schedules and measures them: the two halves of each step of a search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..build.cache import Cache
from ..build.objects import CompiledKernel, Workers, compile_kernels
from ..files import scratch_folder
from ..kernels.rule import Decision
from ..target import Target
from .boards import Board, BoardError, Times
from .fleet import Fleet
from .kernel import KernelSearch
from .records import THROTTLED, Record
from .subject import Subject
from .trial import Variant, build_trial
from .workloads import LEAST_LEFT, Workload

SCRATCH = "edgec-tune-"  # what the names of a tuner's temporary folders begin with


@dataclass(frozen=True)
class Plan:
    """Schedules of one kernel to try."""

    search: KernelSearch
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Settings:
    """How trials are run.

    Attributes:
        rounds: of a trial.
        seconds: that a trial may run.
        workers: that compile schedules in place of this machine.
    """

    target: Target
    rounds: int = 25
    seconds: float = 2.5
    workers: Workers | None = None


@dataclass
class Candidate:
    """A compiled schedule of a kernel, and what is found out about it.

    Attributes:
        kernels: by the names that the model knows the kernel by.
        seconds, spread, base: of a call; see `records.Record`.
        failure: why it has no time.
        throttled: whether the board lowered its clock meanwhile.
    """

    search: KernelSearch
    decision: Decision
    kernels: Mapping[str, CompiledKernel]
    failure: str = ""
    seconds: float = math.inf
    spread: float = math.inf
    base: float = 0.0
    rounds: int = 0
    throttled: bool = False

    @property
    def workload(self) -> Workload:
        return self.search.workload

    def take(self, mine: Times, default: Times) -> None:
        """Its time in the version that it is part of, beside that of the default."""
        steps = self.workload.steps
        before = np.maximum(default.of(steps), 1e-9)
        ratios = mine.of(steps) / before
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        step, self.rounds = float(np.median(before)) / len(steps), len(ratios)
        self.base = self.workload.share * step
        self.throttled = bool(mine.heat.throttled)
        # By the default's time in the same rounds: what changes the machine's speed changes both. What a step of
        # control flow gains, this kernel of it does.
        own = self.base - step * (1.0 - float(middle))
        self.seconds = own if self.workload.share == 1.0 else max(own, LEAST_LEFT * self.base)
        self.spread = step * float(high - low) / 2

    def record(self, settings: Settings, threads: int) -> Record:
        """For the log."""
        return Record(
            kind="trial",
            workload=self.workload.key,
            work=self.search.work,
            target=settings.target.name,
            fingerprint=settings.target.fingerprint,
            decision=self.decision,
            seconds=math.inf if self.failure else self.seconds,
            spread=math.inf if self.failure else self.spread,
            base=self.base or self.search.base,
            rounds=self.rounds,
            threads=threads,
            source=THROTTLED if self.throttled else "measured",
            failure="".join(filter(str.isprintable, self.failure))[:120],
        )


def compile_plans(plans: Sequence[Plan], subject: Subject, settings: Settings, cache: Cache | None) -> list[Candidate]:
    """Compiles all schedules, on all cores or by the workers.

    Those that do not fit the program have a failure, and those that TVM or LLVM cannot compile.
    """
    alone = [Plan(plan.search, (decision,)) for plan in plans for decision in plan.decisions]
    try:
        return _compile_together(plans, subject, settings, cache)
    except RuntimeError as error:  # TVM's are such
        if len(alone) > 1:
            return [made for plan in alone for made in compile_plans([plan], subject, settings, cache)]
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return [Candidate(plan.search, plan.decisions[0], {}, f"it does not compile: {why}") for plan in alone]


def _compile_together(
    plans: Sequence[Plan], subject: Subject, settings: Settings, cache: Cache | None
) -> list[Candidate]:
    programs, decisions = {}, {}
    for plan in plans:
        for place, decision in enumerate(plan.decisions):
            for name in plan.search.workload.names:
                programs[f"{name} {place}"] = subject.functions[name]
                decisions[f"{name} {place}"] = decision
    compiled = compile_kernels(programs, settings.target, cache, decisions, settings.workers).kernels
    made = []
    for plan in plans:
        for place, decision in enumerate(plan.decisions):
            kernels = {name: compiled[f"{name} {place}"] for name in plan.search.workload.names}
            made.append(Candidate(plan.search, decision, kernels, _misfit(decision, kernels)))
    return made


def _misfit(decision: Decision, kernels: Mapping[str, CompiledKernel]) -> str:
    for kernel in kernels.values():
        if (kernel.rule, kernel.parameters) != (decision.rule, {**kernel.parameters, **decision.parameters}):
            return kernel.failures.get(decision.rule, "the rule does not take it")
    return ""


@dataclass
class Job:
    """Versions of a subject to measure beside the default one, each with the candidates in it."""

    versions: list[list[Candidate]]
    times: list[Times] = field(default_factory=list)  # the default's first

    def halves(self) -> list[Job]:
        """To find what crashes; none of a single candidate."""
        if len(self.versions) > 1:
            middle = len(self.versions) // 2
            return [Job(self.versions[:middle]), Job(self.versions[middle:])]
        (candidates,) = self.versions
        middle = len(candidates) // 2
        return [Job([candidates[:middle]]), Job([candidates[middle:]])] if middle else []


def time_candidates(
    candidates: Sequence[Candidate],
    subject: Subject,
    settings: Settings,
    fleet: Fleet,
    cache: Cache | None,
    keep: Callable[[Sequence[Candidate]], None] = lambda candidates: None,
) -> None:
    """Measures candidates in the subject, one of each of its kernels in each version of a trial.

    Args:
        keep: gets those of a trial as soon as it is measured, while others still are.

    Raises:
        LostError: no board is left.
    """

    def take(job: Job) -> None:
        for members, times in zip(job.versions, job.times[1:], strict=True):
            for candidate in members:
                candidate.take(times, job.times[0])
        keep([candidate for members in job.versions for candidate in members])

    run_candidates(candidates, subject, settings, fleet, cache, take)


def run_candidates(
    candidates: Sequence[Candidate],
    subject: Subject,
    settings: Settings,
    fleet: Fleet,
    cache: Cache | None,
    done: Callable[[Job], None],
) -> None:
    """Measures candidates in jobs; one that fails is halved until it is known which candidates are at fault.

    Args:
        done: gets each as soon as it is measured.

    Raises:
        LostError: no board is left.
    """

    def work(job: Job, board: Board) -> None:
        variants = [subject.variant({})]
        variants += [
            subject.variant({name: kernel for one in members for name, kernel in one.kernels.items()})
            for members in job.versions
        ]
        job.times = _measure(variants, subject, settings, fleet, board, cache)
        done(job)

    again: list[Job] = []

    def failed(job: Job, reason: str) -> None:
        halves = job.halves()
        again.extend(halves)
        if not halves:
            job.versions[0][0].failure = reason

    versions = _versions([one for one in candidates if not one.failure])
    share = -(-len(versions) // max(1, len(fleet.boards))) or 1
    left = [Job(versions[at : at + share]) for at in range(0, len(versions), share)]
    while left:
        fleet.run(left, work, failed)
        left = again[:]
        again.clear()


def _versions(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates that are measured together: no two in the same step."""
    versions: list[list[Candidate]] = []
    busy: list[set[int]] = []
    for candidate in candidates:
        steps = set(candidate.workload.steps)
        place = next((place for place, taken in enumerate(busy) if not taken & steps), len(busy))
        if place == len(busy):
            versions.append([])
            busy.append(set())
        versions[place].append(candidate)
        busy[place] |= steps
    return versions


def time_subjects(
    subjects: Sequence[Subject], settings: Settings, fleet: Fleet, cache: Cache | None
) -> list[Times] | None:
    """Measures several lowerings of one model in turns; None if one of them crashes.

    Raises:
        LostError: no board is left.
    """
    found: list[list[Times]] = []

    def work(job: Sequence[Subject], board: Board) -> None:
        found.append(_measure([one.variant({}) for one in job], job[0], settings, fleet, board, cache))

    fleet.run([subjects], work, lambda job, reason: None)
    return found[0] if found else None


def _measure(
    variants: Sequence[Variant], subject: Subject, settings: Settings, fleet: Fleet, board: Board, cache: Cache | None
) -> list[Times]:
    """For each variant. Raises BoardError."""
    with scratch_folder(SCRATCH) as folder:
        path = build_trial(variants, subject.inputs, subject.outputs, settings.target, folder, cache)
        times = fleet.measure(board, lambda: board.measure(path, settings.rounds, settings.seconds))
    rounds = len(times[0].seconds)
    if [one.seconds.shape for one in times] != [(rounds, len(variant.program.steps)) for variant in variants]:
        raise BoardError("an answer to another trial")
    return times
