"""The example model, and the script that trained it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from scripts import train_digits

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "digits"


@pytest.fixture(scope="module")
def held_out() -> tuple[Any, Any]:
    with np.load(FOLDER / "held_out.npz") as archive:
        return archive["images"], archive["labels"]


def score(model: onnx.ModelProto, images: Any) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"image": image[None].astype(np.float32)})[0] for image in images]
    return np.concatenate(rows)


def test_accuracy(held_out: tuple[Any, Any]) -> None:
    images, labels = held_out
    assert len(images) == train_digits.HELD_OUT
    scores = score(onnx.load(FOLDER / "digits.onnx"), images)
    assert (scores.argmax(1) == labels).mean() >= 0.97


def test_size() -> None:
    assert (FOLDER / "digits.onnx").stat().st_size < 200_000


def test_held_out_images_are_those_of_the_split(held_out: tuple[Any, Any]) -> None:
    pytest.importorskip("sklearn")
    train_images, _, images, labels = train_digits.load_digits()
    assert (images == held_out[0]).all()
    assert (labels == held_out[1]).all()
    assert len(train_images) + len(images) == 1797


def test_input_is_one_of_them(held_out: tuple[Any, Any]) -> None:
    with np.load(FOLDER / "input.npz") as archive:
        assert archive["image"].dtype == np.float32
        assert (archive["image"] == held_out[0][:1]).all()


def test_export_computes_what_was_trained(held_out: tuple[Any, Any]) -> None:
    parameters = train_digits.init_parameters(np.random.RandomState(1))
    images, labels = held_out[0][:50], held_out[1][:50]
    scores = score(train_digits.export(parameters), images)
    assert (scores.argmax(1) == labels).mean() == train_digits.accuracy(parameters, images, labels)


def loss(parameters: train_digits.Parameters, x: Any, labels: Any) -> float:
    scores = train_digits.forward(parameters, x)
    scores = scores - scores.max(1, keepdims=True)
    return float((np.log(np.exp(scores).sum(1)) - scores[np.arange(len(x)), labels]).mean())


def test_gradients_match_differences(held_out: tuple[Any, Any]) -> None:
    parameters = train_digits.init_parameters(np.random.RandomState(1))
    random = np.random.RandomState(2)  # without biases, empty corners would stand on the bend of Relu
    parameters = {name: value + random.uniform(0.1, 0.2, value.shape) for name, value in parameters.items()}
    x, labels = held_out[0][:4] / 16.0, held_out[1][:4]
    found = train_digits.gradients(parameters, x, labels)
    for name, value in parameters.items():
        place = np.unravel_index(np.abs(found[name]).argmax(), value.shape)
        step, losses = 1e-6, []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * step
            losses.append(loss({**parameters, name: moved}, x, labels))
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(found[name][place], rel=1e-3)
