"""Number of answers with a certain verdict, the ones that the judge could not read included."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class VerdictCount(Metric):
    """How many rows carry `label`; with label "unparsed" those whose verdict could not be read, with "error" those that
    the judge never answered (told apart by the verdict's explanation).

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a", "b"), {"label": np.array(["unsafe", "safe"], object), "value": np.array([1.0, 0.0])})
    >>> VerdictCount({"label": "unsafe"}).reduce(Sight(rows)).value
    1.0
    """

    class Config(Settings):
        """label: what is counted."""

        label: str = "unparsed"

    unit = "count"
    better = "lower"
    columns = ("label",)
    known_failures = {
        "rows without a number give NaN with n = 0": "rows without a verdict are what it may count",
        "the value moves in the declared direction": "a count of unread verdicts says nothing about the model",
    }

    def reduce(self, sight: Sight) -> Value:
        """The count; NaN where there are no rows."""
        rows = sight.rows
        if not len(rows) or "label" not in rows:
            return NOTHING._replace(unscored=len(rows))
        labels = rows["label"]
        if self.config.label in ("unparsed", "error"):
            why = rows["explanation"] if "explanation" in rows else np.full(len(rows), "", dtype=object)
            unread = np.array([label is None or label != label for label in labels])  # NaN
            read = np.array([str(text) in READ for text in why])
            return Value(float((unread & (read if self.config.label == "unparsed" else ~read)).sum()), len(rows))
        return Value(float((labels == self.config.label).sum()), len(rows))


READ = ("", "None", "not understood", "no text")
