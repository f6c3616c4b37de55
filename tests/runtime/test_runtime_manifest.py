"""read_manifest and the refusals of Model: LoadError says what is wrong before any code is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict

import fake_artifact
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def refuse(loader: ModuleType, path: Path, words: str, **arguments: Any) -> str:
    """The text of the LoadError, which must come before the code is loaded and contain `words`."""

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the code was loaded")

    patch = pytest.MonkeyPatch()
    patch.setattr(loader, "_open_library", forbidden)
    try:
        with pytest.raises(loader.LoadError) as caught:
            loader.Model(path, **arguments)
    finally:
        patch.undo()
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def edited(artifact: Path, tmp_path: Path, edit: Callable[[Dict[str, Any]], Any]) -> Path:
    return fake_artifact.edit_manifest(artifact, tmp_path / "edited.so", edit)


def requires(**changes: Any) -> Callable[[Dict[str, Any]], None]:
    return lambda manifest: manifest["requires"].update(changes)


def test_reads_the_manifest(loader: ModuleType, artifact: Path) -> None:
    assert loader.read_manifest(artifact) == fake_artifact.manifest()
    assert loader.read_manifest(str(artifact)) == fake_artifact.manifest()


def test_reads_elf32(loader: ModuleType, tmp_path: Path) -> None:
    text = b'{"inputs": [], "outputs": [], "requires": {"os": "linux", "machine": "armv7l"}, "target": {}}'
    section = fake_artifact.MAGIC + struct.pack("<II", 1, len(text)) + bytes(32) + text + b"\0"
    names = b"\0.edgec.manifest\0.shstrtab\0"
    at = 52 + 3 * 40
    table = bytes(40)
    table += struct.pack("<10I", 1, 1, 2, 0, at, len(section), 0, 0, 1, 0)
    table += struct.pack("<10I", 17, 3, 0, 0, at + len(section), len(names), 0, 0, 1, 0)
    header = (
        b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 3, 40, 1, 0, 0, 52, 0, 52, 0, 0, 40, 3, 2)
    )
    path = tmp_path / "model32.so"
    path.write_bytes(header + table + section + names)
    assert loader.read_manifest(path)["requires"]["machine"] == "armv7l"


def macho(section: bytes) -> bytes:
    at = 32 + 72 + 80
    segment = struct.pack("<16s16sQQIIIIIIII", b"__manifest", b"__EDGEC", 0, len(section), at, 6, 0, 0, 0, 0, 0, 0)
    command = struct.pack("<II16sQQQQIIII", 0x19, 72 + 80, b"__EDGEC", 0, 4096, 0, 4096, 1, 1, 1, 0) + segment
    return struct.pack("<IiiIIIII", 0xFEEDFACF, 0x0100000C, 0, 6, 1, len(command), 0, 0) + command + section


def test_reads_mach_o_and_refuses_it_on_linux(loader: ModuleType, tmp_path: Path) -> None:
    text = b'{"abi": 3, "inputs": [], "outputs": [], "target": {}, '
    text += b'"requires": {"os": "macos", "machine": "arm64"}}'
    path = tmp_path / "model.dylib"
    path.write_bytes(macho(fake_artifact.MAGIC + struct.pack("<II", 1, len(text)) + bytes(32) + text + b"\0"))
    assert loader.read_manifest(path)["requires"]["os"] == "macos"
    refuse(loader, path, "was compiled for darwin arm64")


@pytest.mark.parametrize("content", [b"", b"\x7f", b"\x7fELF", b"hello", b"PK\x03\x04" * 100, b"\xcf\xfa\xed\xfe"])
def test_not_an_artifact(loader: ModuleType, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)
    with pytest.raises(loader.LoadError):
        loader.read_manifest(path)


def test_missing_file_folder_and_pipe(loader: ModuleType, tmp_path: Path) -> None:
    refuse(loader, tmp_path / "none.so", "cannot read")
    refuse(loader, tmp_path, "is not a file")
    os.mkfifo(tmp_path / "pipe")
    refuse(loader, tmp_path / "pipe", "is not a file")


def test_an_elf_without_manifest(loader: ModuleType, tmp_path: Path) -> None:
    refuse(loader, Path("/bin/ls"), "no edgec manifest")


def test_truncated(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    data = artifact.read_bytes()
    path = tmp_path / "short.so"
    for length in [*range(4, 200, 7), *range(200, len(data), 499), len(data) - 1]:
        path.write_bytes(data[:length])
        refuse(loader, path, "truncated")
    path.write_bytes(data + b"x")
    refuse(loader, path, "SHA-256")


def test_one_damaged_byte_anywhere(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    path = tmp_path / "damaged.so"
    for at in range(0, len(data), 61):
        data[at] ^= 0x10
        path.write_bytes(data)
        data[at] ^= 0x10
        refuse(loader, path, "")
    data[data.find(loader.MAGIC) - 16] ^= 1  # outside of the manifest
    path.write_bytes(data)
    loader.read_manifest(path)  # reading does not check the hash


def test_check_can_be_left_out(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "appended.so"
    path.write_bytes(artifact.read_bytes() + b"x")
    loader.Model(path, check=False).close()


def test_hash_is_streamed(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.so"
    path.write_bytes(artifact.read_bytes() + bytes(40 << 20))
    tracemalloc.start()
    try:
        refuse(loader, path, "SHA-256")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_newer_format(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    data[data.index(fake_artifact.MAGIC) + 8] = 2
    path = tmp_path / "newer.so"
    path.write_bytes(data)
    fake_artifact.seal(path)
    refuse(loader, path, "manifest format 2")


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda m: m.update(abi=4), "ABI 4"),
        (requires(machine="s390x"), "was compiled for linux s390x"),
        (requires(os="macos"), "was compiled for darwin"),
        (requires(glibc="9.1"), "needs glibc 9.1"),
        (requires(cpu_features=[{"name": "warp", "auxv": [16, 63]}]), "a CPU with warp"),
        (requires(cpu_features=[{"name": "warp9", "cpuinfo": "warp9"}]), "a CPU with warp9"),
    ],
)
def test_wrong_machine(loader: ModuleType, artifact: Path, tmp_path: Path, edit: Any, words: str) -> None:
    refuse(loader, edited(artifact, tmp_path, edit), words)


def test_features_that_are_there(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    ctypes.CDLL(None).getauxval.restype = ctypes.c_ulong
    hwcap = ctypes.CDLL(None).getauxval(16)
    bit = (hwcap & -hwcap).bit_length() - 1
    features = [{"name": "a", "auxv": [16, bit]}, {"name": "b"}]
    loader.Model(edited(artifact, tmp_path, requires(cpu_features=features))).close()


@pytest.mark.parametrize(
    "line, flag, there",
    [
        ("flags\t\t: fpu sse4_2 avx512_vnni", "sse4_2", True),
        ("flags\t\t: fpu sse4_2 avx512_vnni", "avx512", False),
        ("Features\t: fp asimd asimddp", "asimddp", True),
        ("Features\t: fp asimd asimddp", "sve", False),
        ("isa\t\t: rv64imafdcv_zba_zbb", "v", True),
        ("isa\t\t: rv64imafdc_zba_zbb", "v", False),
        ("isa\t\t: rv64imafdc_zba_zbb", "zbb", True),
        ("model name : x", "anything", True),  # unknown is not missing
    ],
)
def test_cpuinfo(loader: ModuleType, monkeypatch: Any, tmp_path: Path, line: str, flag: str, there: bool) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor : 0\n" + line + "\nprocessor : 1\nflags : other\n" * ("model" not in line)
    )
    monkeypatch.setattr(loader, "open", lambda _, **k: (tmp_path / "cpuinfo").open(**k), raising=False)
    assert loader._missing_features([{"name": "f", "cpuinfo": flag}]) == ([] if there else ["f"])


def test_another_c_library(loader: ModuleType, artifact: Path, monkeypatch: Any) -> None:
    def confstr(_: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", confstr)
    refuse(loader, artifact, "this system has another C library")


def test_32_bit_python_on_a_64_bit_kernel(loader: ModuleType, artifact: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = edited(artifact, tmp_path, requires(machine="armv7l"))
    manifest = loader.read_manifest(path)
    uname = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*uname[:4], "aarch64")))
    with pytest.raises(loader.LoadError, match="runs on linux aarch64"):
        loader._check_machine(manifest, path)
    monkeypatch.setattr(struct, "calcsize", lambda _: 4)
    loader._check_machine(manifest, path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: [],
        lambda m: m.pop("inputs"),
        lambda m: m.pop("requires"),
        lambda m: m["inputs"][0].update(dtype="complex64"),
        lambda m: m["inputs"][0].update(dtype=[]),
        lambda m: m["inputs"][0].update(shape=[-1]),
        lambda m: m["inputs"][0].update(shape=[-1, -1]),
        lambda m: m["inputs"][0].update(shape=[1.5]),
        lambda m: m["inputs"][0].update(shape=[1 << 62, 4, 3]) or m.pop("precision"),
        lambda m: m["inputs"][0].update(name="mode"),
        lambda m: m["inputs"][0].update(name=3),
        lambda m: m.update(steps=7),
        lambda m: m.update(strings={"a": 0}),
        lambda m: m.update(strings=["a", 7]),
        lambda m: m["requires"].update(glibc="two"),
        lambda m: m["requires"].update(os=None),
        lambda m: m["requires"].update(cpu_features=[{"name": "x", "auxv": [16, 64]}]),
        lambda m: m["requires"].update(cpu_features=[{"name": "x", "auxv": [-1, 0]}]),
        lambda m: m["requires"].update(cpu_features=[{"name": "x", "auxv": [16]}]),
        lambda m: m["requires"].update(cpu_features=[{"auxv": [16, 1]}]),
        lambda m: m["requires"].update(cpu_features=7),
    ],
)
def test_manifests_that_make_no_sense(loader: ModuleType, artifact: Path, tmp_path: Path, edit: Any) -> None:
    def apply(manifest: Dict[str, Any]) -> Any:
        result = edit(manifest)
        return [1] if result == [] else manifest

    refuse(loader, edited(artifact, tmp_path, apply), "not valid")


def test_deep_json(loader: ModuleType, artifact: Path, tmp_path: Path) -> None:
    content = fake_artifact.manifest()
    folder = tmp_path / "deep"
    folder.mkdir()
    content["deep"] = "[" * 100000
    path = fake_artifact.build(folder / "deep.so", content)
    path.write_bytes(path.read_bytes().replace(b'"' + b"[" * 100000 + b'"', b" " + b"[" * 100000 + b" "))
    fake_artifact.seal(path)
    refuse(loader, path, "not valid")


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_hostile_files(loader: ModuleType, artifact: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed where it hurts: headers, section table, manifest head. Only LoadError may come out."""
    content = bytearray(artifact.read_bytes())
    table = struct.unpack_from("<Q", content, 40)[0]
    start = content.index(fake_artifact.MAGIC)
    if data.draw(st.booleans()):
        content = bytearray(macho(bytes(content[start : start + 2000])))
        places = st.integers(0, 250)
    else:
        places = st.integers(0, 63) | st.integers(table, len(content) - 1) | st.integers(start, start + 600)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(places)
        new = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8) | st.just(bytes(8)))
        content[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "hostile.so"
    path.write_bytes(content)
    with contextlib.suppress(loader.LoadError):
        assert isinstance(loader.read_manifest(path), dict)
