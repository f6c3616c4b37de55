"""What is measured while a board throttles is repeated, marked, and decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler.build.cache import Cache
from compiler.cli.tune import progress_line
from compiler.frontend.prepare import load_model
from compiler.pipeline import resolve
from compiler.runtime.loader import read_manifest
from compiler.runtime.thermal import Watch
from compiler.tune import fleet as fleet_module
from compiler.tune.boards import Comparison, Heat, LocalBoard, Times
from compiler.tune.fleet import Fleet
from compiler.tune.records import THROTTLED, Log
from compiler.tune.search import Progress
from compiler.tune.session import Result, tune
from tests.tune.trials import small_network

HOT, COOL = Heat(82.0, "the clock of cpu0 is limited"), Heat(60.0)


class Board:
    """Has a schedule's time depend on its parameters; says of each measurement how warm it was."""

    name, threads = "fake", 1

    def __init__(self, *heats: Heat) -> None:
        self.heats = list(heats)  # the last for ever

    def heat(self) -> Heat:
        return self.heats.pop(0) if len(self.heats) > 1 else self.heats[0]

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        heat, manifest, found = self.heat(), read_manifest(trial), []
        for version in manifest["shapes"]:
            kernels = [manifest["kernels"][step] for step in version["steps"]]
            times = [1e-5 * (1 + sum(kernel["parameters"].values()) / 100) for kernel in kernels]
            differences = {tensor["name"]: 0.0 for tensor in manifest["outputs"]}
            found.append(Times(np.array([times] * rounds), differences, heat))
        return found

    def compare(self, first: Path, second: Path, seconds: float) -> Comparison:
        return Comparison((2e-5, 1e-5), 0.5, {}, heat=self.heat())

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that boards get, which last no time here."""
    taken: list[float] = []
    monkeypatch.setattr(fleet_module.time, "sleep", taken.append)
    return taken


def measure_times(fleet: Fleet, count: int) -> list[str]:
    """What throttled a board, of some measurements."""
    (board,) = fleet.boards
    return [fleet.measure(board, lambda: board.compare(Path(), Path(), 1.0)).heat.throttled for _ in range(count)]


def test_a_board_gets_time_to_cool_down(pauses: list[float]) -> None:
    fleet = Fleet([Board(HOT, COOL, HOT, HOT, COOL)])
    assert measure_times(fleet, 2) == ["", ""]
    (state,) = fleet.states.values()
    assert (state.measurements, state.throttled, state.temperature, state.hottest) == (5, 3, 60.0, 82.0)
    assert state.why == HOT.throttled and pauses == [*fleet_module._PAUSES[:1], *fleet_module._PAUSES]


def test_a_board_that_stays_hot_is_not_waited_for_again(pauses: list[float]) -> None:
    fleet = Fleet([Board(HOT)])
    assert all(measure_times(fleet, 4))
    (state,) = fleet.states.values()
    assert state.measurements == state.throttled == len(fleet_module._PAUSES) + 4
    fleet.boards[0].heats[:] = [COOL, HOT, COOL]  # type: ignore[attr-defined]
    assert not any(measure_times(fleet, 2)), "after it was cool, it is waited for"


def tuned(board: Any, folder: Path) -> Result:
    onnx.save(small_network(), folder / "net.onnx")
    model = load_model(folder / "net.onnx")
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=folder / "logs")
    return tune(model, options, Fleet([board]), Log(folder / "logs", "host"), 20.0, cache=Cache())


def test_times_of_a_hot_board_decide_nothing(tmp_path: Path) -> None:
    result = tuned(Board(HOT), tmp_path)
    assert not result.applied and not result.verdicts
    records = Log(tmp_path / "logs", "host").read()
    assert records and {record.source for record in records if record.rounds} == {THROTTLED}
    assert not [record for record in records if record.kind == "verdict"]
    (board,) = result.to_dict()["boards"]
    assert board["throttled"] == board["measurements"] > 0
    assert (board["temperature"], board["why"]) == (82.0, HOT.throttled)


def test_times_of_a_cool_board_do(tmp_path: Path) -> None:
    result = tuned(Board(COOL), tmp_path)
    assert result.applied and result.verdicts
    (board,) = result.to_dict()["boards"]
    assert board["throttled"] == 0 and board["hottest"] == 60.0
    assert "60 °C" in progress_line(result.curve[-1])


def test_progress_says_how_warm_boards_are() -> None:
    fleet = Fleet([Board(HOT)])
    measure_times(fleet, 1)
    progress = Progress(elapsed=1.0, budget=9.0, kernels=2, untuned=1e-3, best=1e-3, boards=fleet.current_states())
    assert progress_line(progress).endswith("fake: 82 °C, 3 of 3 measurements throttled")


def test_this_machine_is_watched_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zone = tmp_path / "class" / "thermal" / "thermal_zone0" / "temp"
    zone.parent.mkdir(parents=True)
    zone.write_text("71000\n")
    board = LocalBoard(1)
    board._worker.watch = Watch(tmp_path)
    monkeypatch.setattr(
        board._worker, "_ask", lambda *_: {"medians": [1, 1], "ratio": 1.0, "noise": 0.0, "kernels": {}}
    )
    assert board.compare(tmp_path, tmp_path, 1.0).heat == Heat(71.0)
