"""Output files: whole or not there, and whose fault it is when they are not."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from compiler.errors import UserError
from compiler.files import cache_folder, private_folder, scratch_folder, write_text
from compiler.process import CommandError


def test_a_text_is_written_whole_in_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("first ü", "second"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_take_a_file_is_the_users_to_change(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write the output"), private_folder(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_an_error_of_ours_is_not_taken_for_the_users(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), private_folder(tmp_path / "a") as folder:
        (folder / "forgotten").read_bytes()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), CommandError(["ld"], 1, "ld: No space left on device")]
)
def test_a_full_disk_for_temporary_files(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = pytest.raises(UserError, match="cannot write temporary files: No space left on device")
    with expected, scratch_folder("edgec-test-") as folder:
        assert folder.parent == tmp_path
        raise error
    assert not list(tmp_path.iterdir())
    with pytest.raises(CommandError), scratch_folder("edgec-test-"):
        raise CommandError(["ld"], 1, "undefined symbol")


def test_the_cache_is_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "edgec"
