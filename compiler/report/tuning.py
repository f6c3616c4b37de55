"""The report on a run of the tuner: gain over time as a picture, what made it, and what it cost, as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .page import WIDTH, fact_table, page, picture, table

_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 60, 150, 10, 40  # pixels: the picture, and what is around the curve
_CURVE, _WHOLE = "#4878a8", "#c0392b"
_MARKS = 6  # lines of the scale, about

_EXPLANATION = (
    "<p>The line is what the best choices of graph passes and schedules found so far make of the time of all kernels "
    "together: an estimate, since the best of many measurements flatters. The dashed line is the whole model, tuned "
    "and untuned run in turns at the end: what counts.</p>"
)


def tuning_report(title: str, facts: Mapping[str, str], result: Mapping[str, Any]) -> str:
    """The page.

    Args:
        facts: what was tuned, for what, on what; lines of words and values.
        result: as `tune.session.Result.to_dict` gives it.
    """
    curve: Sequence[Mapping[str, Any]] = result["curve"]
    whole = 1 / result["ratio"]
    parts = [fact_table({**facts, **_cost(result)}), "<h2>Gain over time</h2>"]
    parts += [_EXPLANATION, _picture(curve, whole)] if curve else ["<p>No schedules were searched.</p>"]
    parts += ["<h2>Kernels that made it</h2>", _kernel_table(result) if result["kernels"] else "<p>None.</p>"]
    parts += ["<h2>The whole model</h2>"]
    if not result["applied"]:
        why = f"Its results are wrong ({result['wrong']})" if result["wrong"] else "It is not faster"
        parts.append(f'<p class="warning">{escape(why)} with the best kernels: nothing is applied.</p>')
    start = f"with {result['already']} decisions of before, ms" if result["already"] else "untuned, ms"
    heads = [(start, True), ("tuned, ms", True), ("times as fast", True)]
    times = (f"{1e3 * result[side]:.4f}" for side in ("untuned", "tuned"))
    return page(title, [*parts, table(heads, [[*times, f"{whole:.3f}"]])])


def _cost(result: Mapping[str, Any]) -> dict[str, str]:
    curve, cost = result["curve"], {"schedules tried": str(result["trials"])}
    cost["the roofline allows the kernels"] = f"{result['bound']:.2f} times the speed at most"
    if curve:
        cost["search ended after"] = f"{curve[-1]['elapsed']:.0f} s, with {curve[-1]['kernels']} different kernels"
        final = _gain(curve[-1])
        if final > 1:
            half = next(point["elapsed"] for point in curve if _gain(point) - 1 >= (final - 1) / 2)
            cost["half of the estimated gain after"] = f"{half:.0f} s"
    return cost


def _gain(point: Mapping[str, Any]) -> float:
    return float(point["untuned"] / point["best"]) if point["best"] else 1.0


def _picture(curve: Sequence[Mapping[str, Any]], whole: float) -> str:
    """Gain by seconds: steps, since a schedule is known when its batch is measured."""
    gains = [_gain(point) for point in curve]
    end = max(float(curve[-1]["elapsed"]), 1e-3)
    low, high = min(1.0, whole), max(*gains, whole, 1.01)

    def x(seconds: float) -> float:
        return _LEFT + seconds / end * (WIDTH - _LEFT - _RIGHT)

    def y(gain: float) -> float:
        return _TOP + (high - gain) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for mark in _marks(low, high):
        parts += [
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:.4g}</text>',
        ]
    for mark in _marks(0.0, end):
        parts.append(f'<text x="{x(mark):.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{mark:.4g}</text>')
    parts.append(f'<text x="{x(end):.1f}" y="{_HEIGHT - 4}" text-anchor="end">seconds</text>')
    path = f"M{x(0):.1f},{y(1.0):.1f}"
    for point, gain in zip(curve, gains, strict=True):
        path += f"H{x(point['elapsed']):.1f}V{y(gain):.1f}"
    parts.append(f'<path d="{path}" fill="none" stroke="{_CURVE}" stroke-width="2"/>')
    parts.append(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(whole):.1f}" y2="{y(whole):.1f}" stroke="{_WHOLE}" '
        'stroke-dasharray="6 4"/>'
    )
    labels = [(gains[-1], f"kernels {gains[-1]:.3f}", _CURVE), (whole, f"whole model {whole:.3f}", _WHOLE)]
    upper, lower = sorted(labels, reverse=True)
    places = y(upper[0]) + 4, max(y(lower[0]) + 4, y(upper[0]) + 20)
    for (_, text, colour), place in zip((upper, lower), places, strict=True):
        parts.append(f'<text x="{WIDTH - _RIGHT + 8}" y="{place:.1f}" style="fill: {colour}">{escape(text)}</text>')
    return picture(_HEIGHT, parts)


def _marks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`."""
    rough = (high - low) / _MARKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _kernel_table(result: Mapping[str, Any]) -> str:
    """What each schedule saves in a run of the model, as it was measured beside the default; the most first."""
    heads = [("kernel", False), ("schedule", False), ("of its time", True), ("calls", True), ("saves, us", True)]
    rows = sorted(result["kernels"], key=lambda row: -row["saved"])
    cells = [
        [row["kernel"], row["schedule"], f"{row['ratio']:.3f}", str(row["calls"]), f"{1e6 * row['saved']:.2f}"]
        for row in rows
    ]
    return table(heads, cells)
