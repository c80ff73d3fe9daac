"""Zero-retrain forgetting score (Bad Teacher): closeness to a teacher that knows nothing."""

from typing import Literal

import numpy as np

from mmunlearn import divergence
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.settings import Settings
from mmunlearn.signals import probabilities


class Zrf(Metric):
    """1 - mean JS divergence (in units of ln 2) between the outputs and an incompetent teacher's; 1 = knows as little.

    The teacher's logits are the column `incompetent_logits` (a randomly initialised model's answers) where rows carry
    it, else every output is equally likely, which such a model's answers are close to. Differs from the paper:
    `form: reference` averages KL over all n·K elements and swaps its arguments, so that it is always near 1.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(("a",), {"logits": np.array([[[0.0, 0.0]]]), "target": np.array([[0]])})
    >>> Zrf().reduce(Sight(rows)).value
    1.0
    """

    class Config(Settings):
        """form: "js", or "reference" as the published code has it."""

        form: Literal["js", "reference"] = "js"

    better = "higher"
    columns = ("logits", "target")
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """Mean over examples (and items)."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        p = probabilities(rows)
        if "incompetent_logits" in rows:
            q = probabilities(rows.with_column("logits", rows["incompetent_logits"]))
        else:
            q = np.full_like(p, 1 / p.shape[-1])
        return Value(zrf(p, q, self.config.form), len(p), None, unscored)


def zrf(p: np.ndarray, teacher: np.ndarray, form: str = "js") -> float:
    """ZRF of outputs (n, item, classes) against the teacher's."""
    if form == "reference":
        return 1 - float(divergence.swapped_js(p, teacher).mean() / p.shape[-1])
    return 1 - float(divergence.js(p, teacher).mean() / np.log(2))
