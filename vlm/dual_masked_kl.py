"""Dual-masked divergence of SIU: a KL to the original without specified tokens and without the words of a name."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def dual_masked_kl(
    teacher: Float[Tensor, "batch token vocab"],
    student: Float[Tensor, "batch token vocab"],
    tokens: Bool[Tensor, "batch token"],
    vocabulary: Bool[Tensor, "batch vocab"],
) -> Float[Tensor, " batch"]:
    """`Σ_t m_t Σ_v k_v p0(v) log(p0(v) / p(v))` of each example, in nats, summed over its positions.

    teacher, student: logits of original and model; both softmaxes run over the whole vocabulary and are not
    renormalised. tokens: m_t, True where the position counts. vocabulary: k_v, True where the word counts. With all
    masks True it is the KL; with a vocabulary mask it is no divergence and may be negative, down to P̄0 log P̄0 with P̄0
    the original's mass off the name. MMUBench paper 4.2 and Appendix B (vlm_fiu_mmu_safe 2.3).
    """
    before = teacher.log_softmax(-1)
    each = before.exp() * (before - student.log_softmax(-1))
    return _masked(each, tokens, vocabulary)


def masked_cross_entropy(
    teacher: Float[Tensor, "batch token vocab"],
    student: Float[Tensor, "batch token vocab"],
    tokens: Bool[Tensor, "batch token"],
    vocabulary: Bool[Tensor, "batch vocab"],
) -> Float[Tensor, " batch"]:
    """`−Σ_t m_t Σ_v k_v p0(v) log(p(v) + 1e-12)`: what the released trainer calls the divergence (2.4, point 2)."""
    each = -teacher.softmax(-1) * (student.softmax(-1) + 1e-12).log()
    return _masked(each, tokens, vocabulary)


def name_mass(teacher: Float[Tensor, "batch token vocab"], vocabulary: Bool[Tensor, "batch vocab"]) -> Tensor:
    """`Σ_{v∈C} p0(v)`, the original's probability of the masked words at each position (batch, token)."""
    there = (~vocabulary)[:, None, :].expand_as(teacher)
    return torch.where(there, teacher.softmax(-1), teacher.new_zeros(())).sum(-1)


def _masked(each: Tensor, tokens: Tensor, vocabulary: Tensor) -> Tensor:
    zero = each.new_zeros(())
    positions = torch.where(vocabulary[:, None, :], each, zero).sum(-1)
    return torch.where(tokens, positions, zero).sum(-1)
