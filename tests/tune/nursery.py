"""Runs `edgec tune` for each line of its input, a JSON list of arguments, in a process forked from this one.

To start TVM takes seconds, which a test that starts a tuner twenty times does not have. Prints the process's id, and
when it has ended its status, of a signal the negative. What a tuner does it writes to the file that the first argument
names: `measured` when it has measured times, and `logged` with the number of records when these are in the log.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

import compiler.cli.tune
import compiler.tune.compare
import compiler.tune.session
from compiler.cli import main
from compiler.tune.boards import LocalBoard, Times
from compiler.tune.records import Log, Record


def tune(arguments: list[str], events: Path) -> None:
    """Runs the command; does not return."""
    compiler.tune.compare._SECONDS = 0.3
    measure, append = LocalBoard.measure, Log.append

    def note(event: str) -> None:
        with events.open("a") as file:
            file.write(f"{event}\n")

    def noted_measure(self: LocalBoard, trial: Path, rounds: int, seconds: float) -> list[Times]:
        times = measure(self, trial, rounds, seconds)
        if rounds > 1:  # else results are checked
            note("measured")
        return times

    def noted_append(self: Log, records: Iterable[Record]) -> None:
        records = list(records)
        append(self, records)
        note(f"logged {len(records)}")

    LocalBoard.measure, Log.append = noted_measure, noted_append  # type: ignore[method-assign]
    sys.argv = ["edgec", "tune", *arguments]
    main()


if __name__ == "__main__":
    for line in sys.stdin:
        process = os.fork()
        if not process:
            try:
                tune(json.loads(line), Path(sys.argv[1]))
            except SystemExit as ended:
                os._exit(int(ended.code or 0))
            except BaseException:
                traceback.print_exc()
            os._exit(70)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
