"""Collapse detector: does the model still answer more than one thing?"""

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.records import Rows
from mmunlearn.settings import Settings
from mmunlearn.signals import answers


class Collapse(Metric):
    """1 where the model gives (nearly) always the same answer although the targets differ, else 0.

    Flag: at least `share` of the predictions are one class, the targets' largest class is smaller than that by
    `margin`, and accuracy is within `near` of what always answering so would score. Label vectors: every label whose
    targets differ must have collapsed.

    >>> logits, target = np.array([[[1.0, 0.0]]] * 4), np.array([[0], [1], [0], [1]])
    >>> Collapse().reduce(Sight(Rows(tuple("abcd"), {"logits": logits, "target": target}))).value
    1.0
    """

    class Config(Settings):
        """Limits of a collapse, and which number to report: the flag or one of the figures behind it."""

        share: float = Field(0.95, ge=0, le=1)
        margin: float = Field(0.1, ge=0, le=1)
        near: float = Field(0.05, ge=0, le=1)
        report: Literal["flag", "majority_share", "entropy_nats"] = "flag"

    unit = "flag"
    better = "lower"
    columns = ("logits", "target")

    def reduce(self, sight: Sight) -> Value:
        """The flag (or figure, the mean over labels)."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows):
            return NOTHING._replace(unscored=unscored)
        c, items = self.config, spread(rows)
        if c.report != "flag":
            return Value(float(np.mean([getattr(item, c.report) for item in items])), len(rows), None, unscored)
        able = [item for item in items if item.target_share <= 1 - c.margin]
        flat = [
            item.majority_share >= c.share
            and item.majority_share - item.target_share >= c.margin
            and abs(item.accuracy - item.constant_accuracy) <= c.near
            for item in able
        ]
        return Value(float(bool(flat) and all(flat)), len(rows), None, unscored)


class Spread(NamedTuple):
    """Predictions of one item (the class, or one label): share of the commonest answer, entropy of the answers in nats,
    accuracy, accuracy of always giving that answer, share of the commonest target."""

    majority_share: float
    entropy_nats: float
    accuracy: float
    constant_accuracy: float
    target_share: float


def spread(rows: Rows) -> list[Spread]:
    """One `Spread` an item."""
    a, found = answers(rows), []
    for item in range(a.target.shape[1]):
        target, predicted = a.target[a.mask[:, item], item], a.logits[a.mask[:, item], item].argmax(-1)
        if not len(target):
            continue
        share = np.bincount(predicted) / len(predicted)
        entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum())
        found.append(
            Spread(
                float(share.max()), entropy, float((predicted == target).mean()),
                float((target == share.argmax()).mean()), float(np.bincount(target).max() / len(target)),
            )
        )  # fmt: skip
    return found
