"""`edgec verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..verify.likeness import LEAST_SNR
from .samples import read_feeds


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    help=".npz with an array for each input; or samples of several runs, as `compile --calibration` takes them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, artifact: Path, model: Path, input_path: Path | None, as_json: bool) -> None:
    """Compare ARTIFACT's results with those of MODEL, the ONNX file it was made from.

    The reference is onnxruntime without optimisations where it is installed, else onnx's reference evaluator.
    Of classifiers it also tells how many labels agree. Artifacts of 8 bits are compared by the ratio of signal to
    noise in their outputs; if MODEL is quantised itself, by how far roundings between layers lead, and the first wrong
    layer is named. Exit status 1 if an output differs by more than its tolerance, or has less than 3 dB.
    """
    from ..verify.artifact import verify

    result = verify(artifact, model, read_feeds(input_path, artifact) if input_path else None)
    if as_json:
        outputs = [
            {
                "name": d.name,
                "error": min(d.error, 1e300),
                "tolerance": d.tolerance,
                "ok": bool(d),
                "equal": d.equal,
                "reason": d.reason,
            }
            for d in result.differences
        ]
        report: dict[str, Any] = {"passed": bool(result), "reference": result.reference, "where": result.where}
        report |= {"same_model": result.same_model, "runs": result.runs, "outputs": outputs}
        report["likeness"] = [
            {"name": one.name, "snr_db": one.snr, "least_snr_db": LEAST_SNR, "cosine": one.cosine, "ok": bool(one)}
            for one in result.likeness
        ]
        report["layer"] = result.layer
        report["labels"] = asdict(result.agreement) if result.agreement else None
        click.echo(json.dumps(report, indent=2))
    else:
        if not result.same_model:
            click.echo("note: the artifact was made from another file than this model", err=True)
        for line in (*result.differences, *result.likeness, *([result.agreement] if result.agreement else [])):
            click.echo(str(line))
        if result.layer:
            click.echo(f"the first layer that differs by itself: {result.layer}")
        verdict = "PASSED" if result else "FAILED"
        runs = f", {result.runs} runs" if result.runs > 1 else ""
        click.echo(f"{verdict} | {result.where} against {result.reference}{runs}")
    if not result:
        ctx.exit(1)
