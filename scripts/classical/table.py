"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.onnx_cases.reasons import summary

from .check import Result

Columns = Mapping[str, Sequence[Result]]  # by target, in the catalogue's order


def table(columns: Columns) -> str:
    """A line a case of the first target: library, operators, how it went by target; – where it was not tried."""
    head = ["estimator", "library", "operators", *columns]
    lines = [_line(head), "|---" * len(head) + "|"]
    verdicts = [{result.case.name: _verdict(result) for result in results} for results in columns.values()]
    for result in next(iter(columns.values())):
        case, operators = result.case, ", ".join(result.operators)
        cells = (verdict.get(case.name, "–") for verdict in verdicts)
        lines.append(_line([case.name, case.library, operators, *cells]))
    passed = (
        f"{target} {sum(r.reason is None for r in results)} of {len(results)}" for target, results in columns.items()
    )
    return "\n".join([*lines, "", f"Passed: {', '.join(passed)}."])


def by_reason(results: Sequence[Result]) -> str:
    """A paragraph a reason: the cases that do not pass because of it."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.reason is not None:
            groups.setdefault(summary(result.reason), []).append(result)
    return "\n".join(
        line
        for reason, found in sorted(groups.items(), key=lambda group: -len(group[1]))
        for line in (f"{len(found)} × {reason}", *(f"    {r.case.name}: {r.reason}" for r in found))
    )


def _verdict(result: Result) -> str:
    return "passes" if result.reason is None else summary(result.reason).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
