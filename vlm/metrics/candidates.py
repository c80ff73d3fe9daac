"""Candidates: how many different answers an attacker was allowed to name for a goal."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of, scored
from mmunlearn.settings import Settings


class Candidates(Metric):
    """Mean |C| over goals: distinct read-outs, or answers asked for. Stands beside every success rate.

    >>> from mmunlearn.records import Rows
    >>> Candidates().reduce(Sight(Rows(("a", "b"), {"candidates": np.array([20.0, 16.0])})))[:2]
    (18.0, 2)
    """

    class Config(Settings):
        """No settings."""

    unit = "count"
    better = "lower"
    columns = ("candidates",)
    measures = "forgetting"
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        if not len(sight.rows) or "candidates" not in sight.rows:
            return NOTHING._replace(unscored=len(sight.rows))
        rows, unscored = scored(sight.rows, "candidates")
        return mean_of(rows["candidates"].astype(np.float64), unscored)
