"""Writes files so that they are whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError
from .process import CommandError

# What the system says of a place that cannot take a file; any other error while one is made is not the place's.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

_LEAST_SPACE = 1 << 20  # bytes in the folder for temporary files; with fewer, linkers fail in ways of their own


def cache_folder() -> Path:
    """Where edgec keeps what it can make again; nothing breaks when it is deleted."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgec"


def user_folder() -> Path:
    """Where edgec keeps what cannot be made again."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "edgec"


def shipped_folder(name: str) -> Path:
    """A folder of data that comes with edgec: inside an installed wheel, or of the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then renames it into place.

    Raises:
        UserError: the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    with private_folder(path) as folder:
        temporary = folder / "file"
        write(temporary)
        move_into_place(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file; see `write_atomically`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


@contextmanager
def private_folder(out: Path) -> Iterator[Path]:
    """A private folder beside `out`, so that a finished file can be renamed into its place; removed at the end.

    Raises:
        UserError: the folder of `out` does not exist or cannot be written to, or the disk is full.
    """
    check_place(out)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".edgec-", dir=out.resolve().parent)
    except OSError as error:
        raise _refusal(out, error) from error
    with folder as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            raise _refusal(out, error) from error


def check_place(out: Path) -> None:
    """Raises UserError if there is no place for a file, as far as can be told without writing it."""
    if out.is_dir():
        raise UserError(f"the output {out} is a folder", fix="give a file's name")
    if out.exists() and not out.is_file():
        raise UserError(f"the output {out} is no plain file, and would be replaced", fix="give another file's name")
    if not out.resolve().parent.is_dir():
        raise _refusal(out, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A private folder for temporary files, whose name begins with the prefix; removed at the end.

    Raises:
        UserError: it cannot be written to, or the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise _no_scratch(error.strerror or str(error)) from error
    except CommandError as error:  # of a linker, which may say why, or crash
        full = shutil.disk_usage(tempfile.gettempdir()).free < _LEAST_SPACE
        if not full and os.strerror(errno.ENOSPC) not in error.output:
            raise
        raise _no_scratch(os.strerror(errno.ENOSPC)) from error


def _no_scratch(why: str) -> UserError:
    fix = "free some space there, or name another folder in the environment variable TMPDIR"
    return UserError(f"cannot write temporary files: {why}", tempfile.gettempdir(), fix)


def _refusal(out: Path, error: OSError) -> UserError:
    fix = "choose another place, or free some space there"
    return UserError(f"cannot write the output: {error.strerror or error}", str(out), fix)


def move_into_place(temporary: Path, out: Path) -> None:
    """Renames a finished file to `out`, in one step, its contents on the disk before its name."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, out)
