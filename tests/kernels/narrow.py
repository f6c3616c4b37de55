"""Cases whose inputs and results pass through memory in 16 bits, as values between the kernels of a model do."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
from onnx import helper

from tests.kernels.grid import Array, Case

TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
# A rounding of the result, and half of one at most for what differs before it: over the largest value.
TOLERANCE = {"fp16": 7e-4, "bf16": 6e-3}
_RECURRENT = 4  # times that: each step reads what the one before it left, and what was rounded before all of them


def in_16_bits(case: Case, precision: str) -> Case:
    """The case between kernels of its own, with numbers that 16 bits hold.

    The larger of two equal numbers is no element-wise operation to the compiler: its result is in memory.
    """

    def rounded(array: Array) -> Array:
        return array.astype(TYPES[precision]).astype(array.dtype) if array.dtype == np.float32 else array

    nodes, renamed = [], {}
    for name, array in case.inputs.items():
        if array.dtype == np.float32 and array.ndim and array.size:
            renamed[name] = f"{name}_between"
            nodes += _twice(name, renamed[name])
    for node in case.nodes:
        copied = type(node)()
        copied.CopyFrom(node)
        copied.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(copied)
    outputs = []
    for name in case.outputs:
        nodes += _twice(name, f"{name}_behind")
        outputs.append(f"{name}_behind")
    return replace(
        case,
        nodes=nodes,
        inputs={name: rounded(array) for name, array in case.inputs.items()},
        constants={name: rounded(array) for name, array in case.constants.items()} | {"first_axis": np.array([0])},
        outputs=tuple(outputs),
        expected=None,
        tolerance=max(_tolerance(case, precision), case.tolerance or 0.0),
    )


def _tolerance(case: Case, precision: str) -> float:
    recurrent = any(node.op_type in ("RNN", "GRU", "LSTM") for node in case.nodes)
    return TOLERANCE[precision] * (_RECURRENT if recurrent else 1)


def fits_16_bits(case: Case) -> bool:
    """Whether a case has floats, all of which are of float32 and neither infinite nor too large."""
    arrays = [array for array in (*case.inputs.values(), *case.constants.values()) if array.dtype.kind == "f"]
    small = all(array.dtype == np.float32 and np.all(np.abs(array) < 1e3) for array in arrays)
    return bool(arrays) and small and case.expected is None


def _twice(name: str, made: str) -> list[object]:
    return [
        helper.make_node("Unsqueeze", [name, "first_axis"], [f"{made}_row"]),
        helper.make_node("Concat", [f"{made}_row", f"{made}_row"], [f"{made}_rows"], axis=0),
        helper.make_node("ReduceMax", [f"{made}_rows", "first_axis"], [made], keepdims=0),
    ]
