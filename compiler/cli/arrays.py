"""`.npz` files of named arrays, read without trust and written in one step."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..errors import UserError
from ..files import write_atomically

_FIX = "save it with numpy.savez(path, **{name: array})"


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a `.npz` file by name.

    Raises:
        UserError: missing, not an archive of plain arrays, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError("this is a single array, not an .npz archive", str(path), _FIX)
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"cannot read the arrays: {error.strerror or error}", str(path)) from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        raise UserError(f"this is not an .npz archive of plain arrays: {error}", str(path), _FIX) from error


def read_samples(path: Path, model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a `.npz` file by name, or of a `.npy` file for the model's only input.

    Raises:
        UserError: as `read_arrays`, or a single array for several inputs.
    """
    try:
        with path.open("rb") as file:
            single = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        if not single:
            return read_arrays(path)
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read the arrays: {error.strerror or error}", str(path)) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"this is not a plain array: {error}", str(path), _FIX) from error
    names = {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    if len(names) != 1:
        raise UserError(f"this is one array, the model has {len(names)} inputs", str(path), _FIX)
    return dict.fromkeys(names, array)


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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Writes a `.npz` file; a name that a file system would not take is fine, the archive never touches one."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    plain = array.astype(np.str_) if array.dtype == object else np.asanyarray(array)
                    np.lib.format.write_array(member, plain, allow_pickle=False)

    write_atomically(path, write)
