"""The manifest section: its bytes, and how it is sealed into a linked file."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..runtime.loader import FORMAT, MACHO, MAGIC
from ..runtime.loader import HEADER as HEADER_BYTES

_DIGEST = slice(16, 48)  # in the section
# Room for what is known only after linking: the result of the verification.
_SLACK_BYTES = 2048


def section_bytes(manifest: dict[str, Any], capacity: int | None = None) -> bytes:
    """Header, JSON text padded with spaces to `capacity`, and a NUL; the digest is zero until the file is sealed."""
    text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    capacity = len(text) + _SLACK_BYTES if capacity is None else capacity
    if len(text) > capacity:
        raise ValueError(f"the manifest has {len(text)} bytes, its section holds {capacity}")
    header = MAGIC + FORMAT.to_bytes(4, "little") + capacity.to_bytes(4, "little") + bytes(32)
    return header + text.ljust(capacity) + b"\0"


class Section:
    """The manifest section of a linked file, where it can be replaced.

    A Mach-O file keeps the one that it was linked with, and a digest of zero: its code signature covers the pages,
    and changing them would void it.

    Args:
        path: the file.
        linked: the section's bytes in it.

    Raises:
        ValueError: they are not in the file exactly once.
    """

    def __init__(self, path: Path, linked: bytes) -> None:
        self._path = path
        with _mapped(path) as data:
            offset = data.find(linked)
            if offset < 0 or data.find(linked, offset + 1) >= 0:
                raise ValueError("the manifest section is not in the linked file exactly once")
            self._signed = data[:4] == MACHO
            self._place = slice(offset, offset + len(linked))
            # Weights stand here, which need not be read again for each new manifest.
            with memoryview(data) as view:
                self._before = hashlib.sha256(view[:offset])

    def seal(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest into the file, with the digest of the whole file that goes with it."""
        if self._signed:
            return
        size = self._place.stop - self._place.start
        section = bytearray(section_bytes(manifest, size - HEADER_BYTES - 1))
        digest = self._before.copy()
        digest.update(section)
        with _mapped(self._path) as data:
            with memoryview(data) as view:
                digest.update(view[self._place.stop :])
            section[_DIGEST] = digest.digest()
            data[self._place] = bytes(section)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        yield data
