"""Diversity as the paper words it: how many different words all answers together hold."""

from mmunlearn.judges._words import words
from mmunlearn.metrics._text import answered
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value


class UniqueWords(Metric):
    """Number of different words in all answers, whatever their case, without punctuation (MMUBench 5). It grows with
    the number of answers, so only runs on the same questions compare.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a", "b"), {"text": np.array(["A red cat.", "a cat"], object)})
    >>> UniqueWords().reduce(Sight(rows)).value
    3.0
    """

    unit = "words"
    better = "higher"
    columns = ("text",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The number; n is the number of answers."""
        rows, unscored = answered(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        return Value(float(len({word for text in rows["text"] for word in words(text)})), len(rows), None, unscored)
