"""Top-1 accuracy of class predictions; for label vectors the mean of the labels' accuracies."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, mean_of, scored


class Top1(Metric):
    """Share of examples whose largest logit is the target's (vision.md 1.4); multi-label: logit > 0, mean of labels
    (vision.md 2.3: sigmoid > 0.5, accuracy = mean of the label accuracies).

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a", "b"), {"logits": np.array([[[2.0, 1.0]], [[0.0, 3.0]]]), "target": np.array([[0], [0]])})
    >>> Top1().reduce(Sight(rows)).value
    0.5
    """

    better = "higher"
    columns = ("logits", "target")

    def reduce(self, sight: Sight) -> Value:
        """Mean over examples of the share of right labels."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        right = correct(rows["logits"], rows["target"])
        return mean_of(right, unscored)


def correct(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Share of items answered right, per example. logits (n, item, vocab), target (n, item); vocab 1 = Bernoulli."""
    if logits.shape[-1] == 1:
        hit = (logits[..., 0] > 0) == (target > 0.5)
    else:
        hit = logits.argmax(-1) == target
    return hit.mean(-1)
