"""README's road from scikit-learn to a board, line by line; the board is an emulator."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.target import load_target
from tests.executors import executor_or_skip

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Classical models")[2].partition("\n## ")[0]
TRAIN, COMMANDS, RUN = re.findall(r"^```\w*\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow(target: str | None, tmp_path: Path) -> tuple[Path, str]:
    """Trains and compiles; the folder of what the lines copy, and the target. `target` takes the place of README's."""
    pytest.importorskip("skl2onnx", reason="no skl2onnx; the `test` extra of pyproject.toml has it")
    pytest.importorskip("sklearn")
    run(sys.executable, "-c", TRAIN, cwd=tmp_path)
    compile_words, copy_words = map(shlex.split, COMMANDS.splitlines())
    assert compile_words[:2] == ["edgec", "compile"] and copy_words[0] == "scp" and copy_words[-1].endswith(":")
    at = compile_words.index("--target") + 1
    target = compile_words[at] = target or compile_words[at]
    run(sys.executable, "-m", "compiler", *compile_words[1:], cwd=tmp_path)
    board = tmp_path / "board"
    board.mkdir()
    for name in copy_words[1:-1]:
        shutil.copy(ROOT / name if "/" in name else tmp_path / name, board)
    return board, target


def check(text: str) -> None:
    share, count = re.fullmatch(r"([\d.]+)% of (\d+) digits are right\n", text).groups()  # type: ignore[union-attr]
    assert float(share) > 95 and int(count) == 450


def test_here(tmp_path: Path) -> None:
    board, _ = follow("host", tmp_path)
    check(run(sys.executable, "-c", RUN, cwd=board))


@pytest.mark.arm
def test_on_the_board(tmp_path: Path) -> None:
    board, name = follow(None, tmp_path)
    target = load_target(name)
    executor = executor_or_skip(target)
    check(run(*executor.python, "-c", RUN, cwd=board))
