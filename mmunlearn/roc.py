"""How well scores tell members from others: AUC, true-positive rate at a low false-positive rate, best accuracy.

Scores are higher for members; "member" is predicted when the score reaches a threshold. Ties count as they must: both
sides of a threshold move together, and a tied pair counts one half in the AUC.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from mmunlearn import intervals


class Estimate(NamedTuple):
    """A value with its standard error and 95 % interval."""

    value: float
    stderr: float
    low: float
    high: float


def auc(members: np.ndarray, others: np.ndarray) -> Estimate:
    """Area under the ROC curve, standard error after DeLong et al. (1988) from midranks, O(n log n).

    >>> auc(np.array([0.9, 0.5]), np.array([0.5, 0.1])).value
    0.875
    """
    m, n = len(members), len(others)
    pooled = rankdata(np.concatenate([members, others]))
    above = (pooled[:m] - rankdata(members)) / n  # share of others that each member beats
    below = 1 - (pooled[m:] - rankdata(others)) / m
    value = float(above.mean())
    variance = (above.var(ddof=1) / m if m > 1 else np.nan) + (below.var(ddof=1) / n if n > 1 else np.nan)
    stderr = float(np.sqrt(variance))
    low, high = intervals.normal(value, stderr)
    return Estimate(value, stderr, max(low, 0.0), min(high, 1.0))


def tpr_at_fpr(members: np.ndarray, others: np.ndarray, fpr: float) -> Estimate:
    """Largest true-positive rate of a threshold whose false-positive rate does not exceed `fpr`; Wilson interval.

    The interval treats the threshold as given. With fewer than 1/fpr others no false positive is allowed at all.

    >>> tpr_at_fpr(np.array([0.9, 0.8, 0.3]), np.array([0.7, 0.2]), 0.1).value
    0.6666666666666666
    """
    allowed = int(np.floor(fpr * len(others) + 1e-9))
    hits = len(members) if allowed >= len(others) else int((members > np.sort(others)[::-1][allowed]).sum())
    value = hits / len(members)
    low, high = intervals.wilson(hits, len(members))
    return Estimate(value, float(np.sqrt(value * (1 - value) / len(members))), float(low), float(high))


def balanced_accuracy(
    members: np.ndarray, others: np.ndarray, root: int, *names: object, repeats: int = 200
) -> Estimate:
    """Best 1 - (FPR + FNR)/2 over all thresholds; bootstrap interval. The threshold is chosen on the same scores, so
    the value is an upper estimate (above 1/2 even for equal distributions)."""
    values, place = np.unique(np.concatenate([members, others]), return_inverse=True)
    inside, outside = place[: len(members)], place[len(members) :]

    def best(member_weights: np.ndarray, other_weights: np.ndarray) -> np.ndarray:
        below_m, below_o = _below(inside, member_weights, len(values)), _below(outside, other_weights, len(values))
        gap = (below_o / len(others) - below_m / len(members)).max(-1)
        return 0.5 + np.maximum(gap, 0.0) / 2

    value = float(best(np.ones((1, len(members))), np.ones((1, len(others))))[0])
    draws = best(
        intervals.weights(len(members), repeats, root, *names, "members"),
        intervals.weights(len(others), repeats, root, *names, "others"),
    )
    return Estimate(value, float(draws.std(ddof=1)), *intervals.percentile(draws))


def _below(place: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """(repeats, bins): weight of the items at or below each distinct score."""
    order = np.argsort(place, kind="stable")
    total = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights[:, order], axis=1)], axis=1)
    return total[:, np.searchsorted(place[order], np.arange(bins), side="right")]
