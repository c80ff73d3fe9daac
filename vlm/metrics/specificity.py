"""Specificity: what the model still answers rightly about everything else, as the mean over benchmarks."""

import numpy as np

from mmunlearn.metrics._text import answered, mean_of
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings

from ._names import Match, says_any


class Specificity(Metric):
    """Mean over sources (tag `source`: a benchmark or a kind of question) of the share of answers that hold a keyword.

    Rows without the tag are one source. Source of the definition: MMUBench 5, the mean of eight benchmarks' scores
    (vlm_fiu_mmu_safe 2.5). Differs from the paper: short-answer questions are scored by keyword, and the benchmarks
    are those that the data brings (vqa.jsonl) beside questions on the other concepts.

    >>> from mmunlearn.records import Rows
    >>> columns = {"text": ["red", "cat", "blue"], "tag.keywords": ["red", "dog", "blue"], "tag.source": list("xyx")}
    >>> rows = Rows(("a", "b", "c"), {name: np.array(values, object) for name, values in columns.items()})
    >>> Specificity().reduce(Sight(rows)).value
    0.5
    """

    class Config(Settings):
        """match: whole words, or any substring. sources, kinds: only rows of these (tags `source` and `kind`); empty:
        all."""

        match: Match = "word"
        sources: tuple[str, ...] = ()
        kinds: tuple[str, ...] = ()

    better = "higher"
    columns = ("text", "tag.keywords")
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean of the sources' means; its standard error takes rows of a source as independent."""
        rows, unscored = answered(sight.rows, *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        names, kinds = (rows[tag] if tag in rows else [""] * len(rows) for tag in ("tag.source", "tag.kind"))
        groups: dict[str, list[float]] = {}
        for source, kind, text, words in zip(names, kinds, rows["text"], rows["tag.keywords"], strict=True):
            if self.config.kinds and kind not in self.config.kinds:
                continue
            source = source if isinstance(source, str) else ""
            if not words.strip():
                unscored += 1
            elif not self.config.sources or source in self.config.sources:
                groups.setdefault(source, []).append(float(says_any(text, words, self.config.match)))
        if not groups:
            return NOTHING._replace(unscored=unscored)
        parts = [mean_of(np.asarray(values)) for _, values in sorted(groups.items())]
        errors = [part.stderr for part in parts]
        stderr = None
        if all(error is not None for error in errors):
            stderr = float(np.sqrt(sum(error**2 for error in errors if error is not None)) / len(parts))
        value = float(np.mean([part.value for part in parts]))
        return Value(value, sum(part.n for part in parts), stderr, unscored)
