"""What the measurements amount to: ratios, means and Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from .measure import OURS, Row

BEST = "best peer"


def ratios(row: Row, statistic: str) -> dict[str, float]:
    """How many times a peer's time is ours, by peer, and by `BEST` for the quickest of them; empty without ours."""
    results = row.get("results", {})
    if OURS not in results:
        return {}
    ours = results[OURS][statistic]
    found = {name: r[statistic] / ours for name, r in results.items() if name != OURS and statistic in r}
    return found | {BEST: min(found.values())} if found else {}


def summarize(rows: Sequence[Row], statistic: str) -> list[dict[str, Any]]:
    """By thread count and peer (and for the best of them): geometric mean and least of the ratios, models won."""
    summary: list[dict[str, Any]] = []
    for threads in sorted({row["threads"] for row in rows if "threads" in row}):
        found = {row["model"]: ratios(row, statistic) for row in rows if row.get("threads") == threads}
        for peer in dict.fromkeys(name for by_peer in found.values() for name in (*by_peer,)):
            values = {model: by_peer[peer] for model, by_peer in found.items() if peer in by_peer}
            least = min(values, key=lambda model: values[model])
            summary.append({
                "threads": threads, "peer": peer, "models": len(values),
                "geometric_mean": geometric_mean(list(values.values())),
                "least": values[least], "least_model": least,
                "won": sum(value > 1 for value in values.values()),
            })  # fmt: skip
    return summary


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def markdown(report: dict[str, Any]) -> str:
    """The whole report: a line a model and thread count, the means, and what was not measured."""
    rows, peers, statistic = report["rows"], report["peers"], report["statistic"]
    shown = [p for p in peers if any(statistic in row.get("results", {}).get(p, {}) for row in rows)]
    head = ["model", "threads", f"{OURS}, ms", *(f"{p}, ms" for p in shown), *(f"{p} ÷ {OURS}" for p in shown)]
    lines = [*_head([*head, f"{BEST} ÷ {OURS}"])]
    for row in rows:
        if "results" not in row:
            continue
        found = ratios(row, statistic)
        times = [_milliseconds(row["results"].get(name, {}).get(statistic)) for name in (OURS, *shown)]
        quotients = [f"{found[p]:.2f}" if p in found else "–" for p in (*shown, BEST)]
        lines.append(_line([row["model"], str(row["threads"]), *times, *quotients]))
    lines += ["", *_head(["threads", "peer", "models", "geometric mean", "least", "of", "won"])]
    for entry in report["summary"]:
        numbers = [f"{entry['geometric_mean']:.2f}", f"{entry['least']:.2f}", entry["least_model"]]
        lines.append(_line([str(entry["threads"]), entry["peer"], str(entry["models"]), *numbers, str(entry["won"])]))
    lines += ["", *(f"- {reason}" for reason in not_measured(rows)), ""]
    return "\n".join(lines)


def not_measured(rows: Sequence[Row]) -> list[str]:
    """A sentence for each model that could not be compiled, and each peer that could not take one."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "reason" in row:
            reasons.setdefault(f"{OURS}: {row['reason']}", []).append(row["model"])
        for name, result in row.get("results", {}).items():
            if "reason" in result:
                models = reasons.setdefault(f"{name}: {result['reason']}", [])
                models += [row["model"]] * (row["model"] not in models)
    return [f"{', '.join(models)}: {reason}" for reason, models in reasons.items()]


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|---" * len(cells) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
