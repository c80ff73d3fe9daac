"""Jensen-Shannon divergence between the outputs of the unlearned and of the retrained model."""

from typing import Literal

from mmunlearn import divergence
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, beside_reference, mean_of
from mmunlearn.settings import Settings
from mmunlearn.signals import probabilities


class JsDivergence(Metric):
    """Mean over examples of the JS divergence of outputs, nats (0 … ln 2); labels: mean of the binary divergences.

    Differs from the paper (LoTUS, "JSD"): its code divides the whole matrix by its total, swaps the arguments of KL and
    so shrinks with the number of rows; `form: lotus` computes that, for comparison with its tables only.

    >>> import numpy as np
    >>> from mmunlearn.records import Rows
    >>> def rows(*z): return Rows(("a",), {"logits": np.array([[z]]), "target": np.array([[0]])})
    >>> round(JsDivergence().reduce(Sight(rows(0.0, 99.0), reference=rows(99.0, 0.0))).value, 4)
    0.6931
    """

    class Config(Settings):
        """form: "mean" over examples, or "lotus" as its code has it."""

        form: Literal["mean", "lotus"] = "mean"

    unit = "nats"
    better = "lower"
    columns = ("logits", "target")
    needs_reference = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """Rows that both models answered; NaN where there is none."""
        mine, gold, unscored = beside_reference(sight, *self.columns)
        if not len(mine):
            return NOTHING._replace(unscored=unscored)
        p, q = probabilities(mine), probabilities(gold)
        if self.config.form == "lotus":
            n = len(mine)
            return Value(divergence.lotus_js(p.reshape(n, -1), q.reshape(n, -1)), n, None, unscored)
        return mean_of(divergence.js(p, q).mean(-1), unscored)
