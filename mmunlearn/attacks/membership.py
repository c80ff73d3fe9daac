"""Membership inference from the answers alone: every signal and the MUFAC attack, from one pass of responses."""

from collections.abc import Mapping

import numpy as np

from mmunlearn.attacks._figures import figures
from mmunlearn.attacks.base import Access, RowsAttack
from mmunlearn.errors import UserError, near_miss
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.forgetting_score import ForgettingScore
from mmunlearn.metrics.mia import Mia
from mmunlearn.records import Rows
from mmunlearn.settings import Settings
from mmunlearn.signals import SIGNALS, signals


class Membership(RowsAttack):
    """One threshold for all examples, on each signal that the rows allow; members in rows, others in against.

    Cells: "<signal>_auc", "<signal>_tpr_at_{0.1,1,10}pct_fpr", "<signal>_balanced_accuracy", and "mia" and
    "forgetting_score" (the MUFAC logistic regression on the loss). Scores are higher for members. Compare each with the
    retrained model's cell: the right target is its value, not 0.5. Population attacks like these understate what an
    attack with one threshold an example finds: see `lira` and `ulira`. `gradient_norm` needs rows with a column
    `grad_norm`, which `mmunlearn attack` adds (a backward pass an example; access to gradients, which it then states).
    """

    class Config(Settings):
        """signals: names of `mmunlearn.signals.SIGNALS`; empty = all that the rows allow."""

        signals: tuple[str, ...] = ()

    access = Access.LOGITS
    paper = "Yeom et al. 2018; Salem et al. 2019; Song and Mittal 2021; TDDBench, ICLR 2025"

    def uses_gradients(self) -> bool:
        """Unless other signals alone are asked for."""
        return not self.config.signals or "gradient_norm" in self.config.signals

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Values with intervals; NaN with n = 0 where one side is empty."""
        wanted = self.config.signals
        for name in wanted:
            if name not in SIGNALS:
                raise UserError(f"attack[membership].signals: {name!r} is no signal. {near_miss(name, SIGNALS)}")
        scores = self.scores(sight)
        missing = [name for name in wanted if name not in scores]
        if missing and len(sight.rows):
            hint = " `mmunlearn attack` computes it (options.gradient_norm)." if missing[0] == "gradient_norm" else ""
            raise UserError(f"attack[membership].signals: the rows do not allow {missing[0]!r}.{hint}")
        cells: dict[str, Value] = {}
        for name, (members, others) in scores.items():
            for title, value in figures(members, others, seed, name).items():
                cells[f"{name}_{title}"] = value
        if "loss" in scores:
            cells["mia"] = Mia().reduce(sight)
            cells["forgetting_score"] = ForgettingScore().reduce(sight)
        return cells

    def scores(self, sight: Sight) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(members, others) of every wanted signal, in the order of ids: what a report draws curves from."""
        none = Rows((), {})
        inside = signals(sight.rows.sorted())
        outside = signals((sight.against or none).sorted())
        names = self.config.signals or tuple(SIGNALS)
        held = set(inside) | set(outside)
        return {n: (inside.get(n, np.empty(0)), outside.get(n, np.empty(0))) for n in names if n in held}
