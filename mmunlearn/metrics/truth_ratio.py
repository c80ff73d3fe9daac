"""Truth ratio: how much likelier than untrue answers the model finds the true one."""

from typing import Literal

import numpy as np

from mmunlearn.metrics._text import DivideBy, answered, choice_columns, choice_losses, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.records import Rows
from mmunlearn.settings import Settings


class TruthRatio(Metric):
    """Mean over rows of a form of R = exp(mean of the losses of choices 1, 2, … - loss of choice 0).

    Choice 0 is the paraphrased true answer, the others are untrue; losses are per token, all under the question itself
    (TOFU; vlm_fiu_mmu_safe.md 1.5). `retain`: max(0, 1 - 1/R), 1 when the model is sure of the truth. `forget`:
    min(R, 1/R), 1 when it cannot tell truth from untruth. `raw`: R, whose mean a few rows can rule.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"choices_nll": np.array([[0.0, 0.0]]), "choices_count": np.array([[3, 4]])})
    >>> TruthRatio().reduce(Sight(rows)).value, TruthRatio({"form": "forget"}).reduce(Sight(rows)).value
    (0.0, 1.0)
    """

    class Config(Settings):
        """form: which function of R. divide_by: the mean over supervised tokens, or (`labels`, FIUBench's code) the sum
        without the first label over the number of labels."""

        form: Literal["retain", "forget", "raw"] = "retain"
        divide_by: DivideBy = "tokens"

    better = "higher"
    reads = "text"

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The choices' columns."""
        return choice_columns(self.config.divide_by)

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error; rows with fewer than two choices are unscored."""
        ratios, unscored = truth_ratios(sight.rows, self.config.divide_by)
        with np.errstate(over="ignore"):
            form = {
                "retain": np.maximum(0.0, 1 - 1 / ratios), "forget": np.minimum(ratios, 1 / ratios), "raw": ratios,
            }[self.config.form]  # fmt: skip
        return mean_of(form, unscored)


def truth_ratios(rows: Rows, divide_by: DivideBy = "tokens") -> tuple[np.ndarray, int]:
    """R of every row that has two or more scored choices, in the order of ids, and how many rows were left out."""
    kept, unscored = answered(rows, *choice_columns(divide_by))
    losses = choice_losses(kept.sorted(), divide_by) if len(kept) else []
    enough = [one for one in losses if one.ndim == 1 and len(one) > 1]
    # Beyond e^±60 a ratio says no more, and its inverse stays a number.
    ratios = [np.exp(np.clip(one[1:].mean() - one[0], -60.0, 60.0)) for one in enough]
    return np.asarray(ratios), unscored + len(losses) - len(enough)
