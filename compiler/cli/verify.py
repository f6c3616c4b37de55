"""`edgec verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .arrays import read_arrays


@click.command("verify")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "input_path", type=click.Path(path_type=Path), help=".npz with an array for each input.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, artifact: Path, model: Path, input_path: Path | None, as_json: bool) -> None:
    """Compare ARTIFACT's results with those of MODEL, the ONNX file it was made from.

    The reference is onnxruntime without optimisations where it is installed, else onnx's reference evaluator.
    Exit status 1 if an output differs by more than its tolerance.
    """
    from ..verify.artifact import verify

    result = verify(artifact, model, read_arrays(input_path) if input_path else None)
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
        report = {"passed": bool(result), "reference": result.reference, "where": result.where}
        click.echo(json.dumps({**report, "same_model": result.same_model, "outputs": outputs}, indent=2))
    else:
        if not result.same_model:
            click.echo("note: the artifact was made from another file than this model", err=True)
        for difference in result.differences:
            click.echo(str(difference))
        verdict = "PASSED" if result else "FAILED"
        click.echo(f"{verdict} | {result.where} against {result.reference}")
    if not result:
        ctx.exit(1)
