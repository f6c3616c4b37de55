"""The manifest section is sealed into a file so that any change shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from compiler.build.manifest import HEADER_BYTES, MAGIC, seal, section_bytes
from compiler.runtime import loader


def test_the_header_is_what_the_loader_expects() -> None:
    section = section_bytes({"a": "ü"})
    assert section[:8] == MAGIC == loader.MAGIC == b"EDGECMF\x01"
    assert HEADER_BYTES == loader.HEADER == 48
    assert section[-1:] == b"\0"
    assert len(section) == HEADER_BYTES + int.from_bytes(section[12:16], "little") + 1
    assert section[HEADER_BYTES:-1].rstrip() == '{"a":"ü"}'.encode()


def test_sealing_replaces_the_text_and_sets_the_digest(tmp_path: Path) -> None:
    before = section_bytes({"status": "not run"})
    path = tmp_path / "model.so"
    path.write_bytes(b"\x7fELF" + bytes(100) + before + bytes(50))
    after = seal(path, before, {"status": "passed", "error": 1e-7})
    data = bytearray(path.read_bytes())
    start = data.find(after)
    assert start == 104
    assert len(after) == len(before)
    digest = bytes(data[start + 16 : start + 48])
    data[start + 16 : start + 48] = bytes(32)
    assert digest == hashlib.sha256(data).digest()
    again = seal(path, after, {"status": "failed"})
    assert path.read_bytes().find(again) == start


def test_sealing_refuses_a_file_without_the_section(tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    path.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match="exactly once"):
        seal(path, section_bytes({}), {})


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="holds 4"):
        section_bytes({"long": "text"}, capacity=4)


def test_a_signed_mach_o_file_is_left_alone(tmp_path: Path) -> None:
    before = section_bytes({"a": 1})
    path = tmp_path / "model.dylib"
    path.write_bytes(b"\xcf\xfa\xed\xfe" + before)
    assert seal(path, before, {"a": 2}) == before
    assert path.read_bytes() == b"\xcf\xfa\xed\xfe" + before
