"""Pure tensor functions that objectives are made of. All per-example results have shape (batch,) and are in nats."""

import torch
from jaxtyping import Float
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
    """KL(teacher ‖ student) of each example summed over its supervised items, times T² (Hinton's scaling)."""
    t, s = need_logits(teacher, who), need_logits(student, who)
    return masked_sum(divergence(t, s, student.family, temperature=temperature), student) * temperature**2
