"""The report on tuning: one page that loads nothing, with the curve's points in its picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx
import pytest
from click.testing import CliRunner

from compiler.cli.tune import command
from compiler.kernels.rule import Decision
from compiler.report.tuning import tuning_report
from compiler.tune.fleet import State
from compiler.tune.search import Progress
from compiler.tune.session import Result
from tests.networks import convnet
from tests.tune.records import record

KERNEL = 'conv<1> & "relu"'


def made(applied: bool = True) -> Result:
    verdict = record(workload="ab", decision=Decision("packed", {"rows": 3}), seconds=6e-6, base=1e-5)
    curve = [
        Progress(elapsed=elapsed, budget=60.0, kernels=5, trials=trials, untuned=2e-3, best=best)
        for elapsed, trials, best in ((10.0, 0, 2e-3), (20.0, 28, 1.8e-3), (40.0, 56, 1.6e-3))
    ]
    ratio = 0.8 if applied else 1.25
    verdicts = {"ab": verdict} if applied else {}
    return Result(
        untuned=3e-3,
        tuned=3e-3 * ratio,
        ratio=ratio,
        verdicts=verdicts,
        names={"ab": (KERNEL,)},
        curve=curve,
        trials=56,
        bound=1.25,
        applied=applied,
        boards=[State("this machine")],
        calls={"ab": 4},
    )


def page_of(result: dict[str, Any]) -> tuple[str, list[ElementTree.Element]]:
    text = tuning_report("net: tuning", {"target": "host <x>", "budget": "1m"}, result)
    pictures = [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.S)]
    return text, pictures


def rows_of(text: str) -> list[list[str]]:
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_the_page_loads_nothing_and_has_the_numbers() -> None:
    text, pictures = page_of(made().to_dict())
    assert text.startswith("<!DOCTYPE html>") and not re.search(r"<script|<link|<img|src=|href=", text)
    assert len(pictures) == 1
    rows = rows_of(text)
    assert ["conv&lt;1&gt; &amp; &quot;relu&quot;", Decision("packed", {"rows": 3}).text, "0.600", "4", "16.00"] in rows
    assert ["3.0000", "2.4000", "1.250"] in rows
    for name, value in (
        ("target", "host &lt;x&gt;"),
        ("schedules tried", "56"),
        ("the roofline allows the kernels", "1.25 times the speed at most"),
        ("half of the estimated gain after", "40 s"),
    ):
        assert [name, value] in rows, name


def test_a_model_that_was_tuned_before_is_not_called_untuned() -> None:
    heads = [row for row in rows_of(page_of(made().to_dict())[0]) if row[-1] == "times as fast"]
    again = [row for row in rows_of(page_of(replace(made(), already=7).to_dict())[0]) if row[-1] == "times as fast"]
    assert heads[0][0] == "untuned, ms" and again[0][0] == "with 7 decisions of before, ms"


def test_the_curve_goes_through_its_points() -> None:
    _, (picture,) = page_of(made().to_dict())
    tag = "{http://www.w3.org/2000/svg}"
    path = picture.find(f"{tag}path")
    assert path is not None
    steps = [(float(x), float(y)) for x, y in re.findall(r"H([\d.]+)V([\d.]+)", path.attrib["d"])]
    assert len(steps) == 3
    (x0, y0), (x1, y1), (x2, y2) = steps
    assert x2 - x1 == pytest.approx(2 * (x1 - x0), abs=0.2)  # 20 seconds and 10
    gain1, gain2 = 2 / 1.8 - 1, 2 / 1.6 - 1
    assert (y0 - y1) / (y0 - y2) == pytest.approx(gain1 / gain2, abs=0.01)
    dashed = [line for line in picture.iter(f"{tag}line") if "stroke-dasharray" in line.attrib]
    assert len(dashed) == 1 and float(dashed[0].attrib["y1"]) == pytest.approx(y2, abs=0.1)  # both are 1.25
    texts = [text.text for text in picture.iter(f"{tag}text")]
    assert "whole model 1.250" in texts and "kernels 1.250" in texts


@pytest.mark.parametrize("points", [0, 1])
def test_a_model_that_is_not_faster(points: int) -> None:
    result = made(applied=False).to_dict()
    result["curve"] = result["curve"][:points]
    text, pictures = page_of(result)
    assert "nothing is applied" in text and len(pictures) == points
    assert ["3.0000", "3.7500", "0.800"] in rows_of(text)


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(convnet(), tmp_path / "net.onnx")
    monkeypatch.setattr("compiler.tune.session.tune", lambda *given: made())
    arguments = [str(tmp_path / "net.onnx"), "--tuning-logs", str(tmp_path), "--report", str(tmp_path / "page.html")]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "page.html").read_text()
    assert "net: tuning" in text and "<svg" in text
    assert ["measured on", "this machine, 1 thread"] in rows_of(text)
