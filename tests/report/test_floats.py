"""Products of floats in quantised models, as people read of them."""

from __future__ import annotations

from compiler.report.floats import float_lines


def test_a_line_for_each_reason() -> None:
    found = [{"node": f"Conv 'c{n}'", "reason": "its data is not quantised"} for n in range(5)]
    found.append({"node": "MatMul 'm'", "reason": "it multiplies two values"})
    assert float_lines(found) == [
        "in floats    Conv 'c0', Conv 'c1', Conv 'c2' and 2 more: its data is not quantised",
        "in floats    MatMul 'm': it multiplies two values",
    ]


def test_nothing_is_said_of_other_models() -> None:
    assert float_lines(None) == float_lines([]) == []
