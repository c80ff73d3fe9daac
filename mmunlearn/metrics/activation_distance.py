"""Activation distance: how far the output probabilities are from the retrained model's."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, beside_reference, mean_of
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
        mine, gold, unscored = beside_reference(sight, *self.columns)
        if not len(mine):
            return NOTHING._replace(unscored=unscored)
        each = np.linalg.norm(probabilities(mine) - probabilities(gold), axis=-1).mean(-1)
        return mean_of(each, unscored)
