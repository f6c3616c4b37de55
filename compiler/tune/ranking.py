"""Guesses which schedules are fast, from all that was measured: gradient-boosted trees over features.

As in AutoTVM: Chen et al., "Learning to Optimize Tensor Programs", NeurIPS 2018. The model predicts the logarithm of a
schedule's time as a share of the default's, so that records of kernels of any size teach it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..kernels.rule import Decision
from .features import numbers
from .records import Record

_LEAST_RECORDS = 24  # fewer teach nothing
_MOST_RECORDS = 20000  # the newest; training takes a second
_ROUNDS = 60
_WORST = math.log(4.0)  # slower ones are alike
_OF_OTHERS = 0.25  # weight of records of another machine


class Ranking:
    """A model of the records of one family.

    Args:
        records: measured ones of this target.
        others: of similar targets, as a start.
    """

    def __init__(self, records: Sequence[Record], others: Sequence[Record] = ()) -> None:
        self._names: list[str] = []
        self._booster: Any = None
        # The last ones are the newest, and this target's matter more.
        known = [(r, _OF_OTHERS) for r in others if r.decision] + [(r, 1.0) for r in records if r.decision]
        known = known[-_MOST_RECORDS:]
        if len(known) >= _LEAST_RECORDS:
            self._train(known)

    def _train(self, known: Sequence[tuple[Record, float]]) -> None:
        import xgboost

        rows = [_features(r.work, r.decision) for r, _ in known if r.decision]
        self._names = sorted({name for row in rows for name in row})
        labels = [min(_WORST, math.log(r.ratio)) if 0 < r.ratio < math.inf else _WORST for r, _ in known]
        data = xgboost.DMatrix(self._matrix(rows), labels, weight=[weight for _, weight in known])
        settings = {"max_depth": 6, "eta": 0.2, "objective": "reg:squarederror", "nthread": 1, "seed": 0}
        self._booster = xgboost.train(settings, data, _ROUNDS)

    def predict(self, work: Mapping[str, Any], decisions: Sequence[Decision]) -> np.ndarray[Any, Any]:
        """The logarithm of each schedule's time by the default's; zeros while too little is known."""
        if self._booster is None or not decisions:
            return np.zeros(len(decisions))
        import xgboost

        rows = [_features(work, decision) for decision in decisions]
        return np.asarray(self._booster.predict(xgboost.DMatrix(self._matrix(rows))))

    @property
    def trained(self) -> bool:
        return self._booster is not None

    def _matrix(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray[Any, Any]:
        return np.array([[row.get(name, math.nan) for name in self._names] for row in rows], np.float32)


def _features(work: Mapping[str, Any], decision: Decision) -> dict[str, float]:
    return numbers(work, decision.parameters) | {f"rule {decision.rule}": 1.0}
