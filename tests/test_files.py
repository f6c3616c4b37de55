"""Output files: whole or not there, and whose fault it is when they are not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compiler.errors import UserError
from compiler.files import cache_folder, private_folder, write_text


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


def test_the_cache_is_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "edgec"
