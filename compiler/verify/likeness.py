"""How near an artifact's results are to the model's over all inputs given: for arithmetic of 8 bits, and for labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .labels import class_output, labels_of
from .similarity import Similarity

Arrays = Mapping[str, np.ndarray[Any, Any]]

# dB of an output against the float model, below which an 8-bit artifact is taken to be broken: half of it is noise.
# One that works has 15 to 40; how much accuracy a ratio costs depends on the model, and needs a metric.
LEAST_SNR = 3.0


@dataclass(frozen=True)
class Likeness:
    """One output of floats over all inputs given; true if it is above `LEAST_SNR`."""

    name: str
    snr: float
    cosine: float

    def __bool__(self) -> bool:
        return self.snr >= LEAST_SNR

    def __str__(self) -> str:
        verdict = "ok" if self else "DIFFERS"
        measured = f"signal to noise {self.snr:.1f} dB (at least {LEAST_SNR:.0f}), cosine {self.cosine:.5f}"
        return f"{self.name}: {measured} {verdict}"


@dataclass(frozen=True)
class Agreement:
    """On how many of the samples a classifier's label is the model's.

    Attributes:
        output: which holds the labels, or the scores of classes.
        right: how many labels of the artifact and of the model are true; None if the truth is not known.
    """

    output: str
    equal: int
    count: int
    right: tuple[int, int] | None = None

    def __str__(self) -> str:
        text = f"{self.output}: the same label for {self.equal} of {self.count} samples ({self.equal / self.count:.2%})"
        if self.right is not None:
            artifact, model = (f"{right / self.count:.2%}" for right in self.right)
            text += f"; {artifact} of the artifact's labels are right, {model} of the model's"
        return text


def likeness_of(results: Sequence[Arrays], reference: Sequence[Arrays]) -> list[Likeness]:
    """One Likeness for each output of floats; both have an entry a run, of equal shapes."""
    found = []
    for name, first in reference[0].items():
        if first.dtype.kind == "f":
            both = Similarity()
            for made, wanted in zip(results, reference, strict=True):
                both.add(made[name], wanted[name])
            found.append(Likeness(name, both.snr, both.cosine))
    return found


def agreement_of(
    results: Sequence[Arrays],
    reference: Sequence[Arrays],
    batch: int,
    truth: Sequence[np.ndarray[Any, Any]] | None = None,
) -> Agreement | None:
    """How often the labels agree; None if no output looks like a classifier's.

    Args:
        batch: samples in a run.
        truth: for each run, its samples' labels, where they are known.
    """
    name = class_output(dict(reference[0]), batch)
    if name is None:
        return None
    ours, theirs = ([labels_of(run[name], batch) for run in runs] for runs in (results, reference))
    made, wanted = np.concatenate(ours), np.concatenate(theirs)
    right = None
    if truth is not None:
        known = np.concatenate(truth)
        right = int(np.sum(made == known)), int(np.sum(wanted == known))
    return Agreement(name, int(np.sum(made == wanted)), len(made), right)
