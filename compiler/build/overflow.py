"""Which values between kernels are too large for float16, found by running the program on this machine.

Tensor programs are the same for every target until they are scheduled, so those of a board run here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ..frontend.prepare import Model, PreparedModel, Tensor
from ..kernels.float16 import LARGEST
from ..passes.narrow_storage import FindLarge
from ..passes.rewrite import replace_bindings
from ..quantize.data import load_calibration
from ..target import load_target
from ..verify.execute import execute_each, find_executor
from ..verify.vectors import seeded_inputs
from .artifact import build_artifact
from .cache import Cache
from .extract import extract_program
from .kernel_table import kernel_table
from .objects import compile_kernels
from .variants import variant_programs
from .version import Version

Feed = Mapping[str, np.ndarray[Any, Any]]

# Samples show what is usual; others may be this many times larger.
_MARGIN = 4.0
_SAMPLES = 16  # that are run


def measure_overflows(model: Model, prepared: PreparedModel, samples: Any, cached: bool = True) -> FindLarge:
    """What tells which of some variables of a lowered module's `main` leave the range of float16.

    Args:
        samples: calibration data, see `quantize.data.load_calibration`; None for random inputs.
        cached: take compiled kernels from the cache, and put new ones there.

    Raises:
        UserError: the data cannot be read, or do not fit the inputs.
    """
    feeds = _feeds(model, prepared, samples)

    def measure(module: tvm.IRModule, variables: Sequence[Any]) -> list[Any]:
        if not variables or prepared.bodies:
            return []
        names = [f"value{number}" for number in range(len(variables))]
        tensors = [
            Tensor(name, str(variable.ty.dtype), tuple(int(size) for size in variable.ty.shape))
            for name, variable in zip(names, variables, strict=True)
        ]
        host = load_target("host")
        program, functions = extract_program(replace_bindings(module, {}, relax.Tuple(list(variables))))
        version = Version(prepared.inputs, tuple(tensors), program, prepared.vocabulary)
        programs = variant_programs(program, functions)
        cache = Cache() if cached else None
        objects = compile_kernels(programs, host, cache)
        table = kernel_table([version], programs, objects.kernels, host)
        with tempfile.TemporaryDirectory(prefix="edgec-ranges-") as folder:
            linked = build_artifact(model, [version], objects, table, host, Path(folder), cache)
            found = execute_each(find_executor(host.os, host.machine, host), linked.path, feeds)
        return [
            variable
            for name, variable in zip(names, variables, strict=True)
            if any(_leaves(results[name]) for results in found)
        ]

    return measure


def _feeds(model: Model, prepared: PreparedModel, samples: Any) -> list[Feed]:
    if samples is None:
        return [seeded_inputs(prepared.inputs, prepared.vocabulary)]
    return list(islice(load_calibration(samples, replace(model, proto=prepared.proto)), _SAMPLES))


def _leaves(values: np.ndarray[Any, Any]) -> bool:
    """Whether finite values, or what may be a few times larger, are too large. Infinities stay what they are."""
    finite = values[np.isfinite(values)]
    return bool(np.isnan(values).any() or np.abs(finite).max(initial=0.0) * _MARGIN > LARGEST)
