"""Top-2 accuracy of class predictions."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of, scored


class Top2(Metric):
    """Share of examples whose target is among the two largest logits (MUFAC, vision sheet 1.4). Classes only.

    >>> from mmunlearn.records import Rows
    >>> logits = np.array([[[3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0]]])
    >>> Top2().reduce(Sight(Rows(("a", "b"), {"logits": logits, "target": np.array([[1], [2]])}))).value
    0.5
    """

    better = "higher"
    columns = ("logits", "target")

    def reduce(self, sight: Sight) -> Value:
        """Mean over examples; of several items an example's mean counts."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        logits, target = rows["logits"], rows["target"].astype(np.int64)
        own = np.take_along_axis(logits, target[..., None], -1)
        hit = ((logits > own).sum(-1) < 2).mean(-1)
        return mean_of(hit, unscored)
