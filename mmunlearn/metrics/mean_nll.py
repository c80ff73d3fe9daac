"""Mean negative log-likelihood."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.signals import mean_nll


class MeanNll(Metric):
    """Mean over examples of the loss an item, in nats (diffusion: the denoising error a value).

    >>> from mmunlearn.records import Rows
    >>> MeanNll().reduce(Sight(Rows(("a", "b"), {"nll": np.array([1.0, 6.0]), "count": np.array([1, 2])}))).value
    2.0
    """

    unit = "nats"
    better = "lower"
    columns = ("nll",)

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        each = mean_nll(rows)
        n = len(each)
        return Value(float(each.mean()), n, float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else None, unscored)
