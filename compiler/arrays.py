"""`.npy` and `.npz` files: arrays and archives of named arrays, read without trust and written in one step."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .files import write_atomically

_FIX = "save it with numpy.savez(path, **{name: array})"


def read_array_or_arrays(path: Path, fix: str = _FIX) -> Any:
    """The array of a `.npy` file, or those of a `.npz` file by name.

    Args:
        fix: what an error tells to do.

    Raises:
        UserError: missing, neither of both, objects and not numbers, or damaged.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise UserError(f"cannot read the arrays: {error.strerror or error}", str(path), fix) from error
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        raise UserError(f"these are no plain arrays: {error}", str(path), fix) from error


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a `.npz` file by name.

    Raises:
        UserError: as `read_array_or_arrays`, or a single array.
    """
    found = read_array_or_arrays(path)
    if isinstance(found, dict):
        return found
    raise UserError("this is a single array, not an .npz archive", str(path), _FIX)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Writes a `.npz` file; a name that a file system would not take is fine, the archive never touches one."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    plain = array.astype(np.str_) if array.dtype == object else np.asanyarray(array)
                    np.lib.format.write_array(member, plain, allow_pickle=False)

    write_atomically(path, write)
