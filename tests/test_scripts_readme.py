"""What README.md and CONTRIBUTING.md tell people to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    {line.partition(" #")[0].strip() for _, block in BLOCKS for line in block.splitlines() if line[:6] == "edgec "}
    | set(re.findall(r"`(edgec [^`]+)`", TEXT))
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str) -> None:
    from compiler.cli import cli

    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_python_compiles() -> None:
    examples = [block for language, block in BLOCKS if language == "python"]
    assert examples
    for example in examples:
        compile(example, "README.md", "exec")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"\]\(([^):]+)\)", text) + re.findall(r"\b((?:scripts|compiler|tests)/[\w./]*\w)", text)
    assert not [path for path in paths if not (ROOT / path).exists()]
