"""The options of `edgec compile` for numbers of fewer bits, and what they cost the model, printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline import PRECISIONS, QUANTISED
from ..quantize.settings import METHODS, WEIGHT_RANGES
from .show import table

if TYPE_CHECKING:
    from ..quantize.control import Accuracy
    from ..quantize.post_training import Quantised

_NAME = 60  # characters of a layer's name in the table

_OPTIONS = (
    click.option(
        "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="Of the arithmetic."
    ),
    click.option(
        "--calibration",
        metavar="DATA",
        type=click.Path(path_type=Path),
        help="Samples, for int8: a folder of pictures, .npz by input, or .npy. Trees are laid out for them.",
    ),
    click.option("--method", type=click.Choice(METHODS), help="How int8 takes a tensor's range from the samples."),
    click.option(
        "--metric",
        metavar="top1|map50|cosine|FILE.py:FUNCTION",
        help="What the samples are scored by: top1 for classifiers, else cosine. A function of yours is run.",
    ),
    click.option(
        "--max-drop",
        type=click.FloatRange(min=0),
        metavar="0.01",
        help="How much of the score int8 may lose; layers return to float for it.",
    ),
    click.option(
        "--weight-range",
        type=click.Choice(WEIGHT_RANGES),
        help="Of int8 weights: as small as the target's fastest kernels want them, or all of 8 bits.",
    ),
    click.option(
        "--layers",
        type=click.IntRange(min=0),
        default=8,
        show_default=True,
        help="How many layers to show after a quantisation, the worst first; 0 for all.",
    ),
    click.option(
        "--report",
        type=click.Path(path_type=Path),
        metavar="OUT.html",
        help="Size, speed and accuracy by precision, as a page; compiles the others too.",
    ),
)


def precision_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_options(precision: str, **given: Any) -> None:
    """Refuses options that only a quantisation has a use for.

    Raises:
        click.UsageError: such an option, and another precision.
    """
    if precision in QUANTISED:
        return
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is for a quantisation: give --precision int8, or leave it out")


def print_accuracy(quantised: Quantised, layers: int) -> None:
    """The layers, the worst first, and what the model lost; a warning on the error output if that is much.

    Args:
        layers: how many of them; 0 for all.
    """
    accuracy = quantised.accuracy
    if accuracy is None:
        click.echo("accuracy  not measured: --calibration gives samples to measure it on")
        return
    shown = accuracy.layers[: layers or None]
    if shown:
        click.echo(f"layers that cost the outputs most, {len(shown)} of {len(accuracy.layers)}:")
        click.echo(_layer_table(accuracy, len(shown)))
    scores = (f"{one:.{accuracy.digits}f}" for one in (accuracy.score, accuracy.float_score, accuracy.drop))
    click.echo(
        "accuracy  {} {}, in float {}: {} lost ({} runs, against {})".format(
            accuracy.metric, *scores, accuracy.samples, accuracy.against
        )
    )
    if accuracy.limited or accuracy.whole_range:
        click.echo(_weights_line(accuracy))
    if accuracy.spared:
        click.echo(
            f"in float  {len(accuracy.spared)} small layers that make most of the noise in the outputs: "
            f"{', '.join(accuracy.spared)}"
        )
    if accuracy.max_drop is not None:
        click.echo(_control_line(accuracy))
    if quantised.warning:
        click.echo(f"warning: {quantised.warning}", err=True)


def _layer_table(accuracy: Accuracy, count: int) -> str:
    """Signal to noise in dB and cosine against the float model: of the outputs and of a layer's result if it alone is
    quantised, and of its result in the quantised model."""
    rows = [("OUTPUT dB", "ALONE dB", "COSINE", "IN PLACE dB", "COSINE", "MMAC", "", "OPERATOR", "LAYER")]
    rows += [
        (
            f"{layer.output_snr:9.1f}",
            f"{layer.alone_snr:8.1f}",
            f"{layer.alone_cosine:.5f}",
            f"{layer.snr:11.1f}",
            f"{layer.cosine:.5f}",
            f"{layer.macs / 1e6:.2f}",
            "float" if layer.name in accuracy.in_float else "",
            layer.operator,
            layer.name if len(layer.name) <= _NAME else f"…{layer.name[1 - _NAME :]}",
        )
        for layer in accuracy.layers[:count]
    ]
    return table(rows)


def _weights_line(accuracy: Accuracy) -> str:
    line = f"weights   {len(accuracy.limited)} layers limited for the kernels of a target without 8-bit dot products"
    if not accuracy.whole_range:
        return line
    return f"{line}; of the whole range in {', '.join(accuracy.whole_range)}, which would lose too much"


def _control_line(accuracy: Accuracy) -> str:
    before = f"{accuracy.float_score - (accuracy.without_control or 0.0):.{accuracy.digits}f}"
    if accuracy.reached and not accuracy.kept:
        others = "every other layer" if accuracy.spared else "every layer"
        return f"max drop  {accuracy.max_drop}: kept with {others} quantised"
    if not accuracy.reached:
        lost = f"{before} lost with all quantised, {accuracy.trials} models scored"
        return f"max drop  {accuracy.max_drop}: NOT reached, whichever layers are in float ({lost}); allow more of it"
    return (
        f"max drop  {accuracy.max_drop}: kept by {len(accuracy.in_float)} of {len(accuracy.layers)} layers in float, "
        f"with {accuracy.kept_macs:.1%} of the multiplications; {before} lost without {len(accuracy.kept)} of them, "
        f"{accuracy.trials} models scored"
    )
