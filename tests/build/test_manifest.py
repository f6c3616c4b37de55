"""The manifest section is sealed into a file so that any change shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from compiler.build.manifest import HEADER_BYTES, MAGIC, Section, section_bytes
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
    section = Section(path, before)
    for manifest in ({"status": "passed", "error": 1e-7}, {"status": "failed"}):
        section.seal(manifest)
        data = bytearray(path.read_bytes())
        assert len(data) == 4 + 100 + len(before) + 50
        digest = bytes(data[120:152])
        data[120:152] = bytes(32)
        assert digest == hashlib.sha256(data).digest()
        assert data[104 : 104 + len(before)] == section_bytes(manifest, len(before) - HEADER_BYTES - 1)


def test_a_file_must_have_the_section_once(tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    path.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match="exactly once"):
        Section(path, section_bytes({}))
    path.write_bytes(section_bytes({}) * 2)
    with pytest.raises(ValueError, match="exactly once"):
        Section(path, section_bytes({}))


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="holds 4"):
        section_bytes({"long": "text"}, capacity=4)


def test_a_signed_mach_o_file_is_left_alone(tmp_path: Path) -> None:
    before = section_bytes({"a": 1})
    path = tmp_path / "model.dylib"
    path.write_bytes(b"\xcf\xfa\xed\xfe" + before)
    Section(path, before).seal({"a": 2})
    assert path.read_bytes() == b"\xcf\xfa\xed\xfe" + before
