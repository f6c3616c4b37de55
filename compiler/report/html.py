"""Writes the report on precisions as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from .page import WIDTH, fact_table, page, picture, table

_BAR, _GOOD, _FAIR, _BAD, _FLOAT = "#4878a8", "#4f9d69", "#d8a031", "#c0392b", "#9aa0a6"
_ROW, _LABEL, _VALUE = 22, 300, 130  # pixels: a picture's rows, what stands left and right of bars
_NAME = 42  # characters of a layer's name

_FAIR_SNR, _BAD_SNR = 20.0, 10.0  # dB below which a layer's bar warns


def precision_report(
    title: str, facts: Mapping[str, str], variants: Sequence[Mapping[str, Any]], accuracy: Mapping[str, Any] | None
) -> str:
    """The page.

    Args:
        facts: what was measured, on what; lines of words and values.
        variants: by precision, as `report.precision.Variant.to_dict` gives them.
        accuracy: as `quantize.control.Accuracy.to_dict`; None of a model that was not quantised.
    """
    parts = [fact_table(facts), "<h2>By precision</h2>", _variant_table(variants)]
    scored = accuracy["metric"] if accuracy else ""
    for heading, key, text in (
        ("Size of the file", "bytes", lambda v: f"{v / 1024:.1f} KiB"),
        ("Latency, median of a run", "seconds", lambda v: f"{v * 1e3:.3f} ms"),
        (f"Accuracy: {scored}", "score", lambda v: f"{v:.4f}"),
    ):
        found = [(v["precision"], v[key]) for v in variants if v[key] is not None]
        if found:
            parts += [f"<h2>{escape(heading)}</h2>", _bars(found, text)]
    if accuracy:
        parts += _control(accuracy)
        if accuracy["layers"]:
            parts += ["<h2>Layers</h2>", _LAYERS, _layer_picture(accuracy), _layer_table(accuracy)]
    return page(title, parts)


_LAYERS = (
    "<p>The ratio of signal to noise of each layer's result, against the float model; higher is better, 6 dB are one "
    "bit. The bar is the layer alone: what it reads comes from the float model. The line is the layer in the quantised "
    "model, with the noise of all layers before it. The layer that, alone, costs the outputs most stands first.</p>"
)


def _variant_table(variants: Sequence[Mapping[str, Any]]) -> str:
    def cell(value: Any, text: Callable[[Any], str]) -> str:
        return "" if value is None else text(value)

    heads = [("precision", False), ("file, KiB", True), ("weights, KiB", True), ("latency, ms", True)]
    rows = [
        [
            v["precision"],
            cell(v["bytes"], lambda n: f"{n / 1024:.1f}"),
            cell(v["weights_bytes"], lambda n: f"{n / 1024:.1f}"),
            cell(v["seconds"], lambda s: f"{s * 1e3:.3f}"),
            cell(v["score"], lambda s: f"{s:.4f}"),
            v["note"] or "",
        ]
        for v in variants
    ]
    return table([*heads, ("accuracy", True), ("", False)], rows)


def _bars(values: Sequence[tuple[str, float]], text: Callable[[float], str]) -> str:
    """A bar for each value, from zero."""
    room = WIDTH - _LABEL - _VALUE
    most = max(max(value for _, value in values), 0.0) or 1.0
    parts = []
    for row, (name, value) in enumerate(values):
        y, length = row * _ROW, max(value, 0) / most * room
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y + 3}" width="{length:.1f}" height="{_ROW - 6}" fill="{_BAR}"/>',
            f'<text x="{_LABEL + length + 6:.1f}" y="{y + 15}">{escape(text(value))}</text>',
        ]
    return picture(len(values) * _ROW, parts)


def _control(accuracy: Mapping[str, Any]) -> list[str]:
    lost = accuracy["float"] - accuracy["quantised"]
    text = (
        f"{accuracy['metric']} against {accuracy['against']} on {accuracy['samples']} samples: "
        f"{accuracy['float']:.4f} in float, {accuracy['quantised']:.4f} quantised, {lost:.4f} lost."
    )
    parts = [f"<h2>Accuracy</h2><p>{escape(text)}</p>"]
    spared = accuracy["layers_spared"]
    if spared:
        text = f"{len(spared)} small layers, which make most of the noise in the outputs, are in float: "
        parts.append(f"<p>{escape(text + ', '.join(spared))}</p>")
    if accuracy["max_drop"] is not None:
        kept = [name for name in accuracy["layers_in_float"] if name not in spared]
        text = (
            f"At most {accuracy['max_drop']} was to be lost; with all layers quantised it was "
            f"{accuracy['float'] - accuracy['without_control']:.4f}. {len(kept)} layers are in float for it, with "
            f"{accuracy['macs_in_float']:.1%} of the multiplications{': ' if kept else '.'}{', '.join(kept)}"
        )
        mark = "" if accuracy["reached"] else ' class="warning"'
        parts.append(f"<p{mark}>{escape(text)}</p>")
    return parts


def _colour(layer: Mapping[str, Any], floats: Sequence[str]) -> str:
    if layer["name"] in floats:
        return _FLOAT
    ratio = layer["alone_snr_db"]
    return _BAD if ratio < _BAD_SNR else _FAIR if ratio < _FAIR_SNR else _GOOD


def _layer_picture(accuracy: Mapping[str, Any]) -> str:
    """A bar for each layer, and a line across it; a scale below."""
    layers, floats = accuracy["layers"], accuracy["layers_in_float"]
    room = WIDTH - _LABEL - _VALUE
    most = float(max(10.0, *(min(max(one["alone_snr_db"], one["snr_db"]), 80.0) for one in layers)))
    height = len(layers) * _ROW

    def place(ratio: float) -> float:
        return _LABEL + min(max(ratio, 0.0), most) / most * room

    parts = []
    for mark in range(0, int(most) + 1, 10):
        x = place(mark)
        parts += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}" stroke="#ddd"/>',
            f'<text x="{x:.1f}" y="{height + 15}" text-anchor="middle">{mark}{" dB" if mark == 0 else ""}</text>',
        ]
    for row, layer in enumerate(layers):
        y, name = row * _ROW, layer["name"]
        short = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
        alone, there = place(layer["alone_snr_db"]), place(layer["snr_db"])
        label = f"{layer['alone_snr_db']:.1f} dB" + (", float" if name in floats else "")
        parts += [
            f"<g><title>{escape(name)}: {escape(layer['operator'])}, cosine {layer['cosine']}</title>",
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(short)}</text>',
            f'<rect x="{_LABEL}" y="{y + 3}" width="{alone - _LABEL:.1f}" height="{_ROW - 6}" '
            f'fill="{_colour(layer, floats)}"/>',
            f'<line x1="{there:.1f}" x2="{there:.1f}" y1="{y + 1}" y2="{y + _ROW - 1}" stroke="#222" '
            'stroke-width="2"/>',
            f'<text x="{max(alone, there) + 6:.1f}" y="{y + 15}">{escape(label)}</text></g>',
        ]
    return picture(height + 20, parts)


def _layer_table(accuracy: Mapping[str, Any]) -> str:
    heads = [("layer", False), ("operator", False), ("MMAC", True), ("outputs, dB", True), ("alone, dB", True)]
    rows = [
        [
            layer["name"],
            layer["operator"],
            f"{layer['macs'] / 1e6:.2f}",
            f"{layer['output_snr_db']:.1f}",
            f"{layer['alone_snr_db']:.1f}",
            f"{layer['alone_cosine']:.5f}",
            f"{layer['snr_db']:.1f}",
            f"{layer['cosine']:.5f}",
            "float" if layer["name"] in accuracy["layers_in_float"] else "",
        ]
        for layer in accuracy["layers"]
    ]
    more = [("cosine", True), ("in place, dB", True), ("cosine", True), ("", False)]
    return table([*heads, *more], rows)
