"""Whole compilations through the Python interface: results, and input that is at fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import compiler
from compiler import UserError, compile_model
from compiler.runtime.loader import Model
from compiler.verify.artifact import verify
from tests.networks import convnet, elementwise, model


def test_a_network_compiles_runs_and_agrees_with_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(convnet(), path)
    phases: list[str] = []
    artifact = compile_model(path, "host", tmp_path / "net.so", progress=lambda phase, seconds: phases.append(phase))
    assert artifact.verified == "passed"
    assert artifact.unscheduled == {}
    assert phases[0] == "read"
    assert phases[-2:] == ["link", "verify"]
    assert verify(artifact.path, path)


def test_a_dynamic_batch_is_fixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dynamic dimensions"):
        compile_model(convnet(batch="N"), "host", tmp_path / "net.so")
    assert not list(tmp_path.iterdir())
    artifact = compile_model(convnet(batch="N"), "host", tmp_path / "net.so", {"x": (3, 3, 9, 9)})
    with Model(artifact.path) as loaded:
        assert loaded.run({"x": np.ones((3, 3, 9, 9), np.float32)})["y"].shape == (3, 5)


def test_outputs_that_are_inputs_constants_or_given_twice(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    constant = helper.make_tensor("k", TensorProto.INT64, [2], [5, 6])
    net = model(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Identity", ["r"], ["again"]),
            helper.make_node("Identity", ["x"], ["copy"]),
        ],
        [value("x", TensorProto.FLOAT, [3])],
        [
            value("r", TensorProto.FLOAT, [3]),
            value("again", TensorProto.FLOAT, [3]),
            value("copy", TensorProto.FLOAT, [3]),
            value("k", TensorProto.INT64, [2]),
        ],
        [constant],
    )
    artifact = compile_model(net, "host", tmp_path / "a.so")
    x = np.array([-1, 0, 2], np.float32)
    with Model(artifact.path) as loaded:
        result = loaded.run({"x": x})
    np.testing.assert_array_equal(result["copy"], x)
    np.testing.assert_array_equal(result["k"], [5, 6])
    for name in ("r", "again"):
        np.testing.assert_array_equal(result[name], np.maximum(x, 0))


def test_all_unsupported_operators_are_listed_at_once(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    net = model(
        [
            helper.make_node("Strange", ["x"], ["a"], name="first", domain="my.domain"),
            helper.make_node("StringConcat", ["a", "a"], ["b"], name="second"),
            helper.make_node("Strange", ["b"], ["y"], name="third", domain="my.domain"),
        ],
        [value("x", TensorProto.FLOAT, [3])],
        [value("y", TensorProto.FLOAT, [3])],
        opset=20,
    )
    net.opset_import.append(helper.make_opsetid("my.domain", 1))
    with pytest.raises(UserError) as error:
        compile_model(net, "host", tmp_path / "a.so")
    for name in ("first", "second", "third"):
        assert name in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:  # root may write anywhere but to a read-only file system

        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr("compiler.files.tempfile.TemporaryDirectory", refuse)
    with pytest.raises(UserError, match="cannot write"):
        compile_model(elementwise(), "host", tmp_path / "a.so")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_folder_as_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        compile_model(elementwise(), "host", tmp_path / "none" / "a.so")
    with pytest.raises(UserError, match="is a folder"):
        compile_model(elementwise(), "host", tmp_path)


@pytest.mark.parametrize("where", ["compiler.build.artifact.write_weights", "compiler.pipeline.move_into_place"])
def test_a_full_disk_leaves_nothing_behind(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(where, full)
    with pytest.raises(UserError, match="No space left"):
        compile_model(elementwise(), "host", tmp_path / "a.so", verify=False)
    assert not list(tmp_path.iterdir())


def test_a_failed_compilation_keeps_the_old_artifact(tmp_path: Path) -> None:
    out = tmp_path / "a.so"
    compile_model(elementwise(), "host", out, verify=False)
    before = out.read_bytes()
    with pytest.raises(UserError):
        compile_model(convnet(batch="N"), "host", out)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.so"]


def test_the_graph_after_each_phase_is_dumped(tmp_path: Path) -> None:
    compile_model(elementwise(), "host", tmp_path / "a.so", verify=False, dump=tmp_path / "dump")
    names = sorted(p.name for p in (tmp_path / "dump").iterdir())
    assert names[0] == "00-import.py"
    assert any(name.endswith("-schedule.py") for name in names)


@pytest.mark.parametrize("target", ["host", "raspberry-pi-5"])
def test_the_cache_changes_no_byte(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.build.cache.cache_folder", lambda: tmp_path / "cache")
    made = [
        compile_model(convnet(), target, tmp_path / f"{name}.so", verify=False, cache=cache)
        for name, cache in (("without", False), ("cold", True), ("warm", True))
    ]
    assert len({artifact.path.read_bytes() for artifact in made}) == 1
    assert [artifact.cached for artifact in made] == [0, 0, made[0].kernels]
    assert made[0].kernels > 3


def test_an_unusable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr("compiler.build.cache.cache_folder", lambda: tmp_path / "file" / "cache")
    assert compile_model(elementwise(), "host", tmp_path / "a.so").verified == "passed"


def test_the_public_names_resolve_and_importing_is_light() -> None:
    assert all(getattr(compiler, name) is not None for name in compiler.__all__)
    with pytest.raises(AttributeError):
        compiler.nothing  # noqa: B018
