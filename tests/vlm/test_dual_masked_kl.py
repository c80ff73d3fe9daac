"""The dual-masked divergence against loops, the closed forms of its gradient, and its limits."""

import math

import pytest
import torch
from mmunlearn.vlm.dual_masked_kl import dual_masked_kl, masked_cross_entropy, name_mass

from mmunlearn import losses
from mmunlearn.handle import Scored

B, T, V = 3, 4, 7


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(B, T, V, generator=generator, dtype=torch.float64) * 2
    student = torch.randn(B, T, V, generator=generator, dtype=torch.float64) * 2
    tokens = torch.rand(B, T, generator=generator) < 0.6
    tokens[:, 0] = True
    vocabulary = torch.ones(B, V, dtype=torch.bool)
    vocabulary[0, [1, 4]] = False
    vocabulary[1, 6] = False
    return teacher, student.requires_grad_(), tokens, vocabulary


def softmax(logits):
    shifted = [math.exp(x - max(logits)) for x in logits]
    return [x / sum(shifted) for x in shifted]


def test_it_is_the_kl_when_both_masks_are_one():
    teacher, student, *_ = draw()
    every = torch.ones(B, T, dtype=torch.bool), torch.ones(B, V, dtype=torch.bool)
    nothing = torch.zeros(B), torch.full((B,), T)
    expected = losses.kl(Scored(*nothing, teacher), Scored(*nothing, student))
    assert torch.allclose(expected, dual_masked_kl(teacher, student, *every))


def test_it_equals_the_sums_written_out():
    teacher, student, tokens, vocabulary = draw(1)
    expected = []
    for b in range(B):
        total = 0.0
        for t in range(T):
            p0, p = softmax(teacher[b, t].tolist()), softmax(student[b, t].tolist())
            for v in range(V):
                total += int(tokens[b, t]) * int(vocabulary[b, v]) * p0[v] * math.log(p0[v] / p[v])
        expected.append(total)
    found = dual_masked_kl(teacher, student, tokens, vocabulary)
    assert torch.allclose(torch.tensor(expected, dtype=torch.float64), found)


def test_logit_gradients_are_the_closed_form_and_zero_at_masked_positions():
    teacher, student, tokens, vocabulary = draw(2)
    dual_masked_kl(teacher, student, tokens, vocabulary).sum().backward()
    p0, p = teacher.softmax(-1), student.detach().softmax(-1)
    for b in range(B):
        for t in range(T):
            off = sum(float(p0[b, t, v]) for v in range(V) if vocabulary[b, v])
            for v in range(V):
                expected = 0.0
                if tokens[b, t]:
                    expected = float(p[b, t, v]) * off - (float(p0[b, t, v]) if vocabulary[b, v] else 0.0)
                assert float(student.grad[b, t, v]) == pytest.approx(expected, abs=1e-12)


def test_the_name_is_pushed_down_wherever_the_original_leaves_mass_elsewhere():
    teacher, student, _, vocabulary = draw(3)
    dual_masked_kl(teacher, student, torch.ones(B, T, dtype=torch.bool), vocabulary).sum().backward()
    assert (student.grad[~vocabulary[:, None, :].expand(B, T, V)] > 0).all()


def test_the_optimum_shares_the_names_mass_among_the_other_words():
    teacher, _, _, vocabulary = draw(4)
    kept = vocabulary[:, None, :].expand(B, T, V)
    student = teacher.masked_fill(~kept, -40.0).clone().requires_grad_()
    every = torch.ones(B, T, dtype=torch.bool)
    value = dual_masked_kl(teacher, student, every, vocabulary)
    value.sum().backward()
    assert student.grad.abs().max() < 1e-12
    off = (teacher.softmax(-1) * kept).sum(-1)
    assert torch.allclose((off * off.log()).sum(-1), value)
    assert (value[:2] < 0).all()


def test_the_gradient_fades_where_the_original_is_sure_of_the_name():
    teacher = torch.zeros(1, 1, V, dtype=torch.float64)
    teacher[..., 2] = 60.0
    student = torch.randn(1, 1, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vocabulary = torch.ones(1, V, dtype=torch.bool)
    vocabulary[0, 2] = False
    dual_masked_kl(teacher, student, torch.ones(1, 1, dtype=torch.bool), vocabulary).sum().backward()
    assert student.grad.abs().max() < 1e-20


def test_the_released_term_has_the_gradient_of_the_divergence_but_another_value():
    teacher, student, tokens, vocabulary = draw(5)
    (one,) = torch.autograd.grad(dual_masked_kl(teacher, student, tokens, vocabulary).sum(), student)
    (other,) = torch.autograd.grad(masked_cross_entropy(teacher, student, tokens, vocabulary).sum(), student)
    assert torch.allclose(one, other, atol=1e-9)
    entropy = dual_masked_kl(teacher, teacher, tokens, vocabulary)
    assert torch.allclose(torch.zeros(B, dtype=torch.float64), entropy)
    assert (masked_cross_entropy(teacher, teacher, tokens, vocabulary) > 0).all()


def test_name_mass_is_the_originals_probability_of_the_masked_words():
    teacher, _, _, vocabulary = draw(6)
    expected = [
        [sum(p for p, k in zip(softmax(teacher[b, t].tolist()), vocabulary[b], strict=True) if not k) for t in range(T)]
        for b in range(B)
    ]
    assert torch.allclose(torch.tensor(expected, dtype=torch.float64), name_mass(teacher, vocabulary))
