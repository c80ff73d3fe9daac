"""RMIA: how many population examples the target's likelihood ratio beats."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from mmunlearn.attacks._figures import bank_of, empty, figures, observed
from mmunlearn.attacks.base import Access, RowsAttack
from mmunlearn.bank import Bank, BankPath
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.settings import Settings


class Rmia(RowsAttack):
    """score(x) = share of population examples z with ratio(x)/ratio(z) > γ, where ratio = p_target / p_reference.

    Zarifzadeh et al. (2024), as in TDDBench, with POSITIVE confidences p_y. Online p_reference = ½(mean of models with
    x + mean of models without); offline ½[(1 + a)·out + 1 - a]. Population: rows of the split `population` (answered by
    the target model; in the bank), else `against` itself.

    Differs from TDDBench: its code negates confidences, which the online form cancels and the offline form does not, so
    that it scores wrongly for every a < 1; `reference` does that.
    """

    class Config(Settings):
        """bank: file. form. gamma: γ. scale: a, offline only (0.3 CIFAR-10, 0.6 CIFAR-100, 1 ImageNet). population:
        split of the z. reference: the defective sign."""

        bank: BankPath = ""
        form: Literal["online", "offline"] = "online"
        gamma: float = Field(2.0, gt=0)
        scale: float = Field(0.4, ge=0, le=1)
        population: str | None = None
        reference: bool = False

    access = Access.LOGITS
    paper = "arXiv 2312.03262"
    needs_bank = True

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Members in rows, others in against."""
        bank = bank_of(self.config.bank, "rmia")
        if empty(sight):
            return figures(np.empty(0), np.empty(0), seed, "rmia")
        crowd = sight.against
        if self.config.population is not None:
            if self.config.population not in sight.splits:
                raise UserError(f"attack[rmia].population: no answers to a split {self.config.population!r}.")
            crowd = sight.splits[self.config.population]
        inside, outside, population = (
            ratios(*observed(rows, "confidence", bank), self.config) for rows in (sight.rows, sight.against, crowd)
        )
        members, others = (rmia(one, population, self.config.gamma) for one in (inside, outside))
        return figures(members, others, seed, "rmia")


def ratios(confidence: np.ndarray, bank: Bank, config: "Rmia.Config") -> np.ndarray:
    """p_target / p_reference of each example, (n,); NaN where the bank has no model on a side that is needed."""
    sign = -1.0 if config.reference else 1.0
    p = sign * bank.signal("confidence")
    out = _mean(p, ~bank.member)
    if config.form == "offline":
        prior = ((1 + config.scale) * out + 1 - config.scale) / 2
    else:
        prior = (_mean(p, bank.member) + out) / 2
    return sign * confidence / np.where(prior == 0, np.finfo(np.float64).tiny, prior)


def _mean(p: np.ndarray, used: np.ndarray) -> np.ndarray:
    held = used & np.isfinite(p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(held, p, 0.0).sum(0) / held.sum(0)


def rmia(ratio: np.ndarray, population: np.ndarray, gamma: float = 2.0) -> np.ndarray:
    """Share of the population whose ratio is more than γ times smaller, (n,), by one sort; NaN stays NaN.

    Negative ratios (the defective form) change the sense of the division, so they are counted by their sign.
    """
    z = population[~np.isnan(population)]
    positive, negative = np.sort(z[z > 0]), np.sort(z[z < 0])
    bound = ratio / gamma
    # r/z > γ: for z > 0 z < r/γ; for z < 0 z > r/γ.
    hits = np.searchsorted(positive, bound, "left") + len(negative) - np.searchsorted(negative, bound, "right")
    hits = hits + np.where(ratio > 0, (z == 0).sum(), 0)
    return np.where(np.isnan(ratio), np.nan, hits / max(len(z), 1))
