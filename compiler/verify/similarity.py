"""How alike two runs of a model are in sum, where single values may differ, as after quantisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Decibels beyond which a ratio says no more; equal arrays have the upper one, and JSON has no infinity.
MOST_SNR, LEAST_SNR = 150.0, -50.0


class Similarity:
    """Signal-to-noise ratio and cosine between results and a reference, over all arrays that were added."""

    def __init__(self) -> None:
        self._signal = self._noise = self._product = self._power = 0.0

    def add(self, result: Array, reference: Array) -> None:
        """Adds floats of equal shapes; where both are not finite and equal, they count as zeros.

        Raises:
            ValueError: the shapes differ.
        """
        if result.shape != reference.shape:
            raise ValueError(f"shapes {result.shape} and {reference.shape}")
        a, b = (array.ravel().astype(np.float64) for array in (result, reference))
        finite = np.isfinite(b)
        if not finite.all():
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            a, b = np.where(finite | ~same, a, 0), np.where(finite, b, 0)
        self._signal += float(b @ b)
        self._power += float(a @ a)
        self._product += float(a @ b)
        difference = a - b
        self._noise += float(difference @ difference)

    @property
    def snr(self) -> float:
        """The reference's power over that of the difference, in dB, between `LEAST_SNR` and `MOST_SNR`."""
        if not self._noise:
            return MOST_SNR
        if not math.isfinite(self._noise) or not self._signal:
            return LEAST_SNR
        return min(max(10 * math.log10(self._signal / self._noise), LEAST_SNR), MOST_SNR)

    @property
    def cosine(self) -> float:
        """The cosine of the angle between both; 1 of two zeros, 0 of a zero or something not finite and another."""
        if not self._noise:
            return 1.0
        size = math.sqrt(self._signal) * math.sqrt(self._power)
        if not size or not math.isfinite(size):
            return 0.0
        return max(-1.0, min(self._product / size, 1.0))


def snr_of(result: Array, reference: Array) -> float:
    """The signal-to-noise ratio of one array, in dB."""
    both = Similarity()
    both.add(result, reference)
    return both.snr
