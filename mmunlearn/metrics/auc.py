"""AUC of a membership signal."""

from mmunlearn import roc
from mmunlearn.metrics._samples import two_samples
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Auc(Metric):
    """Area under the ROC curve of a signal that tells `rows` (members) from `against`; higher = member, 0.5 = none.

    Standard error and interval after DeLong. Below 0.5 the forget rows look less like members than unseen ones do.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> forget = Rows(("a", "b"), {"nll": np.array([0.1, 0.5])})
    >>> unseen = Rows(("c", "d"), {"nll": np.array([0.5, 0.9])})
    >>> Auc().reduce(Sight(forget, unseen)).value
    0.875
    """

    class Config(Settings):
        """signal: one of `mmunlearn.signals.SIGNALS`."""

        signal: str = "loss"

    better = "closer"
    needs_against = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of the sides is empty."""
        members, others, unscored = two_samples(sight, self.config.signal)
        if not len(members) or not len(others):
            return NOTHING._replace(unscored=unscored)
        found = roc.auc(members, others)
        n = len(members) + len(others)
        known = found.stderr == found.stderr
        ends = (found.low, found.high) if known else (None, None)
        return Value(found.value, n, found.stderr if known else None, unscored, *ends)
