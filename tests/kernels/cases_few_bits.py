"""Products with weights of 4 and 8 bits, against NumPy."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.kernels.grid import Array, Case, floats, rng_of


def _case(shape: tuple[int, ...], outputs: int, bits: int, block: int, zeros: bool, follow: bool) -> Case:
    """x [*shape] by weights [inputs, outputs] of MatMulNBits; `follow` adds a bias and an activation."""
    name = f"{'x'.join(map(str, shape))} to {outputs}, {bits} bits by {block}{' zeros' * zeros}{' relu' * follow}"
    rng, inputs = rng_of(name), shape[-1]
    groups = -(-inputs // block)
    numbers = rng.integers(0, 1 << bits, (outputs, groups * block)).astype(np.uint8)
    scales = (rng.random((outputs, groups)) - 0.5).astype(np.float32)
    constants = {"b": _packed(numbers, bits).reshape(outputs, groups, -1), "s": scales}
    middle: Array = np.full((outputs, groups), 1 << (bits - 1))
    if zeros:
        middle = rng.integers(0, 1 << bits, (outputs, groups)).astype(np.uint8)
        constants["z"] = _packed(middle, bits).reshape(-1)
    whole = numbers.reshape(outputs, groups, block) - middle[..., None].astype(np.float64)
    weights = (whole * scales[..., None]).reshape(outputs, -1)[:, :inputs]
    x = floats(name, *shape)
    expected = (x.astype(np.float64) @ weights.T).astype(np.float32)
    sizes = {"N": outputs, "K": inputs, "bits": bits, "block_size": block}
    names = ["x", *constants]
    nodes = [helper.make_node("MatMulNBits", names, ["h" if follow else "y"], domain="com.microsoft", **sizes)]
    if follow:
        constants["c"] = floats(name, outputs)
        nodes += [helper.make_node("Add", ["h", "c"], ["i"]), helper.make_node("Relu", ["i"], ["y"])]
        expected = np.maximum(expected + constants["c"], 0)
    return Case(name, nodes, {"x": x}, constants, expected=(expected,))


def _packed(numbers: Array, bits: int) -> Array:
    """[rows, numbers] → bytes, low bits first."""
    if bits == 8:
        return numbers
    if numbers.shape[1] % 2:
        numbers = np.pad(numbers, ((0, 0), (0, 1)))
    return numbers[:, 0::2] | (numbers[:, 1::2] << 4)


def few_bits() -> list[Case]:
    """One row, few, many; blocks of channels that are not full; groups that do not divide the inputs."""
    rows = [(1, 256), (3, 256), (6, 272), (7, 256), (40, 256), (2, 1, 256), (1, 2, 5, 256)]
    cases = [
        _case(shape, outputs, bits, block, zeros, follow)
        for number, shape in enumerate(rows)
        for outputs, block in ((65, 32), (130, 16))
        for bits in (4, 8)
        for zeros, follow in ((bool(number % 2), bits == 4), (not number % 2, bits == 8))
    ]
    cases += [_case((rows, 3280), 5, bits, 64, False, True) for rows in (1, 20) for bits in (4, 8)]
    cases += [_case((rows, 296), 64, bits, 64, True, False) for rows in (1, 20) for bits in (4, 8)]
    return cases


FAMILIES = {"few_bits": few_bits}
