"""Linear probe: how well a linear classifier reads the target from frozen features."""

import numpy as np
from pydantic import Field

from mmunlearn.metrics._transfer import divide
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class LinearProbe(Metric):
    """Accuracy of a logistic regression on standardised features, fit on four fifths of the rows, tested on the rest.

    It sees what a changed head hides: features that still hold what the model no longer says. The division is that of
    `knn_transfer`.

    >>> from mmunlearn.records import Rows
    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]] * 20), np.array([[0], [1]] * 20)
    >>> LinearProbe().reduce(Sight(Rows(tuple(f"{i:02d}" for i in range(40)), {"features": x, "target": y}))).value
    1.0
    """

    class Config(Settings):
        """strength: inverse regularisation (C). iterations: limit of the solver."""

        strength: float = Field(1.0, gt=0)
        iterations: int = Field(1000, ge=1)

    better = "closer"
    columns = ("features", "target")

    def reduce(self, sight: Sight) -> Value:
        """NaN with fewer than five rows; one class only gives that class's share."""
        from sklearn.linear_model import LogisticRegression

        parts = divide(sight)
        if parts is None:
            return NOTHING._replace(unscored=len(sight.rows))
        x, y, test_x, test_y, unscored = parts
        if len(np.unique(y)) == 1:
            right = test_y == y[0]
        else:
            mean, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1.0)
            probe = LogisticRegression(C=self.config.strength, max_iter=self.config.iterations)
            right = probe.fit((x - mean) / scale, y).predict((test_x - mean) / scale) == test_y
        share, n = float(right.mean()), len(right)
        return Value(share, n, float(np.sqrt(share * (1 - share) / n)), unscored)
