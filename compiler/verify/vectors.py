"""Seeded inputs for comparing an artifact with a reference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..frontend.prepare import Tensor

SEED = 0


UNKNOWN = "a word that no model knows"


def seeded_inputs(
    inputs: Sequence[Tensor], vocabulary: Sequence[str] = (), seed: int = SEED
) -> dict[str, np.ndarray[Any, Any]]:
    """One array an input, the same for the same seed everywhere.

    Floats are standard normal; integers are 0 or 1, which are valid as indices, lengths and flags alike.
    bfloat16 arrays are its bits as uint16. Strings are of the model's vocabulary, and one that is not in it.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    made: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in inputs:
        if tensor.strings:
            words = np.array([*vocabulary, UNKNOWN], object)
            made[tensor.name] = np.asarray(words[rng.integers(0, len(words), tensor.shape)], object)
        elif tensor.dtype == "bfloat16":
            bits = rng.standard_normal(tensor.shape, dtype=np.float32).view(np.uint32) >> 16
            made[tensor.name] = np.asarray(bits, np.uint16)
        elif tensor.dtype.startswith("float"):
            made[tensor.name] = np.asarray(rng.standard_normal(tensor.shape), np.dtype(tensor.dtype))
        else:
            made[tensor.name] = np.asarray(rng.integers(0, 2, tensor.shape), np.dtype(tensor.dtype))
    return made


def inputs_of(manifest: Mapping[str, Any], rows: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded inputs for an artifact, by its manifest.

    Args:
        rows: for an artifact that takes any number of them; by default as many as its largest block has.

    Raises:
        ValueError: rows of an artifact with fixed shapes.
    """
    if rows is not None and not manifest.get("rows"):
        raise ValueError("the artifact has fixed shapes, not any number of rows")
    tensors = [
        Tensor(
            t["name"],
            t["dtype"],
            tuple(t["shape"]) if rows is None else (rows, *t["shape"][1:]),
            strings=t.get("strings", False),
        )
        for t in manifest["inputs"]
    ]
    return seeded_inputs(tensors, manifest.get("strings", ()))


def in_ranges(
    arrays: dict[str, np.ndarray[Any, Any]], accuracy: Mapping[str, Any] | None
) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded inputs, those of floats scaled to where a quantised artifact's calibration data lay.

    Args:
        accuracy: of the manifest, whose `inputs` are the least and greatest values by name.
    """
    ranges = (accuracy or {}).get("inputs", {})
    scaled = dict(arrays)
    for name, (low, high) in ranges.items():
        if name in arrays and arrays[name].dtype.kind == "f":
            share = np.clip(arrays[name].astype(np.float64) / 5 + 0.5, 0, 1)  # 2.5 standard deviations on either side
            scaled[name] = (low + (high - low) * share).astype(arrays[name].dtype)
    return scaled


def digest(arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes, of strings as UTF-32."""
    hasher = hashlib.sha256()
    for name, array in arrays.items():
        hasher.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        plain = array.astype(np.str_) if array.dtype.kind == "O" else array
        hasher.update(np.ascontiguousarray(plain).tobytes())
    return hasher.hexdigest()
