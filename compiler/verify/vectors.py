"""Seeded inputs for comparing an artifact with a reference."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..frontend.prepare import Tensor

SEED = 0


def seeded_inputs(inputs: Sequence[Tensor], seed: int = SEED) -> dict[str, np.ndarray[Any, Any]]:
    """One array an input, the same for the same seed everywhere.

    Floats are standard normal; integers are 0 or 1, which are valid as indices, lengths and flags alike.
    bfloat16 arrays are its bits as uint16.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    made: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in inputs:
        if tensor.dtype == "bfloat16":
            bits = rng.standard_normal(tensor.shape, dtype=np.float32).view(np.uint32) >> 16
            made[tensor.name] = np.asarray(bits, np.uint16)
        elif tensor.dtype.startswith("float"):
            made[tensor.name] = np.asarray(rng.standard_normal(tensor.shape), np.dtype(tensor.dtype))
        else:
            made[tensor.name] = np.asarray(rng.integers(0, 2, tensor.shape), np.dtype(tensor.dtype))
    return made


def digest(arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    hasher = hashlib.sha256()
    for name, array in arrays.items():
        hasher.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()
