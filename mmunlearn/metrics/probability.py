"""Probability of the true answer, a token."""

from typing import Literal

import numpy as np

from mmunlearn.metrics._text import DivideBy, answered, choice_columns, choice_losses, mean_of
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.settings import Settings


class Probability(Metric):
    """Mean over rows of exp(-loss a token) of the target; `among: choices` divides by the sum of it and of the untrue
    choices' (choice 0, the paraphrased truth, is not among them). TOFU; vlm_fiu_mmu_safe.md 1.5.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"nll": np.log([4.0]), "count": np.array([2])})
    >>> round(Probability().reduce(Sight(rows)).value, 6)
    0.5
    """

    class Config(Settings):
        """among: the bare probability, or its share among the untrue choices. divide_by: as in `truth_ratio`."""

        among: Literal["all", "choices"] = "all"
        divide_by: DivideBy = "tokens"

    better = "higher"
    reads = "text"

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The target's columns, and the choices' where they are asked for."""
        own = ("nll", "count") if self.config.divide_by == "tokens" else ("nll", "count", "token_logprob")
        return own if self.config.among == "all" else (*own, *choice_columns(self.config.divide_by))

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        if not len(rows):
            return mean_of(np.empty(0), unscored)
        nll = rows["nll"]
        if self.config.divide_by == "labels":
            nll = nll + np.asarray([values[0] for values in rows["token_logprob"]])
        own = np.exp(-nll / np.maximum(rows["count"], 1))
        if self.config.among == "choices":
            untrue = [np.exp(-losses[1:]).sum() for losses in choice_losses(rows, self.config.divide_by)]
            own = own / (own + np.asarray(untrue))
        return mean_of(own, unscored)
