"""Answer match: whether a reply holds the answer, read tolerantly (the letter of an option, or the words of it)."""

import numpy as np
from pydantic import Field

from mmunlearn.judges._words import lines, phrase_pattern
from mmunlearn.judges._words import normal as plain
from mmunlearn.judges.choice_letter import named
from mmunlearn.metrics._text import answered, mean_of, picked
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings


class AnswerMatch(Metric):
    """Share of rows whose reply names the right option (rows with a tag `options`: by letter or in full, "A)" and "The
    answer is A" count), or holds the answer as whole words in any case (all others).

    Source: ours, beside MedForget's own accuracy (ROUGE-L of exactly 1: `{name: rouge_l, part: f1, exact: true}`), in
    which "A" and "A) normal" differ.

    >>> from mmunlearn.records import Rows
    >>> columns = {"text": np.array(["It is a Cyst."], object), "target": np.array(["cyst"], object)}
    >>> AnswerMatch().reduce(Sight(Rows(("1",), columns))).value
    1.0
    """

    class Config(Settings):
        """where: tags that a row must have."""

        where: dict[str, str] = Field(default_factory=dict)

    better = "higher"
    columns = ("text", "target")
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(picked(sight.rows, self.config.where), *self.columns)
        told = rows["tag.options"] if "tag.options" in rows else [None] * len(rows)
        pairs = zip(rows["target"], rows["text"], told, strict=True) if len(rows) else ()
        return mean_of(np.asarray([matches(*row) for row in pairs], dtype=np.float64), unscored)


def matches(target: str, text: str, told: object) -> float:
    """One row's value; told: the options, one a line."""
    options = lines(told) if isinstance(told, str) else []
    if options:
        return float(named(text, options) == named(target, options) is not None)
    return float(phrase_pattern(target.strip(" .")).search(plain(text)) is not None)
