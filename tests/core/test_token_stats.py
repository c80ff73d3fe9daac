"""Token statistics against the plain full-logits form, written out here token by token."""

import math

import pytest
import torch
from torch.nn import functional

from mmunlearn import token_stats as module
from mmunlearn.token_stats import LogitForm, token_logprobs, token_stats

FORMS = [LogitForm(), LogitForm(scale=0.25), LogitForm(softcap=3.0), LogitForm(scale=2.0, softcap=5.0)]


def drawn(tokens=7, width=5, vocab=11, *, dtype=torch.float32, bias=False, spread=1.0):
    generator = torch.Generator().manual_seed(3)
    hidden = (spread * torch.randn(tokens, width, generator=generator, dtype=torch.float64)).to(dtype)
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64).to(dtype)
    offset = torch.randn(vocab, generator=generator, dtype=torch.float64).to(dtype) if bias else None
    targets = torch.randint(vocab, (tokens,), generator=generator)
    return hidden, weight, targets, offset


def plain_logits(hidden, weight, bias, form):
    z = hidden @ weight.T if bias is None else hidden @ weight.T + bias
    z = z * form.scale
    return z if form.softcap is None else form.softcap * torch.tanh(z / form.softcap)


def by_hand(hidden, weight, targets, bias, form):
    """One token after the other, one vocabulary entry after the other, in Python floats."""
    rows = []
    for z, target in zip(plain_logits(hidden.double(), weight.double(), bias, form), targets.tolist(), strict=True):
        z = z.tolist()
        top = max(z)
        total = sum(math.exp(v - top) for v in z)
        logp = [v - top - math.log(total) for v in z]
        mu = sum(math.exp(v) * v for v in logp)
        square = sum(math.exp(v) * v * v for v in logp)
        rows.append((logp[target], sum(v > z[target] for v in z), mu, square - mu * mu))
    return rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 100])
def test_statistics_equal_those_by_hand(form, chunk) -> None:
    hidden, weight, targets, bias = drawn(bias=True)
    got = token_stats(hidden, weight, targets, bias, form=form, chunk=chunk)
    expected = by_hand(hidden, weight, targets, bias, form)
    for row, (logprob, rank, mu, var) in enumerate(expected):
        assert logprob == pytest.approx(got.logprob[row].item(), rel=1e-5, abs=1e-6)
        assert rank == got.rank[row].item()
        assert mu == pytest.approx(got.mu[row].item(), rel=1e-5, abs=1e-6)
        assert var == pytest.approx(got.var[row].item(), rel=1e-5, abs=1e-6)


def test_gradients_in_float32_equal_the_full_logits_form() -> None:
    hidden, weight, targets, bias = drawn(tokens=40, width=16, vocab=200, bias=True)
    pull = torch.linspace(-1, 2, 40)

    def gradients(logprob_of):
        given = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
        (pull * logprob_of(*given)).sum().backward()
        return [t.grad for t in given]

    def naive(h, w, b):
        return functional.linear(h, w, b).log_softmax(-1)[torch.arange(40), targets]

    for chunk in (None, 9):
        got = gradients(lambda h, w, b, c=chunk: token_stats(h, w, targets, b, chunk=c).logprob)
        for expected, value in zip(gradients(naive), got, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [None, 2])
def test_gradients_pass_gradcheck(form, chunk) -> None:
    hidden, weight, targets, bias = drawn(tokens=5, width=3, vocab=6, dtype=torch.float64, bias=True)
    for trained in ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
        given = [t.clone().requires_grad_(bool(on)) for t, on in zip((hidden, weight, bias), trained, strict=True)]
        assert torch.autograd.gradcheck(
            lambda h, w, b: token_stats(h, w, targets, b, form=form, chunk=chunk).logprob, given
        )
        assert torch.autograd.gradcheck(lambda h, w, b: token_logprobs(h, w, targets, b, form=form, chunk=chunk), given)


def test_logprobs_alone_equal_the_record() -> None:
    hidden, weight, targets, _ = drawn()
    assert torch.equal(token_stats(hidden, weight, targets).logprob, token_logprobs(hidden, weight, targets))


def test_only_logprob_carries_a_graph() -> None:
    hidden, weight, targets, _ = drawn()
    got = token_stats(hidden.requires_grad_(), weight, targets)
    assert [True, False, False, False] == [value.requires_grad for value in got]


def test_nothing_is_kept_without_gradients() -> None:
    hidden, weight, targets, _ = drawn()
    with torch.no_grad():
        assert not token_stats(hidden.requires_grad_(), weight, targets).logprob.requires_grad


def test_bfloat16_gives_the_float64_values_of_its_own_logits() -> None:
    """Softmax and moments lose nothing beyond the product's rounding, even at logits of hundreds."""
    hidden, weight, targets, _ = drawn(tokens=20, width=32, vocab=500, dtype=torch.bfloat16, spread=20.0)
    got = token_stats(hidden, weight, targets, chunk=6)
    logits = functional.linear(hidden, weight).double()
    logp = logits.log_softmax(-1)
    mu = (logp.exp() * logp).sum(-1)
    var = (logp.exp() * (logp - mu[:, None]) ** 2).sum(-1)
    assert torch.float32 == got.logprob.dtype
    torch.testing.assert_close(got.logprob.double(), logp[torch.arange(20), targets], rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(got.mu.double(), mu, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.var.double(), var, rtol=1e-4, atol=1e-4)
    assert bool((got.var >= 0).all())


def test_bfloat16_gradients_are_those_of_the_full_logits_form() -> None:
    hidden, weight, targets, _ = drawn(tokens=20, width=32, vocab=500, dtype=torch.bfloat16)
    one, two = (hidden.clone().requires_grad_() for _ in range(2))
    token_stats(one, weight, targets, chunk=6).logprob.sum().backward()
    functional.linear(two, weight).float().log_softmax(-1)[torch.arange(20), targets].sum().backward()
    assert torch.bfloat16 == one.grad.dtype
    torch.testing.assert_close(one.grad, two.grad, rtol=2e-2, atol=2e-2)


def test_autocast_multiplies_in_its_own_precision_and_gives_gradients_in_the_inputs() -> None:
    hidden, weight, targets, _ = drawn(tokens=20, width=32, vocab=500)
    head = weight.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = token_stats(hidden.requires_grad_(), head, targets).logprob
        expected = functional.linear(hidden, weight).float().log_softmax(-1)[torch.arange(20), targets]
    got.sum().backward()
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    assert [torch.float32] * 2 == [hidden.grad.dtype, head.grad.dtype]


def test_the_rank_counts_strictly_likelier_tokens() -> None:
    hidden, weight = torch.ones(4, 1), torch.tensor([[3.0], [1.0], [3.0], [0.0]])
    got = token_stats(hidden, weight, torch.tensor([0, 1, 2, 3]))
    assert [0, 2, 0, 3] == got.rank.tolist()


def test_a_uniform_head_has_the_entropy_of_its_vocabulary_and_no_variance() -> None:
    got = token_stats(torch.ones(2, 3), torch.zeros(50, 3), torch.tensor([0, 49]))
    assert pytest.approx([-math.log(50)] * 2, rel=1e-6) == got.mu.tolist()
    assert pytest.approx([0, 0], abs=1e-9) == got.var.tolist()


def test_no_tokens_give_an_empty_record_with_gradients_of_zero() -> None:
    hidden, weight = torch.empty(0, 3, requires_grad=True), torch.ones(5, 3, requires_grad=True)
    got = token_stats(hidden, weight, torch.empty(0, dtype=torch.long))
    got.logprob.sum().backward()
    assert [(0,)] * 4 == [tuple(value.shape) for value in got]
    assert 0 == weight.grad.abs().sum()


def test_logits_exist_for_one_chunk_of_rows_at_a_time(monkeypatch) -> None:
    seen = []
    original = module.logits_of
    monkeypatch.setattr(module, "logits_of", lambda h, *rest: seen.append(len(h)) or original(h, *rest))
    hidden, weight, targets, _ = drawn(tokens=10)
    weight.requires_grad_()
    token_stats(hidden, weight, targets, chunk=4).logprob.sum().backward()
    assert [4, 4, 2] * 2 == seen  # forward, then once more for the trainable head


def test_the_default_chunk_keeps_the_buffer_within_its_bytes() -> None:
    assert 110 == module.chunk_rows(152_064, torch.bfloat16)
    assert 1 == module.chunk_rows(10**9, torch.float32)
