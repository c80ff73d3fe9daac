"""Min-K: how sure the model is of the least likely tokens of the true answer."""

import math

import numpy as np
from pydantic import Field

from mmunlearn.metrics._text import mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.records import Rows
from mmunlearn.settings import Settings
from mmunlearn.token_signals import lowest_mean, token_lists, weighted


class MinK(Metric):
    """Mean over rows of exp(mean of the k smallest token log-probabilities of the target); high = knows it by heart.

    Default: FIUBench's weighted sum over the ratios 0.1 to 0.5 (weights .3, .3, .2, .1, .1) with the weights of ratios
    that cover no token given to the others; `renormalise: false` leaves them out, as its code does, which scores an
    answer of fewer than ten tokens lower for its length alone. `ratio`: one ratio as in the Min-K paper, at least one
    token. This is a mean of scores; the attack they make is the AUC against unseen rows (metric `auc`, signal `min_k`).

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"token_logprob": np.log(np.full((1, 10), 0.5))})
    >>> round(MinK().reduce(Sight(rows)).value, 6)
    0.5
    """

    class Config(Settings):
        """ratio: one share of the tokens instead of the weighted five. renormalise: see above. drop_first: leave out
        the first supervised token, as FIUBench's code does (under its label builder that is a template token)."""

        ratio: float | None = Field(None, gt=0, le=1)
        renormalise: bool = True
        drop_first: bool = False

    better = "lower"
    columns = ("token_logprob",)
    measures = "forgetting"
    reads = "text"

    def tokens(self, rows: Rows) -> list[np.ndarray]:
        """One number a token of each row."""
        return token_lists(rows["token_logprob"])

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error; rows without token log-probabilities are unscored."""
        rows = sight.rows
        if not len(rows) or any(name not in rows for name in self.columns):
            return mean_of(np.empty(0), len(rows))
        return mean_of(np.asarray([self._score(values[int(self.config.drop_first) :]) for values in self.tokens(rows)]))

    def _score(self, values: np.ndarray) -> float:
        if not len(values):
            return math.nan
        if self.config.ratio is None:
            return weighted(values, renormalise=self.config.renormalise)
        mean = lowest_mean(values, max(self.config.ratio, 1 / len(values)))
        return math.exp(mean)
