"""Text overlap: BLEU, ROUGE-1, ROUGE-2 and ROUGE-L of answer and target, or their mean (OFFSIDE's overall score)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from mmunlearn.errors import UserError
from mmunlearn.metrics._bleu import bleu, words
from mmunlearn.metrics._text import answered, mean_of, picked
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings

ROUGES = ("rouge1", "rouge2", "rougeL")


class TextOverlap(Metric):
    """Mean over rows of `score`: `overall = (BLEU + ROUGE-1 + ROUGE-2 + ROUGE-L) / 4`, or one of the four.

    BLEU: see _bleu (method 1 smoothing, lower case). ROUGE: F1 with Porter's stemmer (package rouge-score). Source:
    zh121800/OFFSIDE eval_generation.py at 91884c7. An exact answer of fewer than four words scores less than 1 ("Yes"
    for "Yes" is .544 overall), so figures are compared with the original's, not with 1. Differs from the reference: an
    empty answer scores 0; `empty: drop` leaves it out of the mean as released, where a collapsed model is judged by the
    rare answers that it gives.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"text": np.array(["Yes"], object), "target": np.array(["Yes"], object)})
    >>> round(TextOverlap().reduce(Sight(rows)).value, 3)
    0.544
    """

    class Config(Settings):
        """score: which. empty: what an answer without a word counts. where: tags that a row must have."""

        score: Literal["overall", "bleu", "rouge1", "rouge2", "rougeL"] = "overall"
        empty: Literal["zero", "drop"] = "zero"
        where: dict[str, str] = Field(default_factory=dict)

    better = "higher"
    columns = ("text", "target")
    reads = "text"

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(picked(sight.rows, self.config.where), *self.columns)
        rouge = None if self.config.score == "bleu" else rouges()
        values = []
        for target, text in zip(rows["target"], rows["text"], strict=True) if len(rows) else ():
            if not text.strip():
                values.append(0.0 if self.config.empty == "zero" else np.nan)
            else:
                values.append(overlap(self.config.score, target, text, rouge))
        return mean_of(np.asarray(values, dtype=np.float64), unscored)


def overlap(score: str, target: str, text: str, rouge: Any) -> float:
    """One row's score; `rouge`: what `rouges` gives (None where BLEU alone is asked for)."""
    if score == "bleu":
        return bleu(words(target), words(text))
    found: Mapping[str, Any] = rouge(target, text)
    if score != "overall":
        return found[score].fmeasure
    return (bleu(words(target), words(text)) + sum(found[name].fmeasure for name in ROUGES)) / 4


def rouges() -> Any:
    """A function of (reference, candidate) that gives precision, recall and fmeasure of the three ROUGEs."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as missing:
        raise UserError(
            "metric text_overlap: the package rouge-score is not installed.\n"
            "Install it: pip install rouge-score (or: pip install 'mmunlearn[vlm]')"
        ) from missing
    return RougeScorer(list(ROUGES), use_stemmer=True).score
