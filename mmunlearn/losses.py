"""Pure tensor functions that objectives are made of. All per-example results have shape (batch,) and are in nats."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mmunlearn.errors import UserError
from mmunlearn.handle import Family, Scored


def need_logits(scored: Scored, who: str) -> Float[Tensor, "batch item vocab"]:
    """The record's logits, or a UserError that says which method needs them."""
    if scored.logits is None:
        raise UserError(f"{who} needs logits, and this model's handle gives none. Choose a method on scores alone.")
    return scored.logits


def divergence(
    teacher: Float[Tensor, "batch item vocab"],
    student: Float[Tensor, "batch item vocab"],
    family: Family,
    *,
    temperature: float = 1.0,
) -> Float[Tensor, "batch item"]:
    """KL(teacher ‖ student) of each item at `temperature`, without the T² factor, summed over classes.

    Categorical: softmax over the last dimension. Bernoulli: the sum over the single column of the two-point divergence
    (vision.md 6.17). Teacher and student are logits.
    """
    if family == "bernoulli":
        t, s = teacher / temperature, student / temperature
        p = torch.sigmoid(t)
        log_p, log_q = functional.logsigmoid(t), functional.logsigmoid(-t)
        kl = p * (log_p - functional.logsigmoid(s)) + (1 - p) * (log_q - functional.logsigmoid(-s))
        return kl.sum(-1)
    log_t = functional.log_softmax(teacher / temperature, dim=-1)
    log_s = functional.log_softmax(student / temperature, dim=-1)
    return (log_t.exp() * (log_t - log_s)).sum(-1)


def masked_sum(values: Float[Tensor, "batch item"], scored: Scored) -> Float[Tensor, " batch"]:
    """Sum over the items that count."""
    if scored.mask is not None:
        values = torch.where(scored.mask, values, torch.zeros_like(values))
    return values.sum(-1)


def kl(teacher: Scored, student: Scored, *, temperature: float = 1.0, who: str = "KL") -> Float[Tensor, " batch"]:
    """KL(teacher ‖ student) of each example summed over its supervised items, times T² (Hinton's scaling).

    The teacher's records may be padded to another length (a cache pads by its own batches).
    """
    t, s = need_logits(teacher, who), need_logits(student, who)
    if student.mask is not None and t.shape[1] != s.shape[1]:
        t = functional.pad(t[:, : s.shape[1]], (0, 0, 0, max(0, s.shape[1] - t.shape[1])))
    return masked_sum(divergence(t, s, student.family, temperature=temperature), student) * temperature**2


def npo(nll: Float[Tensor, " batch"], reference: Float[Tensor, " batch"], *, beta: float) -> Float[Tensor, " batch"]:
    """Negative preference loss of each example, `-(2/β) log σ(β Δ)` with Δ = nll − reference; 0 once forgotten.

    nll, reference: of the whole answer (summed over its items) under the model and the original. At Δ = 0 the loss is
    (2/β) log 2 and its gradient is that of gradient ascent; so it is everywhere as β → 0. Zhang et al. 2024, eq. 3
    (objectives_and_seeds 3.5).
    """
    return -2 / beta * functional.logsigmoid(beta * (nll - reference))


def simnpo(
    nll: Float[Tensor, " batch"],
    count: Int[Tensor, " batch"],
    *,
    beta: float,
    gamma: float = 0.0,
    margin_inside_beta: bool = False,
) -> Float[Tensor, " batch"]:
    """Length-normalised preference loss without a reference, with M = nll / count (nats an item).

    Paper: `-(2/β) log σ(β M − γ)`. `margin_inside_beta`: `-(2/β) log σ(β (M − γ))`, the released code's rule. Both
    agree at γ = 0. Fan et al. 2024 (objectives_and_seeds 3.6).
    """
    mean = nll / count
    inside = beta * (mean - gamma) if margin_inside_beta else beta * mean - gamma
    return -2 / beta * functional.logsigmoid(inside)


def dpo(
    preferred: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]],
    rejected: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]],
    *,
    beta: float,
) -> Float[Tensor, " batch"]:
    """Preference loss `-(2/β) log σ(β (r_w − r_l))`; each pair is (nll under the model, nll under the original).

    r = reference nll − nll is the log-ratio of an answer: `preferred` is to become likelier, `rejected` less likely.
    Rafailov et al. 2023 with the factor 2/β of the unlearning papers (objectives_and_seeds 3.4).
    """
    won = preferred[1] - preferred[0]
    lost = rejected[1] - rejected[0]
    return -2 / beta * functional.logsigmoid(beta * (won - lost))


def chance_nats(scored: Scored, who: str) -> Float[Tensor, " batch"]:
    """Negative log-likelihood of each example under a uniform guess: ln K an item (label vectors: ln 2 a label)."""
    vocab = need_logits(scored, who).shape[-1]
    return scored.count * math.log(2 if scored.family == "bernoulli" else vocab)


def capped(nll: Float[Tensor, " batch"], limit: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """nll where it is below `limit`, else `limit`: examples at or above it receive no gradient."""
    return torch.where(nll < limit, nll, limit.to(nll.dtype))


def mistakes(scored: Scored, who: str = "error") -> Float[Tensor, " batch"]:
    """Number of items of each example that the model gets wrong (argmax, or the sign of each label)."""
    logits = need_logits(scored, who)
    assert scored.targets is not None
    said = (logits[..., 0] > 0).long() if scored.family == "bernoulli" else logits.argmax(-1)
    return masked_sum((said != scored.targets).to(logits.dtype), scored)


def output_energy(scored: Scored, who: str = "lfssd (output energy)") -> Float[Tensor, " batch"]:
    """Squared length of each example's logits ‖z‖², needing no label (the loss of LFSSD, vision.md 6.7).

    Answers of several tokens give the mean over their tokens; label vectors are one vector of K logits.
    """
    logits = need_logits(scored, who)
    total = masked_sum((logits**2).sum(-1), scored)
    return total if scored.family == "bernoulli" else total / scored.count


def squared_distance(parameters: Iterable[Tensor], start: Iterable[Tensor]) -> Float[Tensor, ""]:
    """‖θ − θ₀‖² over all given tensors."""
    return torch.stack([((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True)]).sum()


def absolute_sum(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """‖θ‖₁ over all given tensors."""
    return torch.stack([p.abs().sum() for p in parameters]).sum()
