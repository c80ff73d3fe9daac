"""Retrain-free JS divergence (LoTUS): outputs on forget data against the original model's on unseen data, by class."""

from typing import Literal

import numpy as np

from mmunlearn import divergence
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.records import Rows
from mmunlearn.settings import Settings
from mmunlearn.signals import probabilities


class RfJs(Metric):
    """Per class: JS divergence of the unlearned model's mean output on forget rows and the original's mean output on
    `against` (test) rows, nats; averaged over the classes that occur in both. Classes only; needs no retrained model.

    Differs from the paper: `form: lotus` swaps the arguments of KL and divides by the number of classes twice, as the
    published code does.

    >>> def rows(*z): return Rows(("a",), {"logits": np.array([[z]]), "target": np.array([[0]])})
    >>> sight = Sight(rows(0.0, 99.0), against=rows(0.0, 0.0), original_against=rows(99.0, 0.0))
    >>> round(RfJs().reduce(sight).value, 4)
    0.6931
    """

    class Config(Settings):
        """form: "mean" over classes, or "lotus" as its code has it."""

        form: Literal["mean", "lotus"] = "mean"

    unit = "nats"
    better = "lower"
    columns = ("logits", "target")
    needs_against = True
    needs_original = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """NaN where no class occurs on both sides."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows) or sight.original_against is None:
            return NOTHING._replace(unscored=unscored)
        unlearned = _class_means(rows)
        original = _class_means(scored(sight.original_against, *self.columns)[0])
        shared = sorted(unlearned.keys() & original.keys())
        if not shared:
            return NOTHING._replace(unscored=unscored)
        p, q = np.stack([unlearned[c] for c in shared]), np.stack([original[c] for c in shared])
        if self.config.form == "lotus":
            value = float(divergence.swapped_js(p, q).sum() / len(shared) ** 2)
            return Value(round(value, 6), len(rows), None, unscored)
        return Value(float(divergence.js(p, q).mean()), len(rows), None, unscored)


def _class_means(rows: Rows) -> dict[int, np.ndarray]:
    """Mean output distribution of each target class, clamped and normalised."""
    if not len(rows):
        return {}
    target, p = rows["target"][:, 0].astype(np.int64), probabilities(rows)[:, 0]
    means = {int(c): np.maximum(p[target == c].mean(0), divergence.FLOOR) for c in np.unique(target)}
    return {c: mean / mean.sum() for c, mean in means.items()}
