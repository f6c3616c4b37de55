"""`edgec run`."""

from __future__ import annotations

from pathlib import Path

import click

from ..arrays import read_arrays, write_arrays
from ..errors import UserError
from ..runtime.loader import LoadError, Model
from .show import shape_text, table
from .threads import thread_options


@click.command("run")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--input", "input_path", type=click.Path(path_type=Path), help=".npz with an array for each input.")
@click.option("--output", "output_path", type=click.Path(path_type=Path), help=".npz for the results.")
@thread_options
def command(
    artifact: Path, input_path: Path | None, output_path: Path | None, threads: int | None, affinity: str | None
) -> None:
    """Run ARTIFACT once, on the arrays given or on seeded ones, and show or save its outputs."""
    from ..verify.vectors import inputs_of

    try:
        with Model(artifact, threads=threads, affinity=affinity) as model:
            if input_path is not None:
                inputs = read_arrays(input_path)
            else:
                inputs = inputs_of(model.manifest)
            try:
                outputs = model.run(inputs)
            except (TypeError, ValueError, KeyError) as error:
                raise UserError(str(error), str(input_path or artifact)) from error
    except (LoadError, ValueError) as error:
        raise UserError(str(error)) from error
    if output_path is not None:
        write_arrays(output_path, outputs)
    rows = [("OUTPUT", "DTYPE", "SHAPE", "MIN", "MAX", "MEAN")]
    for name, array in outputs.items():
        numbers = ("-", "-", "-")
        if array.size and array.dtype != object:
            numbers = (f"{array.min():.6g}", f"{array.max():.6g}", f"{array.astype('float64').mean():.6g}")
        dtype = "string" if array.dtype == object else str(array.dtype)
        rows.append((name, dtype, shape_text(array.shape), *numbers))
    click.echo(table(rows))
