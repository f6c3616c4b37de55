"""What an artifact says of its kernels."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.report.kernels import describe_kernels, failed_rules, tuned_lines


def test_shares_are_of_all_calls_and_the_largest_comes_first() -> None:
    kernels = [
        {"name": name, "calls": calls, "estimated_seconds": seconds, "bytes": 12, "bytes_written": 4}
        for name, calls, seconds in (("b", 1, 1e-6), ("c", 4, 2e-6), ("a", 1, 1e-6))
    ]
    found = describe_kernels({"kernels": kernels})
    assert [(k["name"], k["bytes_read"]) for k in found] == [("c", 8), ("a", 8), ("b", 8)]
    assert [k["share"] for k in found] == pytest.approx([0.8, 0.1, 0.1])
    assert describe_kernels({"kernels": []}) == []


def test_each_failed_rule_has_a_line() -> None:
    kernel = {"name": "k", "rule": "blocks", "failed_rules": {"packed": "too odd", "tile": "too small"}}
    lines = failed_rules(kernel)
    assert lines[1] == "k: rule tile failed, blocks is used: too small" and len(lines) == 2
    assert failed_rules({"name": "k", "rule": "tile"}) == []


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        ({"kernels": [{}, {}]}, None),
        ({"kernels": [{"tuned": {}}, {}]}, "1 of 2 kernels, as tuning records say"),
        ({"kernels": [{}, {}], "choices": {"a": 1}}, "0 of 2 kernels, 1 choice of graph passes, as tuning records say"),
        (
            {"kernels": [{"tuned": {}, "estimated": {}}], "choices": {"a": 1, "b": 2}},
            "1 of 1 kernels, 2 choices of graph passes, as tuning records say; 1 of them by estimates, never measured",
        ),
    ],
)
def test_what_was_tuned_is_told(manifest: dict[str, Any], line: str | None) -> None:
    assert tuned_lines(manifest) == ([f"tuned: {line}"] if line else [])
