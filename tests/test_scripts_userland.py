"""scripts/userland, as far as it goes without a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "userland"


def call(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run([SCRIPT, *arguments], env=environment, text=True, capture_output=True, check=False)


def test_prints_what_is_there(tmp_path: Path) -> None:
    assert call(tmp_path, "--print").stdout == ""
    cache = tmp_path / "a folder"
    root = cache / "edgec" / "userland" / "arm64"
    root.mkdir(parents=True)
    (root / ".edgec-userland").write_text("1\n")
    (root.parent / "armhf").mkdir()  # without the mark it is not complete
    script = f'eval "$("{SCRIPT}" --print)"; printf %s "$EDGEC_ARM64_ROOT ${{EDGEC_ARMHF_ROOT:-none}}"'
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("EDGEC_ARMHF_ROOT", None)
    result = subprocess.run(["bash", "-c", script], env=environment, text=True, capture_output=True, check=True)
    assert result.stdout == f"{root} none"


def test_unknown_argument(tmp_path: Path) -> None:
    result = call(tmp_path, "mips")
    assert result.returncode == 2
    assert "mips" in result.stderr
    assert "arm64" in result.stderr


def test_help_is_the_comment(tmp_path: Path) -> None:
    text = call(tmp_path, "--help").stdout
    assert text.startswith("Makes userlands")
    assert "set -e" not in text


ONE_LINE = """\
# deb http://mirror.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm contrib main
"""
DEB822 = """\
Types: deb
URIs: http://tools.example/debian
Suites: stable
Components: main
Enabled: no

# the archive
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/k.gpg
"""
OTHERS = """\
deb http://tools.example/debian nodistro main
deb http://tools.example/apt bookworm main
deb http://tools.example/flat ./
"""


@pytest.mark.parametrize(
    ("file", "text", "archive"),
    [
        ("sources.list", ONE_LINE, "[signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian"),
        ("sources.list", "deb http://mirror.example/debian/ sid main", "http://mirror.example/debian/"),
        (
            "sources.list.d/debian.sources",
            DEB822,
            "[signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian/",
        ),
        ("sources.list", OTHERS, ""),
        ("sources.list", "", ""),
    ],
)
def test_finds_the_archive(tmp_path: Path, file: str, text: str, archive: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(text)
    script = f'. "{SCRIPT}"; ID=debian VERSION_CODENAME=bookworm find_archive "$1"'
    result = subprocess.run(["bash", "-c", script, "test", str(tmp_path)], text=True, capture_output=True, check=True)
    assert result.stdout.strip() == archive
