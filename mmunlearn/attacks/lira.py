"""LiRA: likelihood ratio of the observed confidence under models with and without the example."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from mmunlearn.attacks._figures import bank_of, figures, observed
from mmunlearn.attacks.base import Access, RowsAttack
from mmunlearn.bank import Bank, BankPath
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.settings import Settings

SIGMA_FLOOR = 1e-6  # of a logit


class Lira(RowsAttack):
    """log N(φ; in) - log N(φ; out), φ = log p_y - log(1 - p_y), Gaussians fitted per example over a bank of models.

    Carlini et al., "Membership inference attacks from first principles" (2022). `offline` needs models without the
    example only: score = Φ((φ - μ_out)/σ_out). variance: "example" fits σ per example; "global" pools it over examples
    around each one's own mean (better with few models); "auto" takes "example" from 64 models a side on, as the paper
    does; "total" is the published codes' fixed variance, the deviation of all values of all examples together, which
    also holds how much examples differ from one another. centre: over models; TDDBench takes the median.
    Cells: auc, tpr_at_*, balanced_accuracy.
    """

    class Config(Settings):
        """bank: file of a bank of shadow models. offline: use models without the example only."""

        bank: BankPath = ""
        offline: bool = False
        variance: Literal["auto", "example", "global", "total"] = "auto"
        centre: Literal["mean", "median"] = "mean"

    access = Access.LOGITS
    paper = "arXiv 2112.03570"
    needs_bank = True

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Members in rows, others in against; every example needs at least one model on each side it uses."""
        bank = bank_of(self.config.bank, "lira")
        inside, own = observed(sight.rows, "rescaled_logit", bank)
        outside, _ = observed(sight.against, "rescaled_logit", bank)
        # Both sides share one fit, so that a pooled deviation is the same for both.
        ids = [*own.ids, *(sorted(sight.against.ids) if sight.against is not None else ())]
        scores = np.split(lira(np.concatenate([inside, outside]), bank.at(ids), self.config), [len(inside)])
        return figures(scores[0], scores[1], seed, "lira")


def lira(observed_phi: np.ndarray, bank: Bank, config: "Lira.Config") -> np.ndarray:
    """Score of each example, (n,); NaN where the bank has no model on a side that is needed."""
    phi, member = bank.signal("rescaled_logit"), bank.member
    centre_out, sigma_out = fit(phi, ~member, config)
    z_out = (observed_phi - centre_out) / sigma_out
    if config.offline:
        from scipy.special import log_ndtr

        # The logarithm of Φ orders like Φ and does not saturate at 1: -log(1 - Φ(z)) grows for ever.
        return -log_ndtr(-z_out)
    centre_in, sigma_in = fit(phi, member, config)
    z_in = (observed_phi - centre_in) / sigma_in
    return (z_out**2 - z_in**2) / 2 + np.log(sigma_out) - np.log(sigma_in)


def fit(phi: np.ndarray, used: np.ndarray, config: "Lira.Config") -> tuple[np.ndarray, np.ndarray]:
    """Centre and standard deviation of each example's signal over the models in `used` (models, examples)."""
    held = used & np.isfinite(phi)
    count = held.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(held, phi, 0).sum(0) / count
        residual = np.where(held, phi - mean, 0)
        centre = masked_median(phi, held) if config.centre == "median" else mean
        variance = config.variance
        if variance == "auto":
            variance = "example" if count.min(initial=np.iinfo(np.int64).max) >= 64 else "global"
        if variance == "example":
            sigma = np.sqrt((residual**2).sum(0) / (count - 1))
        elif variance == "total":
            sigma = np.full(phi.shape[1], phi[held].std() if held.any() else np.nan)
        else:
            free = np.maximum(count - 1, 0).sum()
            sigma = np.full(phi.shape[1], np.sqrt((residual**2).sum() / free) if free else np.nan)
    return centre, np.where(np.isnan(sigma), np.nan, np.maximum(sigma, SIGMA_FLOOR))


def masked_median(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Median over models of each example's values where `used`; NaN where there is none."""
    ordered = np.sort(np.where(used, values, np.inf), axis=0)
    count = used.sum(0)
    low, high = np.maximum((count - 1) // 2, 0), count // 2
    columns = np.arange(values.shape[1])
    with np.errstate(invalid="ignore"):
        middle = (ordered[low, columns] + ordered[np.minimum(high, len(values) - 1), columns]) / 2
    return np.where(count > 0, middle, np.nan)
