"""Generality: how often a model does not say what it was to forget (MMUBench's exact match)."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings

from ._names import Match, chosen, says_any


class Generality(Metric):
    """Share of answers that hold none of the row's target words: the name in answer to a masked-name question, "yes" in
    answer to whether the concept is there. Higher is better forgetting; it cannot tell forgetting from a model that
    talks nonsense, so read it beside specificity and `degenerate`.

    Source: MMUBench 5 and evalaccurcy.py (vlm_fiu_mmu_safe 2.5). `match: word` compares words; `substring` is the
    released rule, where "yes" is found in "eyes" and a target with a blank in front misses an answer's first word
    (released targets, tag `raw_target`, are used where a row has them).

    >>> from mmunlearn.records import Rows
    >>> text = np.array(["Blue eyes.", "Yes, it is.", "A man."], object)
    >>> sight = Sight(Rows(("a", "b", "c"), {"text": text, "tag.keywords": np.array(["yes"] * 3, object)}))
    >>> [round(Generality({"match": match}).reduce(sight).value, 3) for match in ("word", "substring")]
    [0.667, 0.333]
    """

    class Config(Settings):
        """match: see above. kinds: only rows of these kinds (tag `kind`; rows without the tag all count)."""

        match: Match = "word"
        kinds: tuple[str, ...] = ("name", "presence", "language")

    better = "higher"
    columns = ("text", "tag.keywords")
    measures = "forgetting"
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The share with its standard error; rows without an answer or without target words are unscored."""
        rows, unscored = answered(chosen(sight.rows, self.config.kinds), *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        targets = rows["tag.keywords"]
        if self.config.match == "substring" and "tag.raw_target" in rows:
            raw = rows["tag.raw_target"]
            missing = [float(wanted not in text.lower()) for text, wanted in zip(rows["text"], raw, strict=True)]
            return mean_of(np.asarray(missing), unscored)
        values = [
            float(not says_any(text, target, self.config.match)) if target.strip() else np.nan
            for text, target in zip(rows["text"], targets, strict=True)
        ]
        return mean_of(np.asarray(values), unscored)
