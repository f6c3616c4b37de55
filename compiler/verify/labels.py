"""Outputs that look like the scores of classes, and the labels in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def class_output(outputs: Mapping[str, Array], batch: int = 1) -> str | None:
    """The output that holds labels or scores of classes, None if none looks so, or several do.

    Integers or strings, one for each sample, are labels. Floats are scores where beside the batch one axis alone has
    more than one element; of several such outputs, the one that sums to one. Labels come before scores.

    Args:
        batch: samples in each run.
    """
    labels = [n for n, a in outputs.items() if a.dtype.kind in "iuOU" and a.size == batch]
    scores = [n for n, a in outputs.items() if a.dtype.kind == "f" and _classes(a, batch) > 1]
    shares = [n for n in scores if _are_shares(outputs[n], batch)]
    return next((found[0] for found in (labels, scores, shares) if len(found) == 1), None)


def _are_shares(array: Array, batch: int) -> bool:
    return bool((array >= 0).all() and np.allclose(array.reshape(batch, -1).sum(1), 1, atol=1e-2))


def labels_of(output: Array, batch: int = 1) -> Array:
    """[batch] labels: those in the output, or the places of the highest scores; see `class_output`."""
    if output.dtype.kind == "f":
        return np.asarray(output.reshape(batch, -1).argmax(1))
    return output.reshape(batch)


def _classes(array: Array, batch: int) -> int:
    """How many classes the array has scores of, 0 if it looks like something else."""
    axes = [size for size in array.shape if size > 1]
    if batch > 1:
        return axes[1] if len(axes) == 2 and array.shape[0] == batch else 0
    return axes[0] if len(axes) == 1 else 0
