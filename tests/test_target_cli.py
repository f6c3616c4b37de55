"""`edgec targets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.cli.targets import targets
from compiler.errors import UserError
from compiler.target import list_targets, load_target


def call(*arguments: str) -> str:
    result = CliRunner().invoke(targets, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_is_the_default() -> None:
    assert call() == call("list")
    lines = call("list").splitlines()
    assert len(lines) == len(list_targets()) + 2
    assert any("raspberry-pi-5" in line and "153.6 GFLOP/s" in line and "17.1 GB/s" in line for line in lines)
    assert any("generic-aarch64" in line and "unknown" in line for line in lines)


def test_list_json() -> None:
    rows: list[dict[str, Any]] = json.loads(call("list", "--json"))
    assert [row["name"] for row in rows] == [target.name for target in list_targets()]
    assert {row["name"]: row["peak_fp32_gflops"] for row in rows}["generic-armv7"] is None


@pytest.mark.parametrize("name", [target.name for target in list_targets()])
def test_show(name: str) -> None:
    text = call("show", name)
    assert text.startswith(f"{name}: ")
    assert load_target(name).fingerprint in text
    values = json.loads(call("show", name, "--json"))
    assert values["board"]["name"] == name
    assert values["derived"]["tvm_target"]["mcpu"] == load_target(name).core


def test_detect_writes_a_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "this.toml"
    path.write_text(call("detect"))
    assert load_target(str(path)) == load_target("host")
    assert json.loads(call("detect", "--json")) == load_target("host").to_dict()
    assert call("show", str(path)) == call("show", "host")


def test_unknown_name_is_a_user_error() -> None:
    result = CliRunner().invoke(targets, ["show", "raspbery-pi-5"])
    assert isinstance(result.exception, UserError)
    assert "raspberry-pi-5" in str(result.exception)
