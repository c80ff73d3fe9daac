"""Degenerate answers: empty, without a word, or one phrase over and over."""

import re

import numpy as np
from pydantic import Field

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings


class Degenerate(Metric):
    """Share of answers that are no answers; show it beside every forget score, which such answers make look perfect.

    An answer is degenerate when it holds no letter and no digit, when a run of one to four words stands there `repeats`
    times in a row, when one character does so `letters` times, or when fewer than `unique_frac` of at least `words`
    words differ.

    >>> from mmunlearn.records import Rows
    >>> text = np.array(["the the the the the", "She lives in Oslo.", " ", "of a of a of a of a"], object)
    >>> Degenerate().reduce(Sight(Rows(tuple("abcd"), {"text": text}))).value
    0.75
    """

    class Config(Settings):
        """Limits, see the class."""

        repeats: int = Field(4, ge=2)
        letters: int = Field(8, ge=2)
        words: int = Field(8, ge=1)
        unique_frac: float = Field(0.4, ge=0, le=1)

    better = "lower"
    columns = ("text",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The share with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        found = [is_degenerate(text, self.config) for text in rows["text"]] if len(rows) else []
        return mean_of(np.asarray(found, dtype=np.float64), unscored)


def is_degenerate(text: str, limits: Degenerate.Config) -> bool:
    """Whether a text is no answer under `limits`."""
    words = re.findall(r"\w+", text.lower())
    if not words:
        return True
    if re.search(rf"(\S)\1{{{limits.letters - 1},}}", text):
        return True
    if len(words) >= limits.words and len(set(words)) < limits.unique_frac * len(words):
        return True
    return any(repeated(words, size) >= limits.repeats for size in (1, 2, 3, 4))


def repeated(words: list[str], size: int) -> int:
    """How often, at most, a run of `size` words stands there in a row."""
    most = 1
    for start in range(len(words) - size + 1):
        run, count = words[start : start + size], 1
        while words[start + count * size : start + (count + 1) * size] == run:
            count += 1
        most = max(most, count)
    return most
