"""Networks compiled in other precisions: each must pass its own verification, and still say what the floats do."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from scripts.onnx_cases.check import Progress, Results, check_each
from scripts.onnx_cases.isolated import Send

from .networks import INPUT, network

# dB of signal to noise below which something is wrong. Few channels lose much when they are rounded.
LEAST = {"fp32": 70.0, "fp16": 25.0, "bf16": 15.0, "int8": 5.0, "int8-dynamic": 5.0, "int8-weights": 15.0}
_SAMPLES = 8
_SECONDS = 240.0


@dataclass(frozen=True)
class Compilation:
    """A network in a precision.

    Attributes:
        name: what makes it again, as 7-123/int8.
    """

    name: str


def check_precisions(names: Sequence[str], progress: Progress = lambda count: None) -> Results:
    """By name, why a network does not pass; None if it does."""

    def work(batch: Sequence[Compilation], send: Send) -> None:
        for one in batch:
            send({"begin": one.name})
            try:
                reason = _check(one.name)
            except UserError as error:
                reason = f"refused: {error.what}"
            except Exception as error:  # TVM raises what it likes
                reason = f"error: {type(error).__name__}: {' '.join(str(error).split())[-300:]}"
            send({"case": one.name, "reason": reason})
        send({"begin": ""})

    return check_each([Compilation(name) for name in names], work, progress, seconds=_SECONDS)


def _check(name: str) -> str | None:
    seed, precision = name.split("/")
    made = network(seed)
    proto = made.model(name)
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    samples = made.samples(_SAMPLES * batch)
    feeds = {INPUT: samples[-batch:]}
    (floats,) = run_reference(proto, feeds)[1].values()
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "net.onnx"), Path(folder, "net.so")
        onnx.save(proto, path)
        calibration = {INPUT: samples} if precision == "int8" else None
        artifact = compile_model(path, out=out, precision=precision, calibration=calibration)
        if artifact.verified != "passed":
            return f"output: verification {artifact.manifest['verification']}"
        (result,) = Model(out).run(feeds).values()
    noise, signal = (float(np.square(one, dtype=np.float64).sum()) for one in (result - floats, floats))
    if math.isfinite(signal) and signal and not noise < signal * 10 ** (-LEAST[precision] / 10):
        return f"output: signal to noise {10 * math.log10(signal / noise) if math.isfinite(noise) else noise:.1f} dB"
    return None
