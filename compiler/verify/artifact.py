"""Compares a finished artifact with the model it was made from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import UserError
from ..frontend.prepare import load_model
from ..process import CommandError
from ..runtime.loader import LoadError, read_manifest
from .compare import Difference, compare
from .execute import NoExecutor, execute, find_executor
from .reference import ReferenceError, run_reference
from .vectors import inputs_of


@dataclass(frozen=True)
class Verification:
    """The outcome; true when every output is within its tolerance.

    Attributes:
        reference, where: what computed the reference, and what ran the artifact.
        same_model: whether the artifact was made from this very file.
    """

    differences: tuple[Difference, ...]
    reference: str
    where: str
    same_model: bool

    def __bool__(self) -> bool:
        return all(self.differences)


def verify(
    artifact: str | os.PathLike[str],
    model: str | os.PathLike[str] | onnx.ModelProto,
    inputs: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Verification:
    """Runs artifact and reference on the same inputs: the given ones, or seeded ones.

    Raises:
        UserError: the artifact or the model cannot be read, does not run here, or the inputs do not fit.
    """
    path = Path(artifact)
    try:
        manifest = read_manifest(path)
    except LoadError as error:
        raise UserError(str(error)) from error
    loaded = load_model(model)
    if not {t["name"] for t in manifest["inputs"]} >= _inputs(loaded.proto):
        raise UserError(f"{path} was made from another model: their inputs differ", str(model))
    arrays = dict(inputs) if inputs is not None else inputs_of(manifest)
    target = manifest["target"]
    try:
        executor = find_executor(manifest["requires"]["os"], manifest["requires"]["machine"], target["name"])
        reference, expected = run_reference(loaded.proto, arrays, loaded.path)
        results = execute(executor, path.resolve(), arrays)
    except (NoExecutor, ReferenceError) as error:
        raise UserError(f"cannot verify here: {error}", str(path)) from error
    except CommandError as error:
        lines = error.output.strip().splitlines() or [str(error)]
        raise UserError(f"the artifact failed: {lines[-1]}", str(path)) from error
    bfloat16 = frozenset(t["name"] for t in manifest["outputs"] if t["dtype"] == "bfloat16")
    differences = compare(results, expected, bfloat16, manifest["precision"])
    return Verification(tuple(differences), reference, executor.name, manifest["model"]["sha256"] == loaded.sha256)


def _inputs(proto: onnx.ModelProto) -> set[str]:
    return {v.name for v in proto.graph.input} - {t.name for t in proto.graph.initializer}
