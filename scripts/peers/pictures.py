"""Draws the measurements as SVG: ratios by model, and each model's kernels under the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .measure import OURS, Row
from .table import BEST, ratios

_INCHES = 9.0
_NAMED, _LETTERS = 9, 60  # kernels with a number and their names in the legend, those that take longest


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """All pictures of a report whose rows have `kernels`; returns the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for threads, rates in report["rates"].items():
        rows = [row for row in report["rows"] if row.get("threads") == int(threads)]
        found = {row["model"]: ratios(row, report["statistic"]) for row in rows}
        title = f"Times faster than its peers: {OURS}, float32, threads: {threads}"
        made.append(
            draw_ratios({model: by for model, by in found.items() if by}, title, folder / f"ratios-{threads}.svg")
        )
        for row in rows:
            path = folder / f"roofline-{row['model']}-{threads}.svg"
            made.append(draw_roofline(row["kernels"], rates, f"{row['model']}, threads: {threads}", path))
    return made


def draw_ratios(found: Mapping[str, Mapping[str, float]], title: str, path: Path) -> Path:
    """A group of bars a model, one for each peer: how many times its time is ours."""
    peers = [p for p in dict.fromkeys(name for by_peer in found.values() for name in by_peer) if p != BEST]
    figure = _figure(1.5 + 0.12 * len(found) * (len(peers) + 1))
    axes = figure.add_subplot()
    for place, peer in enumerate(peers):
        here = [(row, by_peer[peer]) for row, by_peer in enumerate(found.values()) if peer in by_peer]
        height = 0.8 / len(peers)
        positions = [row + (place - (len(peers) - 1) / 2) * height for row, _ in here]
        axes.barh(positions, [value - 1 for _, value in here], height, left=1, label=peer)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.grid(axis="x")
    axes.set_title(title)
    axes.legend()
    return _save(figure, path)


def draw_roofline(kernels: Sequence[Row], rates: Mapping[str, Any], title: str, path: Path) -> Path:
    """A dot a kernel, its area the share of the time, under the measured limits.

    Args:
        kernels: as compiler.report.profile.KernelTime; those that are not known to compute are left out.
        rates: as compiler.report.rates.Rates.
    """
    known = [k for k in kernels if k["flops"] and k["moved"] and k["seconds"]]
    places = [(k["flops"] / k["moved"], k["flops"] / k["seconds"] / 1e9) for k in known]
    peak = rates["gflops"]
    ridges = [peak / level["gbs"] for level in rates["levels"]]
    left = min([*ridges, *(x for x, _ in places)]) / 2
    right = max([*ridges, *(x for x, _ in places)]) * 2
    figure = _figure(6)
    axes = figure.add_subplot()
    axes.plot([min(ridges), right], [peak, peak], color="black")
    axes.annotate(f"multiply-adds {peak:.0f} GFLOP/s", (right, peak), ha="right", va="bottom")
    for level, ridge in zip(rates["levels"], ridges, strict=True):
        [line] = axes.plot([left, ridge], [left * level["gbs"], peak], linewidth=1)
        text = f"{level['name']} {level['gbs']:.0f} GB/s"
        axes.annotate(text, (left, left * level["gbs"]), color=line.get_color(), va="bottom")
    if known:
        axes.scatter(*zip(*places, strict=True), s=[20 + 1000 * k["share"] for k in known], alpha=0.5)
    for number, (kernel, (x, y)) in enumerate(list(zip(known, places, strict=True))[:_NAMED], 1):
        axes.scatter(
            x, y, color="black", marker=f"${number}$", label=f"{kernel['kernel'][:_LETTERS]} ({kernel['share']:.0%})"
        )
    if known:
        axes.legend(fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(title)
    return _save(figure, path)


def _figure(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure((_INCHES, height), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    import matplotlib

    # The same figures give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "edgec", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    return path
