"""No-op detector: did the method change anything?"""

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, scored
from mmunlearn.records import Rows
from mmunlearn.settings import Settings
from mmunlearn.signals import answers, probabilities


class Noop(Metric):
    """1 where the unlearned model answers as the original did, else 0.

    A no-op is: no logit moved by more than `logit_tolerance` standard deviations of the original's logits; or hardly
    any prediction changed (`changed_share`) and probabilities moved by less than `probability_shift` on average.

    >>> same = Rows(("a",), {"logits": np.array([[[1.0, 0.0]]]), "target": np.array([[0]])})
    >>> Noop().reduce(Sight(same, original=same)).value
    1.0
    """

    class Config(Settings):
        """Limits of a no-op, and which number to report: the flag or one of the figures behind it."""

        logit_tolerance: float = Field(1e-4, ge=0)
        changed_share: float = Field(0.002, ge=0, le=1)
        probability_shift: float = Field(0.005, ge=0, le=1)
        report: Literal["flag", "max_logit_change", "changed_share", "probability_shift"] = "flag"

    unit = "flag"
    better = "lower"
    columns = ("logits", "target")
    needs_original = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """The flag (or figure) over rows that both models answered."""
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows) or sight.original is None:
            return NOTHING._replace(unscored=unscored)
        mine, before = aligned(rows, scored(sight.original, *self.columns)[0])
        if not len(mine):
            return NOTHING._replace(unscored=unscored)
        c, found = self.config, change(mine, before)
        if c.report != "flag":
            return Value(getattr(found, c.report), len(mine), None, unscored)
        still = found.max_logit_change <= c.logit_tolerance * found.logit_scale
        alike = found.changed_share <= c.changed_share and found.probability_shift <= c.probability_shift
        return Value(float(still or alike), len(mine), None, unscored)


class Change(NamedTuple):
    """How much the answers moved.

    max_logit_change: largest |difference| of a logit. logit_scale: standard deviation of the original's logits.
    changed_share: share of items whose prediction changed. probability_shift: mean |difference| of probabilities,
    summed over classes and halved (total variation).
    """

    max_logit_change: float
    logit_scale: float
    changed_share: float
    probability_shift: float


def change(rows: Rows, original: Rows) -> Change:
    """Differences of two models' answers to the same examples in the same order."""
    after, before = answers(rows), answers(original)
    items = after.mask & before.mask
    moved = np.abs(after.logits - before.logits).max(-1)[items]
    flipped = (after.logits.argmax(-1) != before.logits.argmax(-1))[items]
    shift = np.abs(probabilities(rows) - probabilities(original)).sum(-1)[items] / 2
    scale = float(before.logits[items].std())
    return Change(float(moved.max(initial=0.0)), scale, float(flipped.mean()), float(shift.mean()))
