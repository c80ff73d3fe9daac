"""ROUGE-L between answer and target."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.metrics._text import Cut, answered, mean_of, picked, shortened
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings


class RougeL(Metric):
    """Mean over rows of ROUGE-L of `text` with `target` as reference (Lin 2004; package rouge-score).

    Recall with Porter's stemmer is what FIUBench reports. `cut: reference` keeps the answer's first sentence only, as
    its code does: an answer without a full stop counts as empty, and one with an abbreviation is cut there.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"text": np.array(["She lives in Oslo"], object), "target": np.array(["Oslo"], object)})
    >>> RougeL().reduce(Sight(rows)).value, round(RougeL({"part": "precision"}).reduce(Sight(rows)).value, 2)
    (1.0, 0.25)
    """

    class Config(Settings):
        """part: recall, precision or F1. stemmer: compare word stems. cut: how much of the answer counts. where: tags
        that a row must have. exact: the share of rows whose score is 1 instead (MedForget's accuracy)."""

        part: Literal["recall", "precision", "f1"] = "recall"
        stemmer: bool = True
        cut: Cut = "none"
        where: dict[str, str] = Field(default_factory=dict)
        exact: bool = False

    better = "higher"
    columns = ("text", "target")
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(picked(sight.rows, self.config.where), *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        score = scorer(self.config.stemmer)
        field = {"recall": "recall", "precision": "precision", "f1": "fmeasure"}[self.config.part]
        pairs = zip(rows["target"], rows["text"], strict=True)
        values = [getattr(score(target, shortened(text, self.config.cut)), field) for target, text in pairs]
        each = np.asarray(values)
        return mean_of((each == 1.0).astype(np.float64) if self.config.exact else each, unscored)


def scorer(stemmer: bool) -> Any:
    """A function of (reference, candidate) that gives precision, recall and fmeasure of ROUGE-L."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as missing:
        raise UserError(
            "metric rouge_l: the package rouge-score is not installed.\n"
            "Install it: pip install rouge-score (or: pip install 'mmunlearn[vlm]')"
        ) from missing
    made = RougeScorer(["rougeL"], use_stemmer=stemmer)
    return lambda reference, candidate: made.score(reference, candidate)["rougeL"]
