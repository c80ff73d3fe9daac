"""Forgetting score of MUFAC and MUCAC: how far the membership attack is from guessing."""

from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.metrics.mia import Mia


class ForgettingScore(Metric):
    """|a - 0.5| with a the accuracy of the attack `mia` (vision sheet 1.4); the papers' tables call it MIA.

    Differs from what one may expect: it has no direction (a = 0.3, over-forgetting, scores as a = 0.7), and a retrained
    model's own score is not 0 (MUFAC: 0.0385 to 0.0445).

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> def rows(name, loss): return Rows(tuple(f"{name}{i:02d}" for i in range(20)), {"nll": np.full(20, loss)})
    >>> ForgettingScore().reduce(Sight(rows("f", 0.1), rows("u", 3.0))).value
    0.5
    """

    better = "lower"
    columns = ("nll",)
    needs_against = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """|mia - 0.5|, NaN where mia is."""
        attack = Mia().reduce(sight)
        return attack._replace(value=abs(attack.value - 0.5))
