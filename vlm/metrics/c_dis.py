"""C-Dis: how far the probability of saying the concept's name has moved from the original's."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value, aligned


class CDis(Metric):
    """Mean over rows of `−p0(C) log(p(C) / p0(C))` in nats: 0 where nothing moved, large where a name that the original
    gave is gone. p(C) = Σ over the row's choices of exp(−nll), the probability that the answer is the carrier sentence
    with one of the concept's names; p0 is the original's.

    Source: MMUBench 5 (vlm_fiu_mmu_safe 2.5), whose formula it is. Differs from the released script, which takes the
    first sub-token of 4 or 5 probe phrases at every prompt and picture position; here the answer itself is conditioned
    on. Rows without choices do not count.

    >>> from mmunlearn.records import Rows
    >>> def rows(p): return Rows(("a",), {"choices_nll": -np.log(np.array([[p, p]]))})
    >>> round(CDis().reduce(Sight(rows(0.1), original=rows(0.4))).value, 4)  # 0.8 · log 4
    1.109
    """

    unit = "nats"
    better = "higher"
    columns = ("choices_nll",)
    measures = "forgetting"
    needs_original = True
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean over rows that both models answered."""
        rows, unscored = answered(sight.rows, *self.columns)
        if "tag.kind" in sight.rows and "choices_nll" in sight.rows:
            unscored = 0  # rows of kinds that have no choices are none of this metric's
        if sight.original is None or not len(rows):
            return mean_of(np.empty(0), unscored)
        before, _ = answered(sight.original, *self.columns)
        here, there = aligned(rows, before)
        unscored += len(rows) - len(here)
        values = []
        for new, old in zip(here["choices_nll"], there["choices_nll"], strict=True):
            now, was = log_mass(new), log_mass(old)
            values.append(-np.exp(was) * (now - was) if np.isfinite(was) else 0.0)
        return mean_of(np.asarray(values), unscored)


def log_mass(nll: object) -> float:
    """Logarithm of the summed probability of alternatives whose negative log-likelihoods are given."""
    return float(np.logaddexp.reduce(-np.asarray(nll, dtype=np.float64)))
