"""Attack-R: how surprising the target's confidence is among models that never saw the example."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from mmunlearn.attacks._figures import bank_of, figures, observed
from mmunlearn.attacks.base import Access, RowsAttack
from mmunlearn.attacks.lira import masked_median
from mmunlearn.bank import Bank, BankPath
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.settings import Settings


class AttackR(RowsAttack):
    """Gaussian percentile of φ = log p_y - log(1 - p_y) among the models without the example; offline.

    Ye et al., "Enhanced membership inference attacks" (2022), in TDDBench's form ("fpr"): centre = the example's median
    over those models, σ = their standard deviation. Reported is -log(1 - percentile), which orders alike and does not
    saturate. Cells: auc, tpr_at_*, balanced_accuracy.
    """

    class Config(Settings):
        """bank: file of a bank of shadow models. sigma_floor: least standard deviation of φ."""

        bank: BankPath = ""
        sigma_floor: float = Field(1e-6, gt=0)

    access = Access.LOGITS
    paper = "arXiv 2111.09679"
    needs_bank = True

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Members in rows, others in against; an example needs two models without it."""
        bank = bank_of(self.config.bank, "attack_r")
        inside, outside = (
            attack_r(*observed(rows, "rescaled_logit", bank), self.config.sigma_floor)
            for rows in (sight.rows, sight.against)
        )
        return figures(inside, outside, seed, "attack_r")


def attack_r(observed_phi: np.ndarray, bank: Bank, sigma_floor: float = 1e-6) -> np.ndarray:
    """-log(1 - Φ((φ - median_out)/σ_out)) of each example, (n,); NaN with fewer than two models without it."""
    from scipy.special import log_ndtr

    phi = bank.signal("rescaled_logit")
    used = ~bank.member & np.isfinite(phi)
    count = used.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(used, phi, 0).sum(0) / count
        sigma = np.sqrt((np.where(used, phi - mean, 0) ** 2).sum(0) / (count - 1))
        z = (observed_phi - masked_median(phi, used)) / np.maximum(sigma, sigma_floor)
    return np.where(count > 1, -log_ndtr(-z), np.nan)
