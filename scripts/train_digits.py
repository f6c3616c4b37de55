#!/usr/bin/env python3
"""Trains the example model: a small CNN for scikit-learn's bundled 8x8 handwritten digits, in plain NumPy.

    python scripts/train_digits.py [FOLDER]        (default: examples/digits)

Writes into FOLDER
    digits.onnx     opset 17; `image` float32 [1,1,8,8] (pixels 0 to 16 as in the data set) to `scores` [1,10]
    held_out.npz    `images` uint8 [360,1,8,8] and `labels` uint8 [360], which the training never saw
    input.npz       `image`, one of them, ready for `edgec run --input`

The seed is fixed: the same NumPy on the same CPU gives the same model. Takes under a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
Parameters = dict[str, Array]

SEED = 0
HELD_OUT = 360
PIXEL_MAX = 16.0
EPOCHS = 20
BATCH = 32
LEARNING_RATE = 2e-3
CHANNELS = (16, 32)
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "examples" / "digits"


def load_digits() -> tuple[Array, Array, Array, Array]:
    """Images uint8 [N,1,8,8] and labels uint8 [N]: of the training, then the held-out ones."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    images, labels = images.reshape(-1, 1, 8, 8).astype(np.uint8), labels.astype(np.uint8)
    order = np.random.RandomState(SEED).permutation(len(images))
    held, train = order[:HELD_OUT], order[HELD_OUT:]
    return images[train], labels[train], images[held], labels[held]


def init_parameters(random: np.random.RandomState) -> Parameters:
    """He initialisation (arXiv:1502.01852)."""
    first, second = CHANNELS
    shapes = {"conv1": (first, 1, 3, 3), "conv2": (second, first, 3, 3), "gemm": (10, second * 16)}
    parameters: Parameters = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        parameters[f"{name}.weight"] = (random.randn(*shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return parameters


def conv(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    """3x3 convolution with padding 1, NCHW; the second result is the im2col matrix, [N*H*W, I*9]."""
    n, channels, height, width = x.shape
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * 9)
    y = columns @ weight.reshape(len(weight), -1).T + bias
    return y.reshape(n, height, width, -1).transpose(0, 3, 1, 2), columns


def conv_gradients(dy: Array, columns: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of input, weight and bias."""
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, len(weight))
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    dx, _ = conv(dy, flipped, np.zeros(len(flipped), np.float32))
    return dx, (rows.T @ columns).reshape(weight.shape), rows.sum(0)


def gradients(p: Parameters, x: Array, labels: Array) -> Parameters:
    """Gradients of the mean cross-entropy by parameter."""
    n, (first, second) = len(x), CHANNELS
    z1, columns1 = conv(x, p["conv1.weight"], p["conv1.bias"])
    blocks = np.maximum(z1, 0).reshape(n, first, 4, 2, 4, 2)
    pooled = blocks.max((3, 5))
    z2, columns2 = conv(pooled, p["conv2.weight"], p["conv2.bias"])
    flat = np.maximum(z2, 0).reshape(n, -1)
    scores = flat @ p["gemm.weight"].T + p["gemm.bias"]

    probabilities = np.exp(scores - scores.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    probabilities[np.arange(n), labels] -= 1
    dscores = probabilities / n
    dz2 = (dscores @ p["gemm.weight"]).reshape(n, second, 4, 4) * (z2 > 0)
    dpooled, dconv2, dbias2 = conv_gradients(dz2, columns2, p["conv2.weight"])
    winners = (blocks == pooled[:, :, :, None, :, None]).astype(x.dtype)  # of a tie, each gets a share
    dblocks = winners * dpooled[:, :, :, None, :, None] / winners.sum((3, 5), keepdims=True)
    dz1 = dblocks.reshape(z1.shape) * (z1 > 0)
    _, dconv1, dbias1 = conv_gradients(dz1, columns1, p["conv1.weight"])
    return {
        "conv1.weight": dconv1, "conv1.bias": dbias1, "conv2.weight": dconv2, "conv2.bias": dbias2,
        "gemm.weight": dscores.T @ flat, "gemm.bias": dscores.sum(0),
    }  # fmt: skip


def train(images: Array, labels: Array) -> Parameters:
    """Adam (arXiv:1412.6980) with a cosine learning rate."""
    random = np.random.RandomState(SEED)
    p = init_parameters(random)
    means = {name: np.zeros_like(value) for name, value in p.items()}
    squares = {name: np.zeros_like(value) for name, value in p.items()}
    steps, step = EPOCHS * (len(images) // BATCH), 0
    for epoch in range(EPOCHS):
        order = random.permutation(len(images))
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[begin : begin + BATCH]
            x = images[batch].astype(np.float32) / np.float32(PIXEL_MAX)
            rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            step += 1
            for name, gradient in gradients(p, x, labels[batch]).items():
                means[name] += 0.1 * (gradient - means[name])
                squares[name] += 0.001 * (gradient**2 - squares[name])
                mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
                p[name] -= (rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)
        print(f"epoch {epoch + 1:2}: {accuracy(p, images, labels):.2%} of the training images", flush=True)
    return p


def forward(p: Parameters, x: Array) -> Array:
    """Scores [N,10] of images [N,1,8,8] with pixels from 0 to 1."""
    hidden, _ = conv(x, p["conv1.weight"], p["conv1.bias"])
    hidden = np.maximum(hidden, 0).reshape(len(x), -1, 4, 2, 4, 2).max((3, 5))
    hidden, _ = conv(hidden, p["conv2.weight"], p["conv2.bias"])
    scores: Array = np.maximum(hidden, 0).reshape(len(x), -1) @ p["gemm.weight"].T + p["gemm.bias"]
    return scores


def accuracy(p: Parameters, images: Array, labels: Array) -> float:
    """Share of the images whose highest score is the label's."""
    scores = forward(p, images.astype(np.float32) / np.float32(PIXEL_MAX))
    return float((scores.argmax(1) == labels).mean())


def export(p: Parameters) -> onnx.ModelProto:
    """The trained network; the scaling of the pixels is folded into the first weights."""
    constants = {**p, "conv1.weight": p["conv1.weight"] / np.float32(PIXEL_MAX)}
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], "conv1", **same),
        helper.make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        helper.make_node("MaxPool", ["relu1"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool", "conv2.weight", "conv2.bias"], ["conv2"], "conv2", **same),
        helper.make_node("Relu", ["conv2"], ["relu2"], "relu2"),
        helper.make_node("Flatten", ["relu2"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "gemm.weight", "gemm.bias"], ["scores"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="train_digits")
    model.ir_version = 8  # of opset 17's time, so that older readers take it
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    train_images, train_labels, images, labels = load_digits()
    p = train(train_images, train_labels)
    onnx.save(export(p), folder / "digits.onnx")
    np.savez_compressed(folder / "held_out.npz", images=images, labels=labels)
    np.savez(folder / "input.npz", image=images[:1].astype(np.float32))
    size = (folder / "digits.onnx").stat().st_size / 1e3
    print(f"{accuracy(p, images, labels):.2%} of {len(images)} held-out images; digits.onnx: {size:.1f} kB")


if __name__ == "__main__":
    main()
