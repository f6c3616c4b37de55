"""The score as a table in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .cases import Case
from .check import Results
from .reasons import GROUPS, group_of


def score_table(cases: Sequence[Case], columns: Mapping[str, Results]) -> str:
    """A line an operator: its cases, and how many pass by column."""
    totals = Counter(case.operator for case in cases)
    passed = {
        title: Counter(case.operator for case in cases if results[case.name] is None)
        for title, results in columns.items()
    }
    lines = [f"| | cases | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    rows = [("**all**", len(cases), [counts.total() for counts in passed.values()])]
    rows += [(name, totals[name], [counts[name] for counts in passed.values()]) for name in sorted(totals)]
    for name, total, counts in rows:
        lines.append(f"| {name} | {total} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def reason_table(results: Results) -> str:
    """A line a group of reasons: how many cases do not pass because of it."""
    counts = Counter(group_of(reason) for reason in results.values() if reason is not None)
    lines = ["| why a case does not pass | cases |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {counts[name]} |" for name in GROUPS if counts[name])])
