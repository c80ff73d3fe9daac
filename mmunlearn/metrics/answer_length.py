"""Length of the answers in words."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value


class AnswerLength(Metric):
    """Mean number of words of an answer; compare with the retrained model's, since collapse and refusal change it.

    >>> from mmunlearn.records import Rows
    >>> AnswerLength().reduce(Sight(Rows(("a",), {"text": np.array(["She lives in Oslo."], object)}))).value
    4.0
    """

    unit = "words"
    better = "closer"
    columns = ("text",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        lengths = [len(text.split()) for text in rows["text"]] if len(rows) else []
        return mean_of(np.asarray(lengths, dtype=np.float64), unscored)
