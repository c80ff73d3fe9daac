"""Loss of the true answer by its compressed size."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.token_signals import mean_nll_per_zlib_byte


class ZlibRatio(Metric):
    """Mean over rows of the loss a token (nats) by the zlib size of the target (bytes); small = known by heart.

    Carlini et al. (2021): the size stands for how surprising the text is to anyone. The attack that it makes is the AUC
    against unseen rows (metric `auc`, signal `zlib_ratio`).

    >>> from mmunlearn.records import Rows
    >>> columns = {"nll": np.array([44.0]), "count": np.array([2]), "target": np.array(["aaa"], object)}
    >>> ZlibRatio().reduce(Sight(Rows(("a",), columns))).value
    2.0
    """

    unit = "nats/byte"
    better = "higher"
    columns = ("nll", "count", "target")
    measures = "forgetting"
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        return mean_of(mean_nll_per_zlib_byte(rows["nll"], rows["count"], rows["target"]), unscored)
