"""True-positive rate of a membership signal at a low false-positive rate."""

from pydantic import Field

from mmunlearn import roc
from mmunlearn.metrics._samples import two_samples
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class TprAtFpr(Metric):
    """Share of `rows` that an attacker names members while wrongly naming at most `fpr` of `against`; 0 is ideal.

    Carlini et al. (2022) for why low rates matter. With fewer than 1/fpr rows in `against` none is allowed.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> forget = Rows(("a", "b"), {"nll": np.array([0.1, 0.5])})
    >>> unseen = Rows(("c", "d"), {"nll": np.array([0.4, 0.9])})
    >>> TprAtFpr().reduce(Sight(forget, unseen)).value
    0.5
    """

    class Config(Settings):
        """signal: one of `mmunlearn.signals.SIGNALS`. fpr: largest false-positive rate, a fraction."""

        signal: str = "loss"
        fpr: float = Field(0.01, ge=0, le=1)

    better = "lower"
    needs_against = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """Value with Wilson's interval; NaN where one of the sides is empty."""
        members, others, unscored = two_samples(sight, self.config.signal)
        if not len(members) or not len(others):
            return NOTHING._replace(unscored=unscored)
        found = roc.tpr_at_fpr(members, others, self.config.fpr)
        return Value(found.value, len(members) + len(others), found.stderr, unscored, found.low, found.high)
