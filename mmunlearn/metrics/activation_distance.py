"""Activation distance: how far the output probabilities are from the retrained model's."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, scored
from mmunlearn.signals import probabilities


class ActivationDistance(Metric):
    """Mean Euclidean distance of soft-max outputs to the retrained model's (Golatkar et al.; as in Bad Teacher).

    >>> from mmunlearn.records import Rows
    >>> def rows(*z): return Rows(("a",), {"logits": np.array([[z]]), "target": np.array([[0]])})
    >>> round(ActivationDistance().reduce(Sight(rows(0.0, 99.0), reference=rows(99.0, 0.0))).value, 4)
    1.4142
    """

    unit = "distance"
    better = "lower"
    columns = ("logits", "target")
    needs_reference = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """Rows that both models answered; of several items the mean counts."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows) or sight.reference is None:
            return NOTHING._replace(unscored=unscored)
        mine, gold = aligned(rows, scored(sight.reference, *self.columns)[0])
        if not len(mine):
            return NOTHING._replace(unscored=unscored)
        each = np.linalg.norm(probabilities(mine) - probabilities(gold), axis=-1).mean(-1)
        n = len(each)
        return Value(float(each.mean()), n, float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else None, unscored)
