"""The manifest section: its bytes, and how it is sealed into a linked file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..runtime.loader import FORMAT, MACHO, MAGIC
from ..runtime.loader import HEADER as HEADER_BYTES

_DIGEST = slice(16, 48)  # in the section
# Room for what is known only after linking: the result of the verification.
_SLACK_BYTES = 2048


def section_bytes(manifest: dict[str, Any], capacity: int | None = None) -> bytes:
    """Header, JSON text padded with spaces to `capacity`, and a NUL; the digest is zero until the file is sealed."""
    text = json.dumps(
        manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False
    ).encode()
    capacity = len(text) + _SLACK_BYTES if capacity is None else capacity
    if len(text) > capacity:
        raise ValueError(f"the manifest has {len(text)} bytes, its section holds {capacity}")
    header = MAGIC + FORMAT.to_bytes(4, "little") + capacity.to_bytes(4, "little") + bytes(32)
    return header + text.ljust(capacity) + b"\0"


def seal(path: Path, before: bytes, manifest: dict[str, Any]) -> bytes:
    """Replaces the section `before` in the file at `path` by that of `manifest`, and sets the file's digest.

    A Mach-O file keeps the digest zero: its code signature covers the pages, and changing them would void it.

    Returns:
        The section's new bytes, `before` of the next call.
    """
    data = bytearray(path.read_bytes())
    offset = data.find(before)
    if offset < 0 or data.find(before, offset + 1) >= 0:
        raise ValueError("the manifest section is not in the linked file exactly once")
    if data[:4] == MACHO:
        return before
    section = bytearray(section_bytes(manifest, len(before) - HEADER_BYTES - 1))
    data[offset : offset + len(section)] = section
    section[_DIGEST] = hashlib.sha256(data).digest()
    data[offset : offset + len(section)] = section
    path.write_bytes(data)
    return bytes(section)
