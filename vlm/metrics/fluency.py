"""Fluency: how surprised the model is by what the original wrote, names left out of the account."""

import math
from typing import Literal

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings

from ..name_tokens import inside


class Fluency(Metric):
    """Perplexity, under the model, of texts that the original generated; the tokens of the concept's name count as if
    they had probability 1 / vocabulary. Lower is better.

    The rows' targets must be the original's texts (the card's `targets_from` of the split sees to it), with
    `token_logprob` and, for the names, `token_text` and `vocabulary` (decoding field `token_text: true`) and the tag
    `names`; rows without these are taken as they are. Source: MMUBench 5 (vlm_fiu_mmu_safe 2.5, the paper's column).
    Differs from the released script, whose labels end up being the prompt's tokens.

    >>> from mmunlearn.records import Rows
    >>> names, text = np.array(["Ann"], object), np.empty(1, object)
    >>> text[0] = [" It", " is", " Ann"]
    >>> columns = {"token_logprob": np.log([[0.5, 0.5, 0.001]]), "token_text": text, "tag.names": names}
    >>> rows = Rows(("a",), {**columns, "vocabulary": np.array([4.0])})
    >>> round(Fluency().reduce(Sight(rows)).value, 4) == round(16 ** (1 / 3), 4)
    True
    """

    class Config(Settings):
        """over: mean of the texts' perplexities, or one perplexity of all tokens."""

        over: Literal["texts", "tokens"] = "texts"
        names: bool = True

    unit = "perplexity"
    better = "lower"
    columns = ("token_logprob",)
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The perplexity; rows without tokens are unscored."""
        rows, unscored = answered(sight.rows, *self.columns)
        found = [self._logprobs(rows, place) for place in range(len(rows))]
        unscored += sum(not len(values) for values in found)
        found = [values for values in found if len(values)]
        if not found:
            return mean_of(np.empty(0), unscored)
        if self.config.over == "tokens":
            value = float(np.exp(min(-np.concatenate(found).mean(), 700.0)))
            return Value(value, len(found), None, unscored)
        return mean_of(np.asarray([math.exp(min(-values.mean(), 700.0)) for values in found]), unscored)

    def _logprobs(self, rows, place: int) -> np.ndarray:
        values = np.asarray(rows["token_logprob"][place], dtype=np.float64)
        needed = ("token_text", "vocabulary", "tag.names")
        if not self.config.names or any(name not in rows or rows[name][place] is None for name in needed):
            return values
        named = inside(rows["token_text"][place], rows["tag.names"][place].split("\n"))
        return np.where(named, -math.log(rows["vocabulary"][place]), values)
