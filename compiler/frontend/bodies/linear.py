"""LinearClassifier and LinearRegressor of ai.onnx.ml, as onnxruntime computes them."""

from __future__ import annotations

import numpy as np

from .body import Body, Call, Refused
from .post_transform import post_transform


def _products(call: Call, targets: int) -> str:
    """X [N, features] or [features] -> float32 [N, targets]."""
    x, features = call.rows(), call.shape("X")[-1]
    weights = np.asarray(call.attribute("coefficients", ()), np.float32)
    if weights.size != targets * features:
        raise Refused(f"it has {weights.size} coefficients for {targets} x {features}")
    y = call.op("MatMul", x, call.tensor(np.ascontiguousarray(weights.reshape(targets, features).T)))
    intercepts = np.asarray(call.attribute("intercepts", ()), np.float32)
    return call.op("Add", y, call.tensor(intercepts)) if intercepts.size == targets else y


def _regressor(call: Call) -> None:
    targets = call.attribute("targets", 1)
    kind = call.attribute("post_transform", "NONE")
    call.let("Y", "Identity", post_transform(call, _products(call, targets), kind, targets))


def _classifier(call: Call) -> None:
    """The label comes from the scores before their transform; of one score its sign decides."""
    call.attribute("multi_class", 0)  # onnxruntime reads it and asks no more
    labels = call.labels()
    targets = len(call.attribute("intercepts", ()))
    if not targets:
        raise Refused("it has no intercepts, whose number is that of the classes")
    scores = _products(call, targets)
    if targets == 1:
        pair = labels if len(labels) == 2 else np.asarray([0, 1])
        positive = call.op("Squeeze", call.op("Greater", scores, call.number(0)), call.ints(1))
        call.let("Y", "Where", positive, *(call.tensor(np.asarray(label)) for label in pair[::-1]))
    else:
        if len(labels) < targets:
            raise Refused(f"it has {len(labels)} labels for {targets} classes")
        call.let("Y", "Gather", call.tensor(labels), call.op("ArgMax <axis = 1, keepdims = 0>", scores))
    kind = call.attribute("post_transform", "NONE")
    second = -1
    if targets == 1 and len(labels) == 2:
        if kind == "PROBIT":
            raise Refused("its PROBIT of one score for two classes is not defined: onnxruntime leaves half of it unset")
        second = 2 if kind == "LOGISTIC" else 1
    call.let("Z", "Identity", post_transform(call, scores, kind, targets, second))


_ML = "ai.onnx.ml"
BODIES: dict[tuple[str, str], Body] = {
    (_ML, "LinearClassifier"): Body("X", "Y Z", _classifier),
    (_ML, "LinearRegressor"): Body("X", "Y", _regressor),
}
