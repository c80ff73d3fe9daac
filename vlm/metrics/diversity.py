"""Diversity as released: the share of different words in an answer, mean over answers."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value


class Diversity(Metric):
    """Mean over answers of different words / words, words being what stands between blanks (punctuation sticks to
    them). An empty answer counts 0. The paper words it otherwise (see `unique_words`), its published figures are on
    this scale. Source: diversity.py of the SIU upload (vlm_fiu_mmu_safe 2.5).

    >>> from mmunlearn.records import Rows
    >>> text = np.array(["the the the the", "a red cat"], object)
    >>> Diversity().reduce(Sight(Rows(("a", "b"), {"text": text}))).value
    0.625
    """

    better = "higher"
    columns = ("text",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        split = [text.split() for text in rows["text"]]
        return mean_of(np.asarray([len(set(words)) / len(words) if words else 0.0 for words in split]), unscored)
