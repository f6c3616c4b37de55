"""Files that are no models, or damaged ones: a message for people, or success, and nothing else."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.errors import UserError
from compiler.frontend.prepare import load_model, prepare
from tests.frontend.checks import check_message, prepared, refusal
from tests.models import mlp, model, node

Write = Callable[..., Path]

SKLEARN = "skl2onnx"


def busy_model() -> onnx.ModelProto:
    """Operators of many kinds, so that damage reaches many places; input `x` [2, 3, 4]."""
    then, other = (
        onnx.helper.make_graph([node(op, "t", f"{op}o")], op, [], [onnx.ValueInfoProto(name=f"{op}o")])
        for op in ("Neg", "Abs")
    )
    function = onnx.helper.make_function(
        "own",
        "gate",
        ["a"],
        ["b"],
        [node("Sigmoid", "a", "s"), node("Mul", "a s", "b")],
        [onnx.helper.make_opsetid("", 17)],
    )
    nodes = [
        node("Relu", "x", "t"),
        node("If", "yes", "u", then_branch=then, else_branch=other),
        node("Shape", "u", "s"),
        node("Gather", "s zero", "d"),
        node("Unsqueeze", "d axes", "d1"),
        node("Concat", "d1 minus", "shape", axis=0),
        node("Reshape", "u shape", "r"),
        node("ConstantOfShape", "size", "z"),
        node("Expand", "z wide", "e"),
        node("Tile", "e twice", "ti"),
        node("Range", "zero five one", "steps"),
        node("MatMul", "r w", "m"),
        node("Softmax", "m", "sm", axis=1),
        node("Pad", "sm pads", "p"),
        node("gate", "p", "g", domain="own"),
        node("LayerNormalization", "g scale", "n"),
        node("Clip", "n _ one_f", "c"),
        node("TopK", "c k", "y i"),
    ]
    constants = {
        "yes": np.array(True),
        "zero": np.array(0),
        "five": np.array(5),
        "one": np.array(1),
        "axes": np.array([0]),
        "minus": np.array([-1]),
        "size": np.array([2, 1]),
        "wide": np.array([2, 3]),
        "twice": np.array([1, 2]),
        "w": np.ones((12, 3), np.float32),
        "pads": np.array([0, 1, 0, 1]),
        "scale": np.ones(5, np.float32),
        "one_f": np.float32(1),
        "k": np.array([2]),
    }
    return model(nodes, {"x": [2, 3, 4]}, ["y", "i", "steps", "ti"], constants, functions=[function], domains=["own"])


BUSY = busy_model().SerializeToString()


def test_the_busy_model_is_fine() -> None:
    assert [t.shape for t in prepared(busy_model()).outputs] == [(2, 2), (2, 2), (5,), (2, 6)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"hello, I am not a model\n", "text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (pickle.dumps({"a": 1}, protocol=4), SKLEARN),
        (b"\x80\x02ccollections\nOrderedDict\n", SKLEARN),
        (b"x\x9c" + bytes(40), SKLEARN),
        (b"\x89HDF\r\n\x1a\n", "tf2onnx"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        (b"\x7fELF" + bytes(range(200)), "not an ONNX file"),
        (bytes(100), "not an ONNX file"),
        (b"\xff" * 100, "not an ONNX file"),
        (onnx.ModelProto(ir_version=8, producer_name="x").SerializeToString(), "no graph"),
    ],
)
def test_a_file_that_is_not_onnx(write: Write, data: bytes, expected: str) -> None:
    assert expected in refusal(write(data))


def test_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x")
    assert "torch.save" in refusal(path)


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.onnx")
    assert "is not a file" in refusal(tmp_path)
    assert "does not exist" in refusal("a\0b.onnx")
    refusal(tmp_path / ("n" * 300))
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "is not a file" in refusal(tmp_path / "pipe.onnx")


def test_a_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(mlp(), str(tmp_path / "m.onnx"))
    monkeypatch.chdir(tmp_path)
    loaded = load_model("m.onnx")
    assert loaded.name == "m" and len(loaded.sha256) == 64
    assert load_model(tmp_path / "m.onnx").sha256 == loaded.sha256


def attempt(path: Path) -> None:
    """Success, or a UserError with a message for people."""
    try:
        prepare(load_model(path))
    except UserError as error:
        check_message(error)


def test_truncated_files(write: Write) -> None:
    for length in range(1, len(BUSY), 5):
        attempt(write(BUSY[:length]))


Edit = tuple[int, int, bytes]
EDITS = st.lists(
    st.tuples(st.integers(0, len(BUSY) - 1), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_random_damage(write: Write, edits: list[Edit]) -> None:
    data = bytearray(BUSY)
    for position, removed, inserted in edits:
        data[position : position + removed] = inserted
    attempt(write(bytes(data)))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, len(BUSY) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_random_bytes(write: Write, flips: list[tuple[int, int]]) -> None:
    data = bytearray(BUSY)
    for position, byte in flips:
        data[position] = byte
    attempt(write(bytes(data)))


def test_names_that_are_not_utf8(write: Write) -> None:
    assert "not UTF-8" in refusal(write(BUSY.replace(b"Sigmoid", b"Sigm\xffid")))


def test_deep_nesting_is_refused(write: Write) -> None:
    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), []
        while size > 127:
            length.append(size % 128 + 128)
            size //= 128
        return bytes([number << 3 | 2, *length, size]) + data

    graph = b""
    for _ in range(20_000):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    refusal(write(BUSY + field(7, graph)))
