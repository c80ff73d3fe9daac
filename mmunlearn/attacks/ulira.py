"""U-LiRA: was the example trained on and unlearned, or never seen? One likelihood ratio an example."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from mmunlearn.attacks._figures import bank_of, figures, observed
from mmunlearn.attacks.base import Access, RowsAttack
from mmunlearn.attacks.lira import Lira, fit
from mmunlearn.bank import Bank, BankPath
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import NOTHING, Sight, Value
from mmunlearn.settings import Settings


class Ulira(RowsAttack):
    """L = N(φ; unlearned) / [N(φ; unlearned) + N(φ; never seen)] over a bank of models that went through unlearning.

    Hayes et al., "Inexact unlearning needs more careful evaluations to avoid a false sense of privacy" (2403.01218).
    φ = log p_y - log(1 - p_y); both distributions come from unlearned models (never seen = not in that model's training
    set), σ is floored, and where the target model is itself in the bank (`target`) it is left out of the fit. variance:
    as in `lira`; "auto" fits σ per example, as the paper does, from 64 models a side on and pools it below, where a few
    values say little about a spread (mini MUFAC, original model, 8 shadows: AUC .51 per example, .57 pooled). Cells:
    accuracy (L > ½, both sides weighted alike; 0.5 = perfect unlearning), auc, tpr_at_*, balanced_accuracy.

    Differs from the paper only under `reference`, which does as the "Deep Unlearn" code does: φ = correctness 0/1, the
    observed value is part of the fit, σ is not floored, so that examples whose models agree have no score (unscored).
    """

    class Config(Settings):
        """bank: file of a bank with `unlearned`. target: number of the target model in the bank, if it is one of them.
        variance: see the class. sigma_floor: least standard deviation of φ."""

        bank: BankPath = ""
        target: int | None = Field(None, ge=0)
        variance: Literal["auto", "example", "global"] = "auto"
        sigma_floor: float = Field(0.05, gt=0)
        reference: bool = False

    access = Access.LOGITS
    paper = "arXiv 2403.01218"
    needs_bank = True
    needs_unlearned_bank = True

    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Unlearned examples in rows, never-seen ones in against."""
        bank = bank_of(self.config.bank, "ulira")
        if self.config.target is not None and self.config.target >= len(bank):
            raise UserError(f"attack[ulira].target: {self.config.target}, but the bank has {len(bank)} models.")
        name = "correctness" if self.config.reference else "rescaled_logit"
        inside, outside = (ulira(*observed(rows, name, bank), self.config) for rows in (sight.rows, sight.against))
        return {"accuracy": accuracy(inside, outside), **figures(inside, outside, seed, "ulira")}


def ulira(observed_phi: np.ndarray, bank: Bank, config: "Ulira.Config") -> np.ndarray:
    """log N(φ; unlearned) - log N(φ; never seen) of each example: positive means "was unlearned"; NaN without a fit."""
    if bank.unlearned is None:
        raise UserError("attack[ulira].bank: no model of the bank was unlearned. Give a bank made with this method.")
    name = "correctness" if config.reference else "rescaled_logit"
    phi, unlearned, unseen = bank.signal(name), bank.unlearned, ~bank.member
    if config.target is not None and not config.reference:
        keep = np.arange(len(bank)) != config.target
        phi, unlearned, unseen = phi[keep], unlearned[keep], unseen[keep]
    scores = []
    for used in (unlearned, unseen):
        if config.reference:
            mean, sigma = _leaking_fit(observed_phi, phi, used)
        else:
            mean, sigma = fit(phi, used, Lira.Config(variance=config.variance))
            sigma = np.maximum(sigma, config.sigma_floor)
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append(-(((observed_phi - mean) / sigma) ** 2) / 2 - np.log(sigma))
    with np.errstate(invalid="ignore"):
        difference = scores[0] - scores[1]
    return np.where(np.isfinite(difference), difference, np.nan)


def _leaking_fit(observed_phi: np.ndarray, phi: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation with the observed value among the models' values, as the reference code has it."""
    held = np.vstack([used & np.isfinite(phi), np.ones((1, phi.shape[1]), dtype=bool)])
    values, count = np.vstack([phi, observed_phi]), held.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(held, values, 0.0).sum(0) / count
        sigma = np.sqrt((np.where(held, values - mean, 0.0) ** 2).sum(0) / count)
    return mean, sigma


def leave_one_out(bank: Bank, config: "Ulira.Config") -> np.ndarray:
    """Scores of every model of the bank as target, fitted on the others, (models, examples)."""
    phi = bank.signal("rescaled_logit")
    return np.stack([ulira(phi[t], bank, config.model_copy(update={"target": t})) for t in range(len(bank))])


def accuracy(unlearned: np.ndarray, unseen: np.ndarray) -> Value:
    """Share of right verdicts at L = ½, unlearned and never-seen examples weighted alike; a score of 0 counts half."""
    sides = [s[~np.isnan(s)] for s in (unlearned, unseen)]
    n = sum(len(s) for s in sides)
    left_out = len(unlearned) + len(unseen) - n
    if not all(len(s) for s in sides):
        return NOTHING._replace(unscored=left_out)
    shares = [float(np.mean(np.sign(s) * sign + 1) / 2) for s, sign in zip(sides, (1, -1), strict=True)]
    stderr = sum(p * (1 - p) / len(s) for p, s in zip(shares, sides, strict=True)) ** 0.5 / 2
    return Value(sum(shares) / 2, n, stderr, left_out)
