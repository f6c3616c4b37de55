"""Choices of graph passes: which models tell options apart, how they are made, and what a user sees of it."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tvm_ffi

from compiler.build.cache import Cache
from compiler.build.lower import Begun
from compiler.cli.tune import progress_line
from compiler.frontend.prepare import load_model
from compiler.kernels.rule import Decision
from compiler.passes.choices import Choice
from compiler.pipeline import Artifact, Options, compile_with, lower_model, resolve
from compiler.target import load_target
from compiler.tune.boards import Comparison, Times
from compiler.tune.fleet import Fleet
from compiler.tune.graph import Sample, _best_options, _calls_of_options, _draw, _models
from compiler.tune.records import CHOICE, Log
from compiler.tune.search import Progress
from compiler.tune.session import tune
from compiler.tune.trials import Settings
from tests.networks import convnet
from tests.tune.fake_board import FakeBoard

CHOICES = {key: Choice(f"kind {key}", 2, (0, 1, 2)) for key in "abcd"}
USUAL = {key: choice.taken for key, choice in CHOICES.items()}
SOON = 20.0  # seconds that a thread may take to start on a busy machine


def test_few_lowerings_tell_all_options_apart() -> None:
    """Of ten choices of three options each, whose kernels take as long as the option's number."""
    choices = {f"{key}": Choice(f"kind {key}", 3, (3, 1, 4)) for key in range(10)}

    def seconds(taken: dict[str, int]) -> dict[str, float]:
        return {f"{key} {value}": float(value) for key, value in taken.items()} | {"common": 1.0}

    usual = {key: choice.taken for key, choice in choices.items()}
    taken, samples = [usual], list[Sample]()
    while (drawn := _draw(choices, taken, len(samples))) is not None:
        calls = [dict.fromkeys(seconds(one), 1) for one in (drawn, usual)]
        samples.append(Sample(drawn, seconds(drawn), seconds(usual), 9, *calls))
        taken.append(drawn)
    assert 5 <= len(samples) <= 12
    records, best = _best_options(choices, samples, Settings(load_target("host")), 1)
    assert len(records) == 20
    assert {key: record.decision for key, record in best.items()} == dict.fromkeys(
        choices, Decision("choice", {"value": 1})
    )
    assert all(record.ratio == pytest.approx(1 / 3) for record in best.values())


def test_options_may_share_kernels() -> None:
    """Each call of which is counted for the option that makes it."""
    choices = {key: Choice(f"kind {key}", 2, (0, 1, 2)) for key in "abcd"}

    def calls_of(taken: dict[str, int]) -> Counter[str]:
        calls = Counter(common=3, whole=1)
        for key, value in taken.items():
            calls["whole" if key in "ab" else f"whole {key}"] += value == 0
            calls[f"band {key} {value}"] += 4 // value if value else 0
        if taken["c"] == taken["d"] == 0:  # what one makes lies in memory otherwise if the other is there
            calls["whole c"] = 0
            calls["another"] = 1
        return +calls

    usual = {key: choice.taken for key, choice in choices.items()}
    samples = []
    for values in random.Random(0).sample(list(itertools.product((0, 1, 2), repeat=4)), 24):
        drawn = dict(zip("abcd", values, strict=True))
        calls = calls_of(drawn), calls_of(usual)
        seconds = [{kernel: float(count) for kernel, count in one.items()} for one in calls]
        samples.append(Sample(drawn, *seconds, 9, *calls))
    found = _calls_of_options(choices, samples)
    for key in "ab":
        assert found[key, 0] == {"whole": 1}
    for key in "abcd":
        assert found[key, 1] == {f"band {key} 1": 4} and found[key, 2] == {f"band {key} 2": 2}
    assert not {("c", 0), ("d", 0)} & found.keys()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lowerings_that_share_their_beginning_are_as_others(precision: str) -> None:
    """Whichever choices were lowered before: passes leave what they share as it was."""
    model, begun = load_model(convnet()), Begun()
    options = resolve(model, "host", None, None, False, None, True, precision)
    choices = lower_model(model, options).choices
    assert choices
    others = {key: next(value for value in choice.options if value != choice.taken) for key, choice in choices.items()}
    programs = []
    for chosen in ({}, others, {}, others):
        options = replace(options, choices=chosen)
        shared, alone = lower_model(model, options, begun=begun), lower_model(model, options)
        assert tvm_ffi.structural_equal(shared.programs, alone.programs) and shared.choices == alone.choices
        assert shared.versions[0].program.steps == alone.versions[0].program.steps
        programs.append(shared.programs)
    assert not tvm_ffi.structural_equal(programs[0], programs[1])
    assert len(begun.modules) == len(begun.prepared) == 1


@pytest.mark.parametrize("ahead", [True, False])
def test_the_next_model_is_made_while_one_is_measured(ahead: bool) -> None:
    begun = [threading.Event() for _ in range(40)]
    made: list[Mapping[str, int]] = []

    def make(drawn: Mapping[str, int]) -> Any:
        made.append(drawn)
        begun[len(made) - 1].set()
        return drawn

    samples: list[Sample] = []
    for drawn, model in _models(CHOICES, samples, make, ahead, time.perf_counter() + 600):
        assert model is drawn
        samples.append(Sample(drawn, {}, {}, 9, {}, {}))
        if 1 < len(samples) < 4:  # the first draws are not the last ones
            assert begun[len(samples)].wait(SOON) if ahead else len(made) == len(samples)
    assert made == [sample.taken for sample in samples] and len(made) > 4
    assert len({tuple(one.items()) for one in made}) == len(made)


@pytest.mark.parametrize("ahead", [True, False])
def test_after_a_crash_something_else_is_drawn(ahead: bool) -> None:
    def make(drawn: Mapping[str, int]) -> Any:
        return drawn

    drawn = [tuple(one.items()) for one, _ in _models(CHOICES, [], make, ahead, time.perf_counter() + 600)]
    assert 12 < len(drawn) < 24 and len(set(drawn)) > 4


def test_no_model_is_made_after_the_deadline() -> None:
    assert not list(_models(CHOICES, [], lambda one: pytest.fail("made"), True, time.perf_counter() - 1))


class Second(FakeBoard):
    """Says that all but the first version of a trial are fast."""

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        first, *others = super().measure(trial, rounds, seconds)
        return [first, *(replace(times, seconds=0.5 * times.seconds) for times in others)]


def test_progress_and_the_gain_over_time_have_choices_in_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("compiler.tune.session.compare", lambda *subjects: Comparison((2e-5, 1e-5), 0.5, {}))
    model, told = load_model(convnet()), list[Progress]()
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=tmp_path)
    result = tune(model, options, Fleet([Second()]), Log(tmp_path, "host"), 30.0, told.append, cache=Cache())
    assert told == list(result.curve)
    choosing = [progress for progress in told if not progress.kernels]
    assert choosing and choosing[-1].models == told[-1].models > 0 == choosing[-1].trials < told[-1].trials
    assert all(progress.untuned >= progress.best > 0 for progress in told)
    assert f"{choosing[-1].models} models with other choices" in progress_line(choosing[-1])
    assert "kernels " in progress_line(told[-1]) and "models" not in progress_line(told[-1])
    chosen = {key: record for key, record in result.verdicts.items() if record.work["family"] == "choice"}
    saved = sum(record.base - record.seconds for record in chosen.values())
    assert chosen and saved > 0
    first = next(progress for progress in told if progress.kernels)
    assert first.untuned - first.best == pytest.approx(saved)


@pytest.mark.parametrize("wrong", ["choices", "all"])
def test_what_gives_wrong_results_is_not_applied(wrong: str, tmp_path: Path, monkeypatch: Any) -> None:
    def compiled(model: Any, options: Options, clock: Any) -> Artifact:
        made = compile_with(model, options, clock)
        if options.verify and (options.choices or wrong == "all"):
            made.manifest["verification"] = {"status": "failed", "reason": "y: error 1"}
        return made

    monkeypatch.setattr("compiler.tune.session.compile_with", compiled)
    monkeypatch.setattr("compiler.tune.session.compare", lambda *subjects: Comparison((2e-5, 1e-5), 0.5, {}))
    model = load_model(convnet())
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=tmp_path)
    result = tune(model, options, Fleet([Second()]), Log(tmp_path, "host"), 30.0, cache=Cache())
    families = {record.work["family"] for record in Log(tmp_path, "host").read("verdict")}
    assert (result.applied, bool(families)) == ((True, True) if wrong == "choices" else (False, False))
    assert CHOICE not in families and result.wrong == ("" if wrong == "choices" else "y: error 1")
