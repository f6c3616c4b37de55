"""Tuning without a device: what is chosen, that it stays apart from what was measured, and that it is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from compiler import compile_model
from compiler.build.codegen import lower_kernel
from compiler.cli.compile import command as compile_command
from compiler.cli.tune import command as tune_command
from compiler.emulation.emulator import emulate
from compiler.emulation.profile import Block
from compiler.errors import UserError
from compiler.frontend.prepare import Model, load_model
from compiler.kernels.instructions import Instructions, count_instructions
from compiler.kernels.rule import Decision
from compiler.kernels.schedule import schedule
from compiler.pipeline import Options, resolve
from compiler.process import CommandError
from compiler.runtime.loader import read_manifest
from compiler.target import load_target
from compiler.tune import records, static
from compiler.tune.logs import verdicts_for
from compiler.tune.records import COUNTED, ESTIMATED, STATIC, Log, Record
from compiler.tune.session import Session
from compiler.tune.static import tune_static
from compiler.tune.upkeep import list_contents, prune
from tests.executors import executor_or_skip
from tests.networks import convnet
from tests.tune.fake_board import FakeBoard
from tests.tune.programs import product
from tests.tune.records import record

TARGET = "raspberry-pi-4"


class FakeRun:
    def __init__(self, counts: Mapping[str, int], outputs: list[Any]) -> None:
        self.counts, self.outputs = counts, outputs

    def functions(self, artifact: Path) -> dict[str, list[Block]]:
        return {symbol: [Block(0, count, (0xD503201F,))] for symbol, count in self.counts.items()}


class FakeEmulator:
    """Says that the fewer rows, the fewer instructions; some schedules crash there, or give other results."""

    def __init__(self, crash: str = "", wrong: str = "", base: int = 1000) -> None:
        self.crash, self.wrong, self.base, self.runs = crash, wrong, base, 0

    def measure(self, runtime: str, model: Path, inputs: Mapping[str, Any]) -> FakeRun:
        self.runs += 1
        manifest = read_manifest(model)
        tuned = [Decision(kernel["rule"], kernel["tuned"]).text for kernel in manifest["kernels"] if "tuned" in kernel]
        if self.crash and any(self.crash in text for text in tuned):
            raise CommandError(["qemu"], 132, "illegal instruction")
        value = 2.0 if self.wrong and any(self.wrong in text for text in tuned) else 1.0
        outputs = [np.full(output["shape"], value, output["dtype"]) for output in manifest["outputs"]]
        counts = {
            kernel["symbol"]: self.base + kernel.get("tuned", {"rows": 10}).get("rows", 10)
            for kernel in manifest["kernels"]
        }
        return FakeRun(counts, outputs)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(convnet(), path)
    return path


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """All schedules are estimated alike, and any gain is enough."""
    monkeypatch.setattr(static._Session, "_cost", lambda self, workload, decision: (1.0, 1.0))
    for name in ("_COUNTED_GAIN", "_WHOLE_GAIN"):
        monkeypatch.setattr(static, name, 0.9999)
    monkeypatch.setattr(static, "_MOST_COUNTED", 2)


def options_for(model: Model, logs: Path, target: str = TARGET) -> Options:
    return resolve(model, target, None, None, False, None, True, tuning_logs=logs)


def counted(network: Path, logs: Path, emulator: Any) -> Any:
    model = load_model(network)
    return tune_static(model, options_for(model, logs), Log(logs, TARGET), 60.0, emulator)


@pytest.mark.usefixtures("loose")
def test_fewer_instructions_are_applied_and_told(network: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    result = counted(network, logs, FakeEmulator())
    assert result.applied and result.unit == "instructions" and result.tuned < result.untuned
    assert all("rows" in record.decision.parameters for record in result.verdicts.values())
    written = Log(logs, TARGET).read()
    assert {(record.kind, record.source) for record in written} == {(STATIC, COUNTED)}
    assert {record.workload: record.decision for record in written} == verdicts_for(load_target(TARGET), logs).decisions
    artifact = compile_model(network, TARGET, tmp_path / "net.so", verify=False, tuning_logs=logs)
    rows = [kernel for kernel in artifact.manifest["kernels"] if "tuned" in kernel]
    assert rows and all(kernel["estimated"] is True for kernel in rows)
    arguments = [str(network), "--target", TARGET, "--no-verify", "--tuning-logs", str(logs)]
    done = CliRunner().invoke(compile_command, [*arguments, "-o", str(tmp_path / "again.so")])
    assert f"; {len(rows)} of them by estimates, never measured" in done.output
    (contents,) = {one.static for one in list_contents(logs) if one.verdicts == one.trials == 0}
    assert contents >= 1
    assert prune(logs)[1] == len(written)


@pytest.mark.usefixtures("loose")
def test_a_schedule_that_crashes_spoils_only_itself(network: Path, tmp_path: Path) -> None:
    good = counted(network, tmp_path / "good", FakeEmulator())
    crashing = next(iter(good.verdicts.values())).text
    result = counted(network, tmp_path / "logs", FakeEmulator(crash=crashing))
    assert result.applied and result.wrong
    assert all(crashing not in record.text for record in result.verdicts.values())


@pytest.mark.usefixtures("loose")
def test_wrong_results_are_left_out(network: Path, tmp_path: Path) -> None:
    result = counted(network, tmp_path / "logs", FakeEmulator(wrong="rows"))
    assert not any("rows" in record.text for record in result.verdicts.values()) and result.wrong


def test_what_is_not_clearly_better_is_not_applied(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    monkeypatch.setattr(static._Session, "_cost", lambda self, workload, decision: (1.0, 1.0))
    result = counted(network, logs, FakeEmulator(base=100000))  # at most a hundredth of a per cent less
    assert not result.applied and result.counted > 0 and not Log(logs, TARGET).read()
    assert not counted(network, logs, None).applied and not Log(logs, TARGET).read()


def test_clear_estimates_are_applied(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(self: Any, workload: Any, decision: Decision) -> tuple[float, float]:
        return (80.0 if decision.parameters.get("channels_outside") else 100.0), 100.0

    monkeypatch.setattr(static._Session, "_cost", cost)
    result = counted(network, tmp_path / "logs", None)
    assert result.applied and result.unit == "cycles"
    assert {record.decision.parameters["channels_outside"] for record in result.verdicts.values()} == {1}
    assert {record.source for record in Log(tmp_path / "logs", TARGET).read(STATIC)} == {ESTIMATED}


def test_what_a_count_does_not_confirm_is_taken_back(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cost(self: Any, workload: Any, decision: Decision) -> tuple[float, float]:
        return (80.0 if decision.parameters.get("channels_outside") else 100.0), 100.0

    monkeypatch.setattr(static._Session, "_cost", cost)
    logs = tmp_path / "logs"
    assert counted(network, logs, None).applied and verdicts_for(load_target(TARGET), logs).estimated
    monkeypatch.setattr(records, "now", lambda: "2099-01-01T00:00:00Z")  # not in the same second
    assert not counted(network, logs, FakeEmulator(base=100000)).applied
    found = verdicts_for(load_target(TARGET), logs)
    assert not found.decisions and not found.estimated
    artifact = compile_model(network, TARGET, tmp_path / "net.so", verify=False, tuning_logs=logs)
    assert not any("tuned" in kernel for kernel in artifact.manifest["kernels"])


def test_the_time_may_be_over_amid_a_kernel(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the kernel, those schedules count that were estimated, and nothing of before is taken back."""
    seconds = 0.0

    def cost(self: Any, workload: Any, decision: Decision) -> tuple[float, float]:
        nonlocal seconds
        seconds += 1.0
        return (80.0 if decision.parameters.get("channels_outside") and seconds < 60 else 100.0), 100.0

    monkeypatch.setattr(static._Session, "_cost", cost)
    monkeypatch.setattr(static.time, "perf_counter", lambda: seconds)
    monkeypatch.setattr(static, "_MOST_ESTIMATED", 1000)
    logs, model = tmp_path / "logs", load_model(network)
    results = [tune_static(model, options_for(model, logs), Log(logs, TARGET), budget, None) for budget in (40.0, 3.0)]
    assert results[0].applied and results[0].left > 0 and results[0].estimated <= 42
    assert verdicts_for(load_target(TARGET), logs).estimated == results[0].verdicts.keys()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("at", "raises"), [(1, True), (100, False)])
def test_ctrl_c_keeps_what_is_estimated(
    at: int, raises: bool, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is anything. The convolution with most work has fewer than 100 schedules, and is estimated first."""
    calls = 0

    def interrupted(program: Any, target: Any) -> Instructions:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGINT)
        return count_instructions(program, target)

    monkeypatch.setattr(static, "count_instructions", interrupted)
    with pytest.raises(KeyboardInterrupt) if raises else contextlib.nullcontext():
        assert counted(network, tmp_path / "logs", None).left > 0
    assert calls == at


@pytest.mark.usefixtures("loose")
def test_an_estimate_takes_no_count_back(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "logs"
    assert counted(network, logs, FakeEmulator()).applied
    found = verdicts_for(load_target(TARGET), logs)
    monkeypatch.setattr(records, "now", lambda: "2099-01-01T00:00:00Z")  # not in the same second
    assert not counted(network, logs, None).applied
    assert found.decisions and verdicts_for(load_target(TARGET), logs) == found


def record_of(kind: str, rows: int | None, **changes: Any) -> Record:
    made = record(
        kind=kind,
        workload="ab" * 16,
        target=TARGET,
        fingerprint=load_target(TARGET).fingerprint,
        decision=None if rows is None else Decision("packed", {"rows": rows}),
        source=COUNTED if kind == STATIC else "measured",
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], 4),
        ([record_of("verdict", 3, date="2026-01-01T00:00:00Z")], 3),  # older, and yet
        ([record_of("verdict", None)], None),  # measured: the default is best
        ([record_of("trial", 2)], None),  # measured, and not chosen
        ([record_of("trial", 2, fingerprint="0" * 16)], 4),  # another CPU
        ([record_of("verdict", 3, versions=("0", "0", "0"))], 4),  # not followed either
    ],
)
def test_what_was_measured_takes_precedence(measured: list[Record], expected: int | None, tmp_path: Path) -> None:
    Log(tmp_path, TARGET).append([record_of(STATIC, 4), *measured])
    found = verdicts_for(load_target(TARGET), tmp_path)
    key = "ab" * 16
    assert found.decisions == ({} if expected is None else {key: Decision("packed", {"rows": expected})})
    assert found.estimated == ({key} if expected == 4 else set())


def test_measuring_starts_from_what_was_measured_alone(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the untuned model nor the ranking knows of static records."""
    from compiler.tune import session

    Log(tmp_path, TARGET).append(
        [record_of(STATIC, 4), record_of("verdict", 3, workload="cd" * 16), record_of("trial", 2)]
    )
    model, seen = load_model(network), list[Session]()
    options = options_for(model, tmp_path)
    assert options.estimated == set()  # a trial of it is there
    Log(tmp_path, TARGET).append([record_of(STATIC, 4, workload="ef" * 16)])
    options = options_for(model, tmp_path)
    assert options.estimated == {"ef" * 16} <= options.decisions.keys()
    monkeypatch.setattr(session.Session, "run", lambda self, report: seen.append(self))
    session.tune(model, options, session.Fleet([FakeBoard()]), Log(tmp_path, TARGET), 1.0)
    assert seen[0].options.decisions.keys() == {"cd" * 16}
    assert all(known.kind == "trial" for known in (*seen[0].own, *seen[0].others)) and len(seen[0].own) == 1


def estimate(decision: Decision | None, name: str = TARGET, **sizes: int) -> Instructions:
    target = load_target(name)
    scheduled = schedule(product(**sizes), target, decision)
    return count_instructions(lower_kernel(scheduled.func, "kernel", target), target)


@pytest.mark.parametrize(("name", "lanes"), [("raspberry-pi-4", 4), ("x86-64-v3", 8)])
def test_estimates_have_every_multiply_add(name: str, lanes: int) -> None:
    found = estimate(None, name, m=16, k=64, n=64)
    products = 16 * 64 * 64 / lanes
    assert products <= found.arithmetic <= 1.25 * products
    assert found.total == found.arithmetic + found.loads + found.stores + found.other


def test_estimates_tell_schedules_apart() -> None:
    """A tile of one row loads a vector of weights for each multiply-add; of more, for several."""
    one, four = (estimate(Decision("tile", {"rows": rows}), m=16, k=64, n=64) for rows in (1, 4))
    assert one.loads > 1.5 * four.loads and one.cycles(load_target(TARGET)) > four.cycles(load_target(TARGET))


@pytest.mark.arm
@pytest.mark.slow
def test_counting_in_the_emulator(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is taken, counted gains are real, and the results stay right."""
    target, logs = load_target(TARGET), tmp_path / "logs"
    executor_or_skip(target)
    monkeypatch.setattr(static, "_COUNTED_GAIN", 1.5)  # so that something is
    monkeypatch.setattr(static, "_WHOLE_GAIN", 1.5)
    monkeypatch.setattr(static, "_MOST_COUNTED", 1)
    try:
        with emulate(target) as emulator:
            result = counted(network, logs, emulator)
    except UserError as reason:
        pytest.skip(str(reason))
    assert result.applied and not result.wrong and result.counted > 0
    for one in result.verdicts.values():
        assert one.seconds * target.ghz * 1e9 > 1 and one.source == COUNTED
    artifact = compile_model(network, TARGET, tmp_path / "net.so", tuning_logs=logs)
    assert artifact.verified == "passed" and any("estimated" in kernel for kernel in artifact.manifest["kernels"])


def test_the_command(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "_MOST_ESTIMATED", 4)
    arguments = [str(network), "--target", TARGET, "--tuning-logs", str(tmp_path / "logs"), "--static"]
    done = CliRunner().invoke(tune_command, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["unit"] == "cycles" and found["estimated"] > 0 and found["counted"] == 0
    assert found["applied"] == bool(found["verdicts"])


@pytest.mark.parametrize("given", [["--count-instructions"], ["--static", "--workers", "tcp://x:1"]])
def test_options_that_do_not_go_together(given: list[str], network: Path) -> None:
    done = CliRunner().invoke(tune_command, [str(network), *given])
    assert done.exit_code == 2 and "--static" in done.output


def test_a_target_without_an_emulator(network: Path, tmp_path: Path) -> None:
    arguments = [str(network), "--target", "x86-64-v3", "--tuning-logs", str(tmp_path), "--static"]
    done = CliRunner().invoke(tune_command, [*arguments, "--count-instructions"])
    assert isinstance(done.exception, UserError) and "not a board with 64-bit ARM" in str(done.exception)
