"""Delta accuracy: how much accuracy a single edit costs on questions that it was not meant for."""

import numpy as np

from mmunlearn.metrics._text import answered
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, mean_of
from mmunlearn.settings import Settings

from ._by_record import means, records


class DeltaAccuracy(Metric):
    """Mean over edits of accuracy before minus accuracy after; positive = damage. Standard error over edits.

    An answer is right when the target is a substring of it, both in lower case and stripped. Source:
    vlm_unlok_offside_med 1.9 (random, neighbourhood and image-neighbourhood delta accuracy, by the split). Differs from
    the reference: which retain questions an edit gets is drawn for that edit (its reseeding draws the same ten for
    all), and answers are greedy on neighbour images too (sampled there, unseeded).

    >>> from mmunlearn.records import Rows
    >>> def rows(*texts):
    ...     columns = {"text": texts, "target": ("Oslo", "Rome"), "tag.record": ("1", "1")}
    ...     return Rows(("a", "b"), {name: np.asarray(values, dtype=object) for name, values in columns.items()})
    >>> DeltaAccuracy().reduce(Sight(rows("Oslo", "no"), original=rows("oslo.", "Rome")))[:2]
    (0.5, 1)
    """

    class Config(Settings):
        """accuracy: False gives the difference; True the accuracy after the edit itself."""

        accuracy: bool = False

    better = "lower"
    columns = ("text", "target")
    reads = "text"
    needs_original = True

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        if sight.original is None or not len(rows):
            return NOTHING._replace(unscored=unscored)
        now, before = aligned(rows, answered(sight.original, *self.columns)[0])
        if not len(now):
            return NOTHING._replace(unscored=unscored)
        lost = right(now) if self.config.accuracy else right(before) - right(now)
        return mean_of(means(lost, records(now)), unscored)


def right(rows) -> np.ndarray:
    """1 where the stripped, lower-case target is a substring of the stripped, lower-case answer."""
    pairs = zip(rows["text"], rows["target"], strict=True)
    return np.asarray([float(str(t).strip().lower() in str(a).strip().lower()) for a, t in pairs])
