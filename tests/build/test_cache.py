"""The cache of compiled objects: what it refuses to give, what it forgets, and that nothing stops a compilation."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.build import cache as module
from compiler.build.cache import Cache

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "objects"


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_what_was_stored_is_found_by_its_key_alone(folder: Path) -> None:
    Cache(folder).store(KEY, b"\0code\n")
    assert Cache(folder).load(KEY) == b"\0code\n"
    assert Cache(folder).load(OTHER) is None
    assert [path.name for path in folder.iterdir()] == [KEY]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data + b"\0",
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: data[:10] + bytes([data[10] ^ 1]) + data[11:],
        lambda data: b"edgec-0\n" + data[8:],
    ],
)
def test_a_damaged_entry_is_not_given_and_can_be_replaced(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = Cache(folder)
    cache.store(KEY, b"machine code")
    path = folder / KEY
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(KEY) is None
    cache.store(KEY, b"machine code")
    assert cache.load(KEY) == b"machine code"


def test_an_entry_under_another_key_is_not_given(folder: Path) -> None:
    Cache(folder).store(KEY, b"machine code")
    (folder / KEY).rename(folder / OTHER)
    assert Cache(folder).load(OTHER) is None


def test_what_was_used_longest_ago_goes_first(folder: Path) -> None:
    cache = Cache(folder, limit=2500)
    for index, key in enumerate("cdef"):
        cache.store(key * 64, bytes(1000))
        age(folder / (key * 64), 100 - 10 * index)
    assert cache.load("c" * 64)
    cache.trim()
    assert {path.name[0] for path in folder.iterdir()} == {"c", "f"}


def test_what_a_killed_compiler_left_goes_and_what_one_writes_stays(folder: Path) -> None:
    cache = Cache(folder)
    for name in (".new-old", ".new-fresh"):
        (folder / name).write_bytes(b"half")
    age(folder / ".new-old", 7200)
    cache.trim()
    assert [path.name for path in folder.iterdir()] == [".new-fresh"]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(
    folder: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    Cache(folder).store(KEY, b"machine code")
    folder.chmod(mode)
    module._notice.cache_clear()
    for cache in (Cache(folder), Cache(folder)):
        assert cache.load(KEY) is None
        cache.store(OTHER, b"more")
        cache.trim()
    assert [path.name for path in folder.iterdir()] == [KEY]
    assert [record.message for record in caplog.records if str(folder) in record.message] == [
        f"the cache of compiled objects is not used, as others than you may write to it: {folder}"
    ]


def test_a_folder_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(folder).store(KEY, b"machine code")
    user = os.geteuid()
    monkeypatch.setattr(module.os, "geteuid", lambda: user + 1)
    assert Cache(folder).load(KEY) is None


def test_a_new_folder_is_for_its_user_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        Cache(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_can_only_be_read_still_gives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Cache(folder).store(KEY, b"machine code")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(module.tempfile, "NamedTemporaryFile", refuse)
    monkeypatch.setattr(module.os, "utime", refuse)
    module._notice.cache_clear()
    cache = Cache(folder)
    assert cache.load(KEY) == b"machine code"
    cache.store(OTHER, b"more")
    cache.store(OTHER, b"more")
    assert len([r for r in caplog.records if r.levelno == logging.WARNING and "not kept" in r.message]) == 1


def test_a_full_disk_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(folder)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "replace", full)
    cache.store(KEY, b"machine code")
    assert not list(folder.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file" / "objects")
    cache.store(KEY, b"machine code")
    cache.trim()
    assert cache.load(KEY) is None


_WRITER = """
import sys
from pathlib import Path
from compiler.build.cache import Cache
cache = Cache(Path(sys.argv[1]), limit=60_000)
for round in range(150):
    key = f"{round % 5:064x}"
    found = cache.load(key)
    assert found in (None, key.encode() * 400), "an entry of another key, or half of one"
    cache.store(key, key.encode() * 400)
    if round % 10 == 0:
        cache.trim()
"""


def test_several_compilers_share_a_folder(folder: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(folder)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.wait() == 0, writer.communicate()[1]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 5 * (64 * 400 + 100)
