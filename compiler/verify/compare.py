"""How far two sets of results are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .similarity import snr_of

# Relative to the largest value of the output; two correct float32 runtimes stay far below.
TOLERANCE = {"float64": 1e-3, "float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}
# At least, where what lies between the layers has fewer bits.
_TOLERANCE_OF = {"fp16": 2e-2, "bf16": 1e-1}
MOST_APART = 1e-3  # of 8-bit integers, see `apart`
_FEW = 2


@dataclass(frozen=True)
class Difference:
    """One output's distance from the reference; true when it is within the tolerance.

    Attributes:
        error: largest absolute difference over the largest finite absolute value of the reference; for
            integers and booleans the share of elements that differ, for quantised ones see `apart`.
        tolerance: the largest `error` that passes.
        reason: what is wrong beyond the numbers, as a wrong shape or type; None otherwise.
        equal: of integers, booleans and strings, as the labels of a classifier, the share of elements that are equal;
            None of others.
        snr, least_snr: signal to noise in dB, of floats from arithmetic with 8 bits, None of others; from the latter
            on it passes.
    """

    name: str
    error: float
    tolerance: float
    reason: str | None = None
    equal: float | None = None
    snr: float | None = None
    least_snr: float = math.inf

    def __bool__(self) -> bool:
        alike = self.snr is not None and self.snr >= self.least_snr
        return self.reason is None and (alike or self.error <= self.tolerance)

    def __str__(self) -> str:
        verdict = "ok" if self else "DIFFERS"
        measured = f"error {self.error:.2e} (tolerance {self.tolerance:.0e})"
        if self.snr is not None:
            least = f" (at least {self.least_snr:.1f})" if math.isfinite(self.least_snr) else ""
            measured += f" or {self.snr:.1f} dB{least}"
        if self.equal is not None:
            measured = f"{self.equal:.2%} equal"
        return f"{self.name}: {self.reason or measured} {verdict}"


def compare(
    results: Mapping[str, np.ndarray[Any, Any]],
    reference: Mapping[str, np.ndarray[Any, Any]],
    bfloat16: frozenset[str] = frozenset(),
    precision: str = "fp32",
) -> list[Difference]:
    """One Difference an output of the reference, in its order.

    Args:
        bfloat16: outputs whose arrays are bfloat16 bits as uint16, on both sides.
        precision: that the results were computed with.
    """
    return [
        _compare(name, results.get(name), expected, name in bfloat16, precision) for name, expected in reference.items()
    ]


def apart(result: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], step: float = 1.0) -> float:
    """The share of elements that are more than a step away, or a tenth of those on another step, if that is more.

    A few in all may be on the next one, as sums of other orders round to it where they lie between two.
    """
    steps = np.abs(result.astype(np.float64) - expected.astype(np.float64)) / step
    other = max(int(np.sum(steps > 0.5)) - _FEW, 0)
    return max(float(np.mean(steps > 1.5)), float(other / max(steps.size, 1) / 10))


def over_runs(found: Sequence[Difference]) -> Difference:
    """One output's differences in several runs as one: the first that is wrong in form, else the largest error, and
    the mean share of equal elements."""
    wrong = next((one for one in found if one.reason is not None), None)
    if wrong is not None or found[0].equal is None:
        return wrong or min(found, key=lambda one: (bool(one), -one.error))
    equal, error = (float(np.mean(values)) for values in zip(*((one.equal, one.error) for one in found), strict=True))
    return replace(found[0], error=error, equal=equal)


def _compare(name: str, result: Any, expected: Any, bfloat16: bool, precision: str) -> Difference:
    if expected.dtype.kind in "OU":  # strings, which files hold with a length
        expected, result = expected.astype(object), None if result is None else result.astype(object)
    dtype = "bfloat16" if bfloat16 else str(expected.dtype)
    tolerance = TOLERANCE.get(dtype, 0.0)
    if dtype in TOLERANCE:
        tolerance = max(tolerance, _TOLERANCE_OF.get(precision, 0.0))
    if result is None:
        return Difference(name, float("inf"), tolerance, "the output is missing")
    if result.shape != expected.shape or result.dtype != expected.dtype:
        made, wanted = f"{result.dtype}{list(result.shape)}", f"{expected.dtype}{list(expected.shape)}"
        return Difference(name, float("inf"), tolerance, f"it is {made}, the reference {wanted}")
    if bfloat16:
        result, expected = ((a.astype(np.uint32) << 16).view(np.float32) for a in (result, expected))
    if not expected.size:
        return Difference(name, 0.0, tolerance)
    if expected.dtype.kind != "f":
        equal = float(np.mean(result == expected))
        differ = 1 - equal
        if precision == "int8" and expected.dtype.itemsize == 1 and expected.dtype.kind in "iu":
            differ, tolerance = apart(result, expected), MOST_APART
        return Difference(name, differ, tolerance, equal=equal)
    a, b = result.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(finite, np.isfinite(a)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return Difference(name, float("inf"), tolerance, "infinities or NaNs stand in different places")
    if not finite.any():
        return Difference(name, 0.0, tolerance)
    scale = max(float(np.abs(b[finite]).max()), 1e-6)
    snr = snr_of(a, b) if precision.startswith("int8") else None
    return Difference(name, float(np.abs(a[finite] - b[finite]).max()) / scale, tolerance, snr=snr)
