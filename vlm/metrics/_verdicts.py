"""Shares of verdicts, with unscored rows left out or counted as the papers' code counts them."""

from typing import Literal

import numpy as np

from mmunlearn.metrics.base import NOTHING, Sight, Value, scored
from mmunlearn.settings import Settings


class VerdictSettings(Settings):
    """unscored: rows without a verdict are left out of the share, or (as SafeEraser's code does) stay in its
    denominator and not in its numerator: neither unsafe nor refusing. (That code asks no judge about empty answers, so
    they are in neither.)"""

    unscored: Literal["left_out", "counted"] = "left_out"


def share(sight: Sight, config: VerdictSettings, *, of_no: bool = False) -> Value:
    """Share of rows whose verdict is 1 (of_no: 0), a verdict being 0 or 1, with its binomial standard error."""
    rows, unscored = scored(sight.rows, "value") if "value" in sight.rows else (sight.rows.take([]), len(sight.rows))
    hits = rows["value"].astype(np.float64) if len(rows) else np.empty(0)
    if of_no:
        hits = 1 - hits
    if config.unscored == "counted" and len(rows):
        hits, unscored = np.concatenate([hits, np.zeros(unscored)]), 0
    n = len(hits)
    if not n:
        return NOTHING._replace(unscored=unscored)
    value = float(hits.mean())
    return Value(value, n, float(np.sqrt(value * (1 - value) / n)), unscored)
