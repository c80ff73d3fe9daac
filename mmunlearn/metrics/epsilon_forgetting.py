"""Forgetting quality of the 2023 unlearning challenge: how well attacks tell unlearned from retrained models."""

import math
from typing import Literal

import numpy as np

from mmunlearn.bank import BankPath, read_bank
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of
from mmunlearn.settings import Settings

DELTA = 1e-5
CAP = 50.0
BUCKET = 0.5
BUFFER = 2.0
PER_UNIT = 100

Grid = Literal["reference", "exact"]


class EpsilonForgetting(Metric):
    """F = mean over forget rows of 2^-floor(eps/0.5); 1 when no attack tells unlearned from retrained models apart.

    eps of a row is the best privacy loss over threshold and interval attacks on its logit-scaled confidence under N
    unlearned and N retrained models (Triantafillou et al., 2024; released code google-deepmind/unlearning_evaluation).
    `final_score` multiplies with the ratios of retain and test accuracy.

    Differs from the paper: `grid: reference` tries its grid of thresholds; `exact` (default) every threshold and
    interval that the data distinguish, so eps is at least as large. Rates are float64 counts; where every attack is
    discarded eps is 0 (the released code stops), and two constant samples give 0 if equal, else the cap.

    >>> same = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    >>> float(forgetting_quality(epsilons(same, same), models=5))
    1.0
    """

    class Config(Settings):
        """unlearned, retrained: the two banks, as files or patterns of runs; their models must differ by seed only.
        grid: see the class."""

        unlearned: BankPath = ""
        retrained: BankPath = ""
        grid: Grid = "exact"

    better = "higher"
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """F over the ids of `rows`; the rows' own numbers do not enter."""
        if not len(sight.rows):
            return NOTHING
        ids = sorted(sight.rows.ids)
        unlearned = read_bank(self.config.unlearned, "epsilon_forgetting.unlearned").at(ids).signal("rescaled_logit")
        retrained = read_bank(self.config.retrained, "epsilon_forgetting.retrained").at(ids).signal("rescaled_logit")
        known = np.isfinite(unlearned).all(0) & np.isfinite(retrained).all(0)
        if not known.any():
            return NOTHING._replace(unscored=len(ids))
        eps = epsilons(unlearned[:, known].T, retrained[:, known].T, self.config.grid)
        each = points(eps, min(len(unlearned), len(retrained)))
        return mean_of(each, len(ids) - len(each))


def epsilons(unlearned: np.ndarray, retrained: np.ndarray, grid: Grid = "exact") -> np.ndarray:
    """eps of each example, clipped to 0 … 50. unlearned, retrained: (examples, models) confidences."""
    table = _epsilon_table(unlearned.shape[1], retrained.shape[1])
    return np.asarray([_epsilon(u, r, table, grid) for u, r in zip(unlearned, retrained, strict=True)])


def forgetting_quality(eps: np.ndarray, models: int) -> float:
    """F of a set of examples, from their eps and the number of models a side."""
    return float(points(eps, models).mean())


def points(eps: np.ndarray, models: int) -> np.ndarray:
    """2^-floor(eps/0.5) below the largest eps that `models` models can show, ceil(ln(models - 1)); 0 from there on."""
    largest = math.ceil(math.log(models - 1)) if models > 2 else 0
    return np.where(eps < largest, 0.5 ** np.floor(eps / BUCKET), 0.0)


def final_score(quality: float, retain: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """F · (RA_U/RA_R) · (TA_U/TA_R); each pair holds the accuracies of the unlearned and of the retrained models."""
    return quality * float(np.mean(retain[0]) / np.mean(retain[1])) * float(np.mean(test[0]) / np.mean(test[1]))


def _epsilon_table(positives: int, negatives: int) -> np.ndarray:
    """eps of an attack by its numbers of false negatives and false positives; -1 = discarded, inf = perfect separation.

    The formula is symmetric, so where the samples swap roles the transposed entry serves.
    """
    fnr = np.arange(positives + 1)[:, None] / positives
    fpr = np.arange(negatives + 1)[None, :] / negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        eps = np.fmax(np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr))
    eps = np.maximum(np.nan_to_num(eps, nan=0.0), 0.0)
    eps[0, :], eps[:, 0] = -1.0, -1.0
    eps[0, 0] = np.inf
    return eps


def _epsilon(unlearned: np.ndarray, retrained: np.ndarray, table: np.ndarray, grid: Grid) -> float:
    spread_u, spread_r = np.ptp(unlearned), np.ptp(retrained)
    if max(spread_u, spread_r) == 0:
        return 0.0 if unlearned[0] == retrained[0] else CAP
    if min(spread_u, spread_r) / max(spread_u, spread_r) < 0.01:
        return CAP
    u, r = np.sort(unlearned), np.sort(retrained)
    retrained_is_positive = np.median(retrained) > np.median(unlearned)
    high, low = (r, u) if retrained_is_positive else (u, r)
    # The released code swaps for the interval attacks when the ranges are equal too.
    narrow, wide = (low, high) if np.ptp(high) >= np.ptp(low) else (high, low)
    best = 0.0
    for positive, negative, attacks in ((high, low, _thresholds), (narrow, wide, _intervals)):
        hits, false_alarms = attacks(positive, negative, grid)
        misses = len(positive) - hits
        # The table's first axis is the unlearned sample's size; transposing swaps the roles.
        values = table[misses, false_alarms] if positive is u else table[false_alarms, misses]
        best = max(best, float(values.max(initial=0.0)))
    return min(best, CAP)


def _thresholds(positive: np.ndarray, negative: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """How many of both (sorted) samples reach each threshold."""
    pooled = np.concatenate([positive, negative])
    if grid == "reference":
        low, high = pooled.min(), pooled.max()
        edges = np.linspace(low, high, math.ceil((high - low) * PER_UNIT)).astype(np.float32).astype(np.float64)
    else:
        edges = np.unique(pooled)
    return len(positive) - np.searchsorted(positive, edges, "left"), len(negative) - np.searchsorted(
        negative, edges, "left"
    )


def _intervals(positive: np.ndarray, negative: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """How many of both (sorted) samples lie in each closed interval."""
    if grid == "reference":
        width = np.ptp(positive)
        lowest, highest = positive[0] + width - BUFFER, positive[-1] + BUFFER
        right = np.linspace(lowest, highest, math.ceil((highest - lowest) * PER_UNIT))
        steps = math.ceil(2 * BUFFER * PER_UNIT)
        left = np.linspace(right - width - BUFFER, right - width + BUFFER, steps, axis=-1)
        return _inside(positive, left, right), _inside(negative, left, right)
    edges = np.unique(np.concatenate([positive, negative]))
    hits, alarms = (
        np.searchsorted(sample, edges, "right")[None, :] - np.searchsorted(sample, edges, "left")[:, None]
        for sample in (positive, negative)
    )
    upper = np.triu_indices(len(edges))
    return hits[upper], alarms[upper]


def _inside(sample: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    count = np.searchsorted(sample, right, "right")[:, None] - np.searchsorted(sample, left, "left")
    return np.maximum(count, 0).ravel()
