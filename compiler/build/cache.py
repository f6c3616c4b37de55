"""What one compilation made and the next one can use: compiled kernels and the runtime's objects, on disk.

An entry is a file, named by a digest of all that its content depends on; so any number of compilers may share the
folder, and a lost or damaged entry costs the time to make it again. It becomes code that runs with the user's rights:
only a folder that nobody else can write to is used.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from ..files import cache_folder

_MAGIC = b"edgec-1\n"
_SEAL_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_LIMIT_BYTES = 1 << 30
_TEMPORARY = ".new-"
_ABANDONED_SECONDS = 3600


class Cache:
    """Bytes by key. Whatever is wrong with the folder, the compilation goes on without it.

    Args:
        folder: made if it is not there; by default in the user's cache.
        limit: bytes of all entries together, beyond which those that were not used for longest are removed.
    """

    def __init__(self, folder: Path | None = None, limit: int = _LIMIT_BYTES) -> None:
        self._limit = limit
        self._folder = _private(folder or cache_folder() / "objects")

    def load(self, key: str) -> bytes | None:
        """The entry, None if there is none or it is damaged.

        Args:
            key: a digest in hexadecimal.
        """
        if self._folder is None:
            return None
        path = self._folder / key
        try:
            content = path.read_bytes()
        except OSError:
            return None
        seal, data = content[:_SEAL_BYTES], content[_SEAL_BYTES:]
        if seal != _seal(key, data):
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read
            os.utime(path)
        return data

    def store(self, key: str, data: bytes) -> None:
        """Writes an entry in one step, in place of what is there."""
        if self._folder is None:
            return
        try:
            with tempfile.NamedTemporaryFile(prefix=_TEMPORARY, dir=self._folder, delete=False) as file:
                try:
                    file.write(_seal(key, data) + data)
                    file.close()
                    os.replace(file.name, self._folder / key)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            _notice(f"compiled objects are not kept: {error.strerror}: {self._folder}")

    def trim(self) -> None:
        """Removes the entries used longest ago while all together are too large, and what killed compilers left."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):  # another compiler trims at the same time
            entries = []
            for entry in os.scandir(self._folder):
                status = entry.stat(follow_symlinks=False)
                if not entry.name.startswith(_TEMPORARY):
                    entries.append((status.st_mtime_ns, status.st_size, entry.path))
                elif status.st_mtime < time.time() - _ABANDONED_SECONDS:
                    os.unlink(entry.path)
            total = sum(size for _, size, _ in entries)
            for _, size, path in sorted(entries):
                if total <= self._limit:
                    break
                os.unlink(path)
                total -= size


def digest_of_files(paths: Iterable[Path], root: Path) -> str:
    """64 hex digits over the names, relative to a folder that all are in, and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _private(folder: Path) -> Path | None:
    """The folder, made if it is not there; None if it cannot be, or if others may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        _notice(f"compiled objects are not kept: {error.strerror}: {folder}")
        return None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        _notice(f"the cache of compiled objects is not used, as others than you may write to it: {folder}")
        return None
    return folder


@functools.cache
def _notice(text: str) -> None:
    """Logs a text, once."""
    logging.getLogger(__name__).warning(text)


def _seal(key: str, data: bytes) -> bytes:
    """What an entry begins with: it tells whether the rest is whole, and belongs to the key."""
    return _MAGIC + hashlib.sha256(key.encode() + data).digest()
