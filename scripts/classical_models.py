#!/usr/bin/env python3
"""Writes large classical models as ONNX files: `classical_models.py FOLDER [--only NAME…]`.

They are trained on made-up data whose features are standard normal, as bench_peers.py's inputs are. The same versions
of the libraries write the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.classical.case import Array
from scripts.classical.data import SEED
from scripts.classical.export import convert, quiet

_FEATURES = 30


def _data(rows: int, classes: int) -> tuple[Array, Array]:
    """Rows of standard normal features, and classes that depend on them and on chance."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((rows, _FEATURES)).astype(np.float32)
    scores = np.tanh(x @ rng.standard_normal((_FEATURES, classes))) + 0.5 * rng.standard_normal((rows, classes))
    return x, scores.argmax(1)


def random_forest() -> onnx.ModelProto:
    """100 trees of depth 12, 5 classes."""
    from sklearn.ensemble import RandomForestClassifier

    x, y = _data(20_000, 5)
    return convert(RandomForestClassifier(100, max_depth=12, random_state=SEED).fit(x, y), x)


def gradient_boosting() -> onnx.ModelProto:
    """500 trees of depth 6, 2 classes, by XGBoost."""
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier

    x, y = _data(20_000, 2)
    estimator = XGBClassifier(n_estimators=500, max_depth=6, learning_rate=0.05, random_state=SEED).fit(x, y)
    return convert_xgboost(estimator, initial_types=[("X", FloatTensorType([None, _FEATURES]))], target_opset=15)


def support_vectors() -> onnx.ModelProto:
    """An RBF kernel with 2,000 support vectors, 2 classes with probabilities."""
    from sklearn.svm import SVC

    x, y = _data(2_000, 2)
    # As weak as this, no row is far enough from the border to be left out.
    with quiet():
        estimator = SVC(C=0.01, class_weight="balanced", probability=True, random_state=SEED).fit(x, y)
    assert len(estimator.support_vectors_) == len(x)
    return convert(estimator, x)


def neighbours() -> onnx.ModelProto:
    """5 neighbours among 10,000 points, 5 classes; distances by com.microsoft.CDist, which suits onnxruntime best."""
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _data(10_000, 5)
    return convert(KNeighborsClassifier().fit(x, y), x, {"zipmap": False, "optim": "cdist"})


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "random_forest": random_forest,
    "gradient_boosting": gradient_boosting,
    "support_vectors": support_vectors,
    "neighbours": neighbours,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = options.folder / f"{name}.onnx"
        onnx.save(MODELS[name](), path)
        print(f"{name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
