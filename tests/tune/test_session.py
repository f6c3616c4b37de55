"""Tuning a model: verdicts are applied only where the model is faster, and change no result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from compiler import compile_model
from compiler.build.cache import Cache
from compiler.cli.compile import command as compile_command
from compiler.errors import UserError
from compiler.frontend.prepare import Model, load_model
from compiler.kernels.rule import Decision
from compiler.pipeline import Options, lower_model, resolve
from compiler.target import Target, load_target
from compiler.tune.boards import Comparison, LocalBoard
from compiler.tune.fleet import Fleet
from compiler.tune.logs import verdicts_for
from compiler.tune.records import CHOICE, Log, Record
from compiler.tune.session import tune
from compiler.tune.workloads import workloads_of
from tests.networks import convnet
from tests.tune.fake_board import FakeBoard
from tests.tune.records import record


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(convnet(), path)
    return path


def verdict(workload: str, decision: Decision, target: Target) -> Record:
    """That a schedule or an option is fast."""
    where = {"target": target.name, "fingerprint": target.fingerprint}
    return record(kind="verdict", workload=workload, work={"family": decision.rule}, decision=decision, **where)


def options_for(model: Model, logs: Path) -> Options:
    return resolve(model, "host", None, None, False, None, True, tuning_logs=logs)


def test_verdicts_are_followed_by_later_compilations(network: Path, tmp_path: Path, monkeypatch: Any) -> None:
    faster = Comparison((2e-5, 1e-5), 0.5, {})
    monkeypatch.setattr("compiler.tune.session.compare", lambda *subjects: faster)
    logs, model = tmp_path / "logs", load_model(network)
    result = tune(model, options_for(model, logs), Fleet([FakeBoard()]), Log(logs, "host"), 60.0, cache=Cache())
    assert result.applied and result.verdicts and result.trials > 0
    plain = compile_model(network, out=tmp_path / "plain.so", tuning_logs=tmp_path / "none")
    tuned = compile_model(network, out=tmp_path / "tuned.so", tuning_logs=logs)
    assert not any("tuned" in kernel for kernel in plain.manifest["kernels"])
    assert any("tuned" in kernel for kernel in tuned.manifest["kernels"])
    assert tuned.verified == plain.verified == "passed"
    assert result.already == 0
    second = tune(model, options_for(model, logs), Fleet([FakeBoard()]), Log(logs, "host"), 60.0, cache=Cache())
    assert second.already == len(result.verdicts)
    again = compile_model(network, out=tmp_path / "again.so", tuning_logs=logs)
    assert again.path.read_bytes() == tuned.path.read_bytes()


def test_a_model_that_is_not_faster_changes_nothing(network: Path, tmp_path: Path, monkeypatch: Any) -> None:
    slower = Comparison((1e-5, 1.01e-5), 1.01, {})
    monkeypatch.setattr("compiler.tune.session.compare", lambda *subjects: slower)
    logs, model = tmp_path / "logs", load_model(network)
    result = tune(model, options_for(model, logs), Fleet([FakeBoard()]), Log(logs, "host"), 30.0, cache=Cache())
    assert not result.applied and not result.verdicts
    assert Log(logs, "host").read("trial") and not Log(logs, "host").read("verdict")


def test_a_second_session_goes_on_where_the_first_ended(network: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("compiler.tune.session.compare", lambda *subjects: Comparison((1, 1), 1.0, {}))
    logs, model = tmp_path / "logs", load_model(network)
    sessions = [
        tune(model, options_for(model, logs), Fleet([FakeBoard()]), Log(logs, "host"), 30.0, cache=Cache())
        for _ in range(2)
    ]
    assert sessions[1].trials < sessions[0].trials


def test_it_measures_here(network: Path, tmp_path: Path) -> None:
    """The real board, for a few seconds: there are records with times, and results stay right."""
    logs, model, board = tmp_path / "logs", load_model(network), LocalBoard(1)
    tune(model, options_for(model, logs), Fleet([board]), Log(logs, "host"), 15.0, cache=Cache())
    board.close()
    records = Log(logs, "host").read("trial")
    assert records and any(0 < record.seconds < 1 for record in records)
    compiled = compile_model(network, out=tmp_path / "net.so", tuning_logs=logs)
    assert compiled.verified == "passed"


def test_a_budget_in_which_nothing_can_be_measured(network: Path, tmp_path: Path) -> None:
    model = load_model(network)
    with pytest.raises(UserError, match="too small"):
        tune(model, options_for(model, tmp_path), Fleet([FakeBoard()]), Log(tmp_path, "host"), 1e-3, cache=Cache())


@pytest.mark.parametrize(
    "cores, board, left", [(2, LocalBoard(1), True), (2, LocalBoard(2), False), (1, FakeBoard(), True)]
)
def test_nothing_is_compiled_on_cores_that_measure(cores: int, board: Any, left: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    assert Fleet([board]).leaves_cores == left


def test_only_verdicts_of_this_very_target_count(tmp_path: Path) -> None:
    host = load_target("host")
    made = verdict("ab" * 16, Decision("packed", {"rows": 3}), host)
    newer = replace(made, date="2026-11-22T00:00:00Z", decision=Decision("packed", {"rows": 4}))
    choice = verdict("cd" * 16, Decision(CHOICE, {"value": 2}), host)
    Log(tmp_path, "host").append([newer, made, choice])
    found = verdicts_for(host, tmp_path)
    assert found.decisions == {"ab" * 16: Decision("packed", {"rows": 4})} and found.choices == {"cd" * 16: 2}
    for other in (
        replace(made, fingerprint="0" * 16),
        replace(made, versions=("0", "0", "0")),
        replace(made, kind="trial"),
        replace(made, decision=None),
    ):
        Log(tmp_path / "other", "host").append([other])
        assert not verdicts_for(host, tmp_path / "other").decisions


def test_an_artifact_says_which_choices_were_decided(network: Path, tmp_path: Path) -> None:
    model = load_model(network)
    options = options_for(model, tmp_path / "none")
    key, choice = next(iter(lower_model(model, options).choices.items()))
    other = next(value for value in choice.options if value != choice.taken)
    Log(tmp_path / "logs", "host").append([verdict(key, Decision(CHOICE, {"value": other}), options.target)])
    made = compile_model(network, out=tmp_path / "net.so", tuning_logs=tmp_path / "logs")
    assert made.manifest["choices"] == {choice.text: other} and made.verified == "passed"
    plain = compile_model(network, out=tmp_path / "plain.so", tuning_logs=tmp_path / "none")
    assert "choices" not in plain.manifest
    arguments = [str(network), "-o", str(tmp_path / "again.so"), "--tuning-logs", str(tmp_path / "logs"), "--no-verify"]
    for threads, count in (("1", 1), ("2", 0)):  # the record is of one
        done = CliRunner().invoke(compile_command, [*arguments, "--threads", threads])
        assert done.exit_code == 0 and done.output.count("1 choice of graph passes") == count


def test_layers_of_one_shape_are_one_workload(tmp_path: Path) -> None:
    model = load_model(convnet())
    lowered = lower_model(model, options_for(model, tmp_path))
    workloads = workloads_of(lowered.versions, lowered.programs)
    steps = [step.kernel for step in lowered.versions[0].program.steps if step.kernel is not None]
    assert sum(workload.calls for workload in workloads) == len(steps)
    assert len({workload.key for workload in workloads}) == len(workloads)


def test_verdicts_of_as_many_threads(tmp_path: Path) -> None:
    host, one = load_target("host"), verdict("ab" * 16, Decision("packed", {"rows": 3}), load_target("host"))
    date = "2026-11-22T00:00:00Z"
    two = replace(one, threads=2, date=date, decision=Decision("packed", {"rows": 5}))
    other = replace(two, workload="cd" * 16)
    Log(tmp_path, "host").append([one, two, other])
    for threads, rows in ((1, [3]), (2, [5, 5]), (3, []), (None, [5, 5])):
        found = verdicts_for(host, tmp_path, threads).decisions
        assert [decision.parameters["rows"] for decision in found.values()] == rows
