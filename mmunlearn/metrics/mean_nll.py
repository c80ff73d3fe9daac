"""Mean negative log-likelihood."""

import numpy as np

from mmunlearn.metrics.base import Metric, Sight, Value, mean_of, scored
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
        return mean_of(mean_nll(rows) if len(rows) else np.empty(0), unscored)
