"""Losses against loops in Python floats and against the oracles of objectives_and_seeds 14.4."""

import math

import pytest
import torch

from mmunlearn import losses
from mmunlearn.errors import UserError
from mmunlearn.handle import Scored

NLL = torch.tensor([0.2, 1.7, 5.0, 30.0], dtype=torch.float64)
REFERENCE = torch.tensor([0.1, 2.0, 1.0, 4.0], dtype=torch.float64)
COUNT = torch.tensor([1, 2, 4, 3])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def scored(logits, targets, mask=None, family="categorical"):
    return Scored(torch.zeros(len(logits)), torch.tensor([len(t) for t in targets]), logits, mask, targets, family)


@pytest.mark.parametrize("beta", [0.05, 0.1, 2.0])
def test_npo_equals_the_formula(beta):
    expected = [-2 / beta * math.log(sigmoid(beta * (n - r))) for n, r in zip(NLL, REFERENCE, strict=True)]
    assert losses.npo(NLL, REFERENCE, beta=beta).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_npo_at_the_original_is_two_log_two_over_beta_with_the_gradient_of_ascent(beta):
    nll = NLL.clone().requires_grad_()
    value = losses.npo(nll, NLL, beta=beta)
    value.sum().backward()
    assert value.tolist() == pytest.approx([2 / beta * math.log(2)] * 4)
    assert nll.grad.tolist() == pytest.approx([-1.0] * 4)


def test_npo_tends_to_ascent_as_beta_vanishes():
    nll = NLL.clone().requires_grad_()
    losses.npo(nll, REFERENCE, beta=1e-7).sum().backward()
    assert nll.grad.tolist() == pytest.approx([-1.0] * 4, abs=1e-5)


def test_npo_weight_is_two_sigmoid_of_minus_beta_delta():
    nll = NLL.clone().requires_grad_()
    losses.npo(nll, REFERENCE, beta=0.3).sum().backward()
    expected = [-2 * sigmoid(-0.3 * (n - r)) for n, r in zip(NLL, REFERENCE, strict=True)]
    assert nll.grad.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("inside", [False, True])
def test_simnpo_equals_the_formula(inside):
    beta, gamma = 2.5, 0.7
    margins = [beta * (n / c - gamma) if inside else beta * n / c - gamma for n, c in zip(NLL, COUNT, strict=True)]
    expected = [-2 / beta * math.log(sigmoid(m)) for m in margins]
    value = losses.simnpo(NLL, COUNT, beta=beta, gamma=gamma, margin_inside_beta=inside)
    assert value.tolist() == pytest.approx(expected, abs=1e-9)


def test_simnpo_at_its_margin_is_two_log_two_over_beta():
    nll = 0.7 * COUNT.double()
    inside = losses.simnpo(nll, COUNT, beta=2.5, gamma=0.7, margin_inside_beta=True)
    outside = losses.simnpo(nll, COUNT, beta=2.5, gamma=2.5 * 0.7)
    assert inside.tolist() == pytest.approx([2 / 2.5 * math.log(2)] * 4)
    assert outside.tolist() == pytest.approx(inside.tolist())


def test_simnpo_conventions_agree_without_margin():
    a, b = (losses.simnpo(NLL, COUNT, beta=4.5, margin_inside_beta=inside) for inside in (False, True))
    assert torch.equal(a, b)


def test_dpo_equals_the_formula():
    won, lost = (NLL.flip(0), REFERENCE.flip(0)), (NLL, REFERENCE)
    expected = [
        -2 / 0.1 * math.log(sigmoid(0.1 * (-(w - w0) + (n - n0)))) for w, w0, n, n0 in zip(*won, *lost, strict=True)
    ]
    assert losses.dpo(won, lost, beta=0.1).tolist() == pytest.approx(expected, abs=1e-9)


def test_dpo_raises_the_preferred_and_lowers_the_rejected_answer():
    won, lost = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    losses.dpo((won, torch.ones(3)), (lost, torch.ones(3)), beta=0.1).sum().backward()
    assert won.grad.tolist() == pytest.approx([1.0] * 3) and lost.grad.tolist() == pytest.approx([-1.0] * 3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_categorical_divergence_equals_a_loop(temperature):
    draw = torch.Generator().manual_seed(0)
    t, s = (torch.randn(3, 2, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    value = losses.divergence(t, s, "categorical", temperature=temperature)
    for i in range(3):
        for j in range(2):
            p, q = ([math.exp(v / temperature) for v in x[i, j].tolist()] for x in (t, s))
            p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
            assert value[i, j].item() == pytest.approx(
                sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-12
            )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bernoulli_divergence_equals_a_loop_over_both_outcomes(temperature):
    draw = torch.Generator().manual_seed(0)
    t, s = (torch.randn(3, 4, 1, generator=draw, dtype=torch.float64) for _ in range(2))
    value = losses.divergence(t, s, "bernoulli", temperature=temperature)
    for i in range(3):
        for j in range(4):
            p, q = sigmoid(t[i, j, 0].item() / temperature), sigmoid(s[i, j, 0].item() / temperature)
            expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            assert value[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_kl_carries_the_square_of_the_temperature_and_leaves_masked_items_out():
    t, s = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    targets = torch.zeros(2, 3, dtype=torch.int64)
    value = losses.kl(scored(t, targets, mask), scored(s, targets, mask), temperature=2.0)
    each = losses.divergence(t, s, "categorical", temperature=2.0)
    expected = [4 * (each[0, 0] + each[0, 1]).item(), 4 * each[1, 0].item()]
    assert value.tolist() == pytest.approx(expected)


def test_chance_is_log_k_an_item_and_log_two_a_label():
    targets = torch.zeros(2, 3, dtype=torch.int64)
    assert losses.chance_nats(scored(torch.zeros(2, 3, 8), targets), "x").tolist() == pytest.approx(
        [3 * math.log(8)] * 2
    )
    labels = scored(torch.zeros(2, 3, 1), targets, family="bernoulli")
    assert losses.chance_nats(labels, "x").tolist() == pytest.approx([3 * math.log(2)] * 2)


def test_capped_examples_have_no_gradient():
    nll = torch.tensor([0.5, 3.0], requires_grad=True)
    losses.capped(nll, torch.tensor([2.0, 2.0])).sum().backward()
    assert nll.grad.tolist() == [1.0, 0.0]


def test_mistakes_count_wrong_items():
    logits = torch.tensor([[[2.0, 1.0], [0.0, 3.0]], [[1.0, 2.0], [5.0, 0.0]]])
    targets = torch.tensor([[0, 0], [0, 0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert losses.mistakes(scored(logits, targets, mask)).tolist() == [1.0, 1.0]
    labels = scored(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[1, 1]]), family="bernoulli")
    assert losses.mistakes(labels).tolist() == [1.0]


def test_output_energy_is_the_squared_length_of_the_logits():
    one = scored(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1, dtype=torch.int64))
    assert losses.output_energy(one).tolist() == [25.0]
    labels = scored(torch.tensor([[[3.0], [4.0]]]), torch.zeros(1, 2, dtype=torch.int64), family="bernoulli")
    assert losses.output_energy(labels).tolist() == [25.0]
    tokens = scored(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), torch.zeros(1, 2, dtype=torch.int64))
    assert losses.output_energy(tokens).tolist() == [13.0]


def test_weight_norms_equal_sums_over_entries():
    a, b = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])], [torch.tensor([0.0, 1.0]), torch.tensor([[1.0]])]
    assert losses.absolute_sum(a).item() == 6.0
    assert losses.squared_distance(a, b).item() == 1 + 9 + 4


def test_a_record_without_logits_is_refused_by_name():
    with pytest.raises(UserError, match="scrub"):
        losses.need_logits(Scored(torch.zeros(1), torch.ones(1, dtype=torch.int64)), "scrub")


def test_kl_takes_a_teacher_padded_to_another_length():
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(2, 3, 4, generator=draw)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    count = mask.sum(-1)
    zero = torch.zeros(2)
    teacher = torch.randn(2, 5, 4, generator=draw)
    asked = Scored(zero, count, student, mask)
    whole = losses.kl(Scored(zero, count, teacher[:, :3], mask), asked)
    assert torch.equal(whole, losses.kl(Scored(zero, count, teacher), asked))
    assert torch.equal(whole, losses.kl(Scored(zero, count, teacher[:, :2]), asked))
