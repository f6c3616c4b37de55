"""Arrays that a command is given, for the inputs of a model or of an artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..arrays import read_array_or_arrays, read_arrays
from ..errors import UserError


def read_samples(path: Path, model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a `.npz` file by name, or of a `.npy` file for the model's only input.

    Raises:
        UserError: as `read_array_or_arrays`, or a single array for several inputs.
    """
    found = read_array_or_arrays(path)
    if isinstance(found, dict):
        return found
    names = {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    if len(names) != 1:
        fix = "give an .npz file with an array for each input"
        raise UserError(f"this is one array, the model has {len(names)} inputs", str(path), fix)
    return dict.fromkeys(names, found)


def read_feeds(path: Path, artifact: Path) -> Iterable[Mapping[str, np.ndarray[Any, Any]]]:
    """Inputs for one run of an artifact, or for several: see `quantize.data.load_calibration`.

    Raises:
        UserError: the file or folder cannot be read, or what is in it does not fit the artifact's inputs.
    """
    from ..quantize.data import load_calibration
    from ..runtime.loader import LoadError, read_manifest
    from ..verify.artifact import interface_of

    try:
        manifest = read_manifest(artifact)
    except LoadError as error:
        raise UserError(str(error)) from error
    shapes = {tensor["name"]: tuple(tensor["shape"]) for tensor in manifest["inputs"]}
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        given = {name: array.shape for name, array in arrays.items()}
        if given == shapes or manifest.get("rows") or manifest.get("shapes"):
            return [arrays]
    return load_calibration(path, interface_of(manifest))
