"""Files that scikit-learn's users have instead of ONNX: the message shows how to make it, and the lines work."""

from __future__ import annotations

import gzip
import os
import pickle
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.errors import UserError
from tests.frontend.checks import check_message

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        compile_model(path)
    check_message(caught.value)
    return str(caught.value)


def make(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """What the lines of a message write."""
    monkeypatch.chdir(folder)
    exec(textwrap.dedent("\n".join(line for line in text.splitlines() if line[:4] == "    ")), {"X": X})
    return onnx.load(folder / "model.onnx")


@pytest.mark.parametrize(("ending", "options"), [("joblib", {}), ("joblib", {"compress": 3}), ("pkl", {})])
def test_scikit_learn(ending: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joblib, linear = pytest.importorskip("joblib"), pytest.importorskip("sklearn.linear_model")
    pytest.importorskip("skl2onnx")
    path = tmp_path / f"forest.{ending}"
    joblib.dump(linear.LogisticRegression().fit(X, Y), path, **options)
    text = message(path)
    assert "pickle or joblib" in text
    assert make(text, tmp_path, monkeypatch).graph.node


@pytest.mark.parametrize("ending", ["json", "ubj", "bst"])
@pytest.mark.filterwarnings("ignore")
def test_xgboost(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xgboost = pytest.importorskip("xgboost")
    pytest.importorskip("onnxmltools")
    path = tmp_path / f"model.{ending}"
    xgboost.XGBClassifier(n_estimators=2).fit(X, Y).get_booster().save_model(path)
    text = message(path)
    assert "XGBoost" in text
    assert make(text, tmp_path, monkeypatch).graph.node[0].op_type == "TreeEnsembleClassifier"


def test_lightgbm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("onnxmltools")
    path = tmp_path / "model.txt"
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(X, Y).booster_.save_model(path)
    text = message(path)
    assert "LightGBM" in text
    assert make(text, tmp_path, monkeypatch).graph.node[0].op_type == "TreeEnsembleClassifier"


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_run(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(Harm(), protocol)
    for path, content in ((Path("m.pkl"), data), (Path("m.joblib"), gzip.compress(data)), (Path("m.PICKLE"), data)):
        path.write_bytes(content)
        assert "joblib.load(" in message(path)
    assert not Path("harm").exists()
    pickle.loads(data)
    assert Path("harm").exists()


def test_other_text_is_not_taken_for_a_model(tmp_path: Path) -> None:
    for name, content in (("m.json", '{"a": 1}'), ("m.txt", "trees\n")):
        path = tmp_path / name
        path.write_text(content)
        assert "but text" in message(path)
