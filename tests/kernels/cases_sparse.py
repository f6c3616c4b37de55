"""Products and 1x1 convolutions whose weights have zeros, in blocks and here and there, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import helper

from tests.kernels.grid import Array, Case, floats, rng_of


def weights(inputs: int, outputs: int, zeros: float, name: str) -> Array:
    """[inputs, outputs] with a share of zero blocks of 16 outputs by one input, and more zeros here and there."""
    rng = rng_of(name)
    made = floats(name, inputs, outputs)
    made[rng.random(made.shape) < 0.1] = 0
    gone = rng.random((inputs, -(-outputs // 16))) < zeros
    made[np.repeat(gone, 16, axis=1)[:, :outputs]] = 0
    return made


def scattered(inputs: int, outputs: int, zeros: float, name: str) -> Array:
    """[inputs, outputs] with zeros anywhere, and an output without anything else."""
    made = floats(name, inputs, outputs)
    made[rng_of(name).random(made.shape) < zeros] = 0
    made[:, outputs // 2] = 0
    return made


def _product(shape: tuple[int, ...], outputs: int, zeros: float, make: Callable[..., Array] = weights) -> Case:
    name = f"product {'x'.join(map(str, shape))} to {outputs}, {zeros} {make.__name__}"
    x, w, bias = floats(name, *shape), make(shape[-1], outputs, zeros, name), floats(name + "b", outputs)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Relu", ["i"], ["y"]),
    ]
    expected = np.maximum(x.astype(np.float64) @ w + bias, 0).astype(np.float32)
    return Case(name, nodes, {"x": x}, {"w": w, "b": bias}, expected=(expected,))


def _convolution(shape: tuple[int, ...], outputs: int, zeros: float, make: Callable[..., Array] = weights) -> Case:
    """With a residual."""
    name = f"convolution {'x'.join(map(str, shape))} to {outputs}, {zeros} {make.__name__}"
    x, w = floats(name, *shape), make(shape[1], outputs, zeros, name)
    other = floats(name + "r", shape[0], outputs, *shape[2:])
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "r"], ["y"])]
    expected = np.einsum("nihw,io->nohw", x.astype(np.float64), w) + other
    constants = {"w": np.ascontiguousarray(w.T.reshape(outputs, shape[1], 1, 1))}
    return Case(name, nodes, {"x": x, "r": other}, constants, expected=(expected.astype(np.float32),))


def sparse() -> list[Case]:
    """Few rows and many; outputs that fill no block; nearly all zeros, and nothing but zeros."""
    cases = [
        _product(shape, outputs, zeros)
        for shape in ((1, 70), (3, 70), (33, 70), (2, 5, 70), (2, 1, 3, 70))
        for outputs, zeros in ((16, 0.7), (37, 0.8), (96, 0.95), (128, 0.75))
    ]
    cases += [
        _convolution(shape, outputs, zeros)
        for shape in ((1, 40, 7, 7), (2, 33, 1, 1), (1, 64, 5, 13))
        for outputs, zeros in ((24, 0.7), (64, 0.85), (1, 0.6))
    ]
    cases += [_product(shape, 120, 0.95, scattered) for shape in ((16, 130), (49, 130), (2, 9, 130), (3, 1, 70, 130))]
    cases += [_convolution((2, 120, 5, 7), outputs, 0.9, scattered) for outputs in (128, 121)]
    return [*cases, _product((4, 24), 32, 1.0), _product((40, 24), 5, 1.0)]


FAMILIES = {"sparse": sparse}
