"""Edit score: how far a single edit has moved the probability of what it aims at, or of what it should leave alone."""

from typing import Literal

import numpy as np

from mmunlearn.metrics._text import answered
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, mean_of
from mmunlearn.records import Rows
from mmunlearn.settings import Settings

from ._by_record import first_of_each

FLOOR = 2e-8  # of the recovered form, as in the reference


class EditScore(Metric):
    """Mean over edits of one of three scores of probabilities p = exp(−NLL), NLL summed over the target's tokens.

    erased: `max(0, (p_pre − p_post) / p_pre)` of the true answer. recovered: `max(2e-8, 1 − (1 − p_post) / (1 −
    p_pre))` of what the edit teaches instead. kept: `1 − |p_post − p_pre| / (|p_pre − 0.5| + 0.5)`. Of each record the
    first prompt counts. Rewrite score: on the fact; paraphrase score: on its rephrasing; neighbourhood score: `kept` on
    a neighbour question. Source: vlm_unlok_offside_med 1.9. Differs from the reference: a target's tokens are scored
    behind the plain prompt (U4: there all but the last stand in the user's turn already), with the end token.

    >>> now, before = (Rows(("a",), {"nll": -np.log(np.array([p]))}) for p in (0.1, 0.8))
    >>> round(EditScore().reduce(Sight(now, original=before)).value, 3)
    0.875
    """

    class Config(Settings):
        """form: auto takes erased or recovered by what the edit aims at (column edit_kind; the choices hold first the
        alternative, then the empty answer)."""

        form: Literal["auto", "erased", "kept"] = "auto"

    better = "higher"
    columns = ("nll",)
    measures = "forgetting"
    reads = "text"
    needs_original = True

    def reduce(self, sight: Sight) -> Value:
        """The mean with its standard error."""
        rows, unscored = answered(sight.rows, *self.columns)
        if sight.original is None or not len(rows):
            return NOTHING._replace(unscored=unscored)
        now, before = aligned(first_of_each(rows), answered(sight.original, *self.columns)[0])
        if not len(now):
            return NOTHING._replace(unscored=unscored)
        kind = str(now["edit_kind"][0]) if "edit_kind" in now and self.config.form == "auto" else "erase"
        post, pre = probability(now, kind), probability(before, kind)
        if self.config.form == "kept":
            return mean_of(kept(pre, post), unscored)
        return mean_of(erased(pre, post) if kind == "erase" else recovered(pre, post), unscored)


def probability(rows: Rows, kind: str) -> np.ndarray:
    """exp(−NLL) of the true answer, or of the alternative or empty answer among the choices."""
    if kind == "erase":
        return np.exp(-rows["nll"].astype(np.float64))
    place = 0 if kind == "alternative" else 1
    return np.asarray([np.exp(-np.asarray(each, dtype=np.float64)[place]) for each in rows["choices_nll"]])


def erased(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """Share of the probability that is gone."""
    return np.maximum(0.0, (pre - post) / np.maximum(pre, 1e-300))


def recovered(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """Share of the way to certainty that was gone."""
    return np.maximum(FLOOR, 1 - (1 - post) / np.maximum(1 - pre, 1e-300))


def kept(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """1 where the probability stays, less the more it moves."""
    return 1 - np.abs(post - pre) / (np.abs(pre - 0.5) + 0.5)
