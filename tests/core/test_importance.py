"""Importances against loops over examples or batches."""

import pytest
import torch

from mmunlearn.importance import Measure, gradient_sum, importance
from mmunlearn.order import Order
from mmunlearn.testing.method_checks import toy


def by_hand(handle, parts, loss, power):
    """Mean over the parts of the powered gradient of the part's mean loss."""
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for part in parts:
        handle.module.zero_grad()
        scored = handle.score(handle.collate(part))
        if loss == "nll":
            values = scored.nll / scored.count
        else:
            values = torch.stack([row[mask].pow(2).sum() for row, mask in zip(scored.logits, scored.mask, strict=True)])
            values = values if scored.family == "bernoulli" else values / scored.count
        (values.sum() / len(part)).backward()
        for name, parameter in handle.trainable():
            total[name] += (parameter.grad**2 if power == "squared" else parameter.grad.abs()) / len(parts)
    return total


@pytest.mark.parametrize("task", ["classes", "labels", "tokens"])
@pytest.mark.parametrize(("loss", "power"), [("nll", "squared"), ("energy", "absolute")])
@pytest.mark.parametrize("per", ["sample", "batch"])
def test_importance_equals_a_loop(per, loss, power, task):
    known = toy("core", task)
    handle, split = known.original.copy(), known.splits["retain"]
    what = Measure(loss=loss, power=power, per=per, batch_size=5, shuffle_seed=3 if per == "batch" else None)
    value = importance(handle, split, what)
    order = Order(len(split), 3, "importance").epoch(0) if per == "batch" else range(len(split))
    size = 5 if per == "batch" else 1
    parts = [[split[int(i)] for i in order[a : a + size]] for a in range(0, len(split), size)]
    for name, expected in by_hand(handle, parts, loss, power).items():
        torch.testing.assert_close(value[name], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", ["nll", "energy"])
def test_the_mean_over_items_weighs_long_answers_more(loss):
    known = toy("core", "tokens")
    handle, split = known.original.copy(), known.splits["retain"]
    parts = [split[a : a + 5] for a in range(0, len(split), 5)]
    assert len({int(handle.collate([e]).count[0]) for e in split}) > 1
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for part in parts:
        handle.module.zero_grad()
        items = []
        for row in (handle.score(handle.collate([e])) for e in part):
            logits = row.logits[0][row.mask[0]]
            items += [-logits[t].log_softmax(-1)[y] if loss == "nll" else logits[t].pow(2).sum()
                      for t, y in enumerate(row.targets[0][row.mask[0]])]  # fmt: skip
        (sum(items) / len(items)).backward()
        for name, parameter in handle.trainable():
            total[name] += parameter.grad**2 / len(parts)
    value = importance(handle, split, Measure(loss=loss, per="batch", mean="items", batch_size=5))
    for name, expected in total.items():
        torch.testing.assert_close(value[name], expected, rtol=1e-4, atol=1e-8)


def test_importance_per_sample_equals_batches_of_one():
    known = toy("core")
    a = importance(known.original, known.splits["forget"], Measure(per="sample", batch_size=5))
    b = importance(known.original, known.splits["forget"], Measure(per="batch", batch_size=1))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("task", ["classes", "labels", "tokens"])
def test_gradient_sum_equals_a_loop_and_ignores_the_batch_size(task):
    known = toy("core", task)
    handle, split = known.original.copy(), known.splits["forget"]
    value = gradient_sum(handle, split, batch_size=5)
    handle.module.zero_grad()
    for example in split:
        handle.score(handle.collate([example])).nll.sum().backward()
    for name, parameter in handle.trainable():
        torch.testing.assert_close(value[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_cache_returns_the_stored_numbers_and_knows_the_weights(tmp_path, monkeypatch):
    known = toy("core")
    handle, split, what = known.original.copy(), known.splits["forget"], Measure()
    first = importance(handle, split, what, cache=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    monkeypatch.setattr("mmunlearn.importance.accumulate", lambda *a, **k: pytest.fail("computed again"))
    second = importance(handle, split, what, cache=tmp_path)
    assert all(torch.equal(second[name], value) for name, value in first.items())
    monkeypatch.undo()
    with torch.no_grad():
        handle.module[0].bias.add_(0.1)
    other = importance(handle, split, what, cache=tmp_path)
    assert any(not torch.equal(other[name], value) for name, value in first.items())


def test_frozen_parameters_are_left_out():
    handle = toy("core").original.copy()
    handle.module[0].weight.requires_grad_(False)
    split = toy("core").splits["forget"]
    assert "0.weight" not in importance(handle, split, Measure(per="batch"))
    assert "0.weight" not in importance(handle, split, Measure(per="sample"))
