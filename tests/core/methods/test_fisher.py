"""Fisher forgetting: the information against a loop over outcomes, the variance against the rule entry by entry."""

import pytest
import torch

from mmunlearn.errors import UserError
from mmunlearn.methods.fisher import Fisher, _batch_fisher, fisher, variance
from mmunlearn.seeds import derive


def outcomes(handle, example):
    """(probability, log-probability) of every outcome of every item, differentiable."""
    z = handle.module(handle.collate([example]).tensors["x"])[0]
    if handle.settings.task == "labels":
        for value in z:
            for sign in (-1, 1):
                yield torch.sigmoid(sign * value), torch.log(torch.sigmoid((sign * value).double()))
        return
    k = handle.settings.classes
    items = len(example.target) if isinstance(example.target, tuple) else 1
    for i in range(items):
        log_p = torch.log_softmax(z[i * k : (i + 1) * k], 0)
        yield from ((value.exp(), value) for value in log_p)


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_information_equals_a_loop_over_outcomes(name, task):
    handle, splits = task(name)
    split = splits["retain"].subset(range(6))
    got = fisher(handle, split, 4)
    expected = {n: torch.zeros_like(p) for n, p in handle.trainable()}
    for example in split:
        for probability, log_p in list(outcomes(handle, example)):
            handle.module.zero_grad()
            log_p.backward(retain_graph=True)
            for n, p in handle.trainable():
                expected[n] += probability.item() * p.grad**2 / len(split)
    for n, value in expected.items():
        torch.testing.assert_close(got[n], value, rtol=1e-3, atol=1e-6 * value.max().item())


def test_batch_variant_weighs_squared_batch_gradients_with_mean_probabilities(task):
    handle, splits = task()
    split = splits["retain"]
    got = _batch_fisher(handle, split, 10)
    expected = {n: torch.zeros_like(p) for n, p in handle.trainable()}
    for start in (0, 10, 20):
        rows = [list(outcomes(handle, e)) for e in split[start : start + 10]]
        for y in range(4):
            handle.module.zero_grad()
            (sum(row[y][1] for row in rows) / len(rows)).backward(retain_graph=True)
            weight = sum(row[y][0].item() for row in rows) / len(rows)
            for n, p in handle.trainable():
                expected[n] += weight * p.grad**2 / 3
    for n, value in expected.items():
        torch.testing.assert_close(got[n], value, rtol=1e-3, atol=1e-6 * value.max().item())


@pytest.mark.parametrize("head_times_ten", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (5,), (4,), (5, 3, 2, 2)])
def test_variance_equals_the_rule_entry_by_entry(shape, head_times_ten):
    information = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.02
    got = variance(information, 4, alpha=0.1, head_times_ten=head_times_ten)
    cap = 1e2 if shape[0] == 4 else 1e3
    each = 0.1 * torch.tensor([min(1 / (v + 1e-8), cap) for v in information.flatten().tolist()]).view(shape).double()
    for index in torch.cartesian_prod(*[torch.arange(n) for n in shape]).view(-1, len(shape)).tolist():
        if len(shape) == 1:
            expected = each[tuple(index)] * 10
        else:
            row = [each[(index[0], j, *index[2:])].item() for j in range(shape[1])]
            expected = sum(row) / len(row) * (10 if shape[0] == 4 and head_times_ten else 1)
        assert got[tuple(index)].item() == pytest.approx(float(expected), rel=1e-5)


def test_noise_has_the_stated_variance(task, run):
    handle, splits = task()
    twin = handle.copy()
    Fisher({"alpha": 1e-5}).apply(handle, splits, run)
    information = fisher(twin, splits["retain"], 64)
    for (name, after), before in zip(handle.trainable(), twin.module.parameters(), strict=True):
        draw = torch.randn(after.shape, generator=torch.Generator().manual_seed(derive(0, "noise", "fisher", name)))
        spread = variance(information[name], 4, alpha=1e-5, head_times_ten=True).sqrt()
        torch.testing.assert_close(after, before + draw * spread)


@pytest.mark.parametrize("variant", ["per_sample", "ssd", "sparse"])
def test_every_variant_runs_and_differs(variant, task, run):
    handle, splits = task()
    before = handle.copy()
    Fisher({"variant": variant, "samples": 10}).apply(handle, splits, run)
    assert all((a != b).any() for a, b in zip(handle.module.parameters(), before.module.parameters(), strict=True))


def test_too_many_outcomes_are_refused_by_name(task, run, monkeypatch):
    monkeypatch.setattr("mmunlearn.methods.fisher._MAX_ROWS", 3)
    handle, splits = task()
    with pytest.raises(UserError, match="fisher"):
        Fisher().apply(handle, splits, run)


def test_losses_rise(moves):
    before, after = moves(Fisher)
    assert after[0] > before[0] and after[1] > before[1]
