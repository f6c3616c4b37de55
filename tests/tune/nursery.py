"""Runs `edgec tune` for each line of its input, a JSON list of arguments, in a process forked from this one.

To start TVM takes seconds, which a test that starts a tuner twenty times does not have. Prints the process's id, and when
it has ended its status, of a signal the negative. To the file that the first argument names, the tuner adds a line for
each measurement that it has, before it does anything else with it: how many schedules were measured beside defaults.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import compiler.cli.tune
import compiler.tune.compare
import compiler.tune.session  # noqa: F401  (imported once, here)
from compiler.cli import main
from compiler.tune.boards import LocalBoard, Times


def tune(arguments: list[str], measured: Path) -> None:
    """Runs the command; does not return."""
    compiler.tune.compare._SECONDS = 0.3
    original = LocalBoard.measure

    def measure(self: LocalBoard, trial: Path, rounds: int, seconds: float) -> list[Times]:
        groups = original(self, trial, rounds, seconds)
        with measured.open("a") as file:
            file.write(f"{sum(len(times.differences) - 1 for times in groups)}\n")
        return groups

    LocalBoard.measure = measure  # type: ignore[method-assign]
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
