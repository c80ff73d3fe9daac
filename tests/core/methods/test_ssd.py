"""SSD: the whole edit against a naive loop over weights."""

import logging

import pytest
import torch

from mmunlearn.methods._dampening import dampen
from mmunlearn.methods.ssd import Ssd
from mmunlearn.order import Order


def naive(handle, splits, alpha, dampening, size, shuffled):
    """The rule weight by weight; batches of `size` in the shuffled or the given order."""

    def importance(split):
        order = Order(len(split), 0, "importance").epoch(0) if shuffled else range(len(split))
        total = [torch.zeros_like(p) for p in handle.module.parameters()]
        starts = range(0, len(split), size)
        for start in starts:
            handle.module.zero_grad()
            scored = handle.score(handle.collate([split[int(i)] for i in order[start : start + size]]))
            (scored.nll / scored.count).mean().backward()
            for t, p in zip(total, handle.module.parameters(), strict=True):
                t += p.grad**2 / len(starts)
        return total

    whole, forget = importance(splits["train"]), importance(splits["forget"])
    changed = 0
    for p, d, f in zip(handle.module.parameters(), whole, forget, strict=True):
        flat = p.data.view(-1)
        for j, (big, small) in enumerate(zip(d.flatten().tolist(), f.flatten().tolist(), strict=True)):
            if small > alpha * big:
                flat[j] *= min(dampening * big / small, 1)
                changed += 1
    return changed


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
@pytest.mark.parametrize("importance", ["batch", "sample"])
def test_edit_equals_a_loop_over_weights(importance, name, task, run, same_weights):
    handle, splits = task(name)
    twin = handle.copy()
    size = 5 if importance == "batch" else 1
    changed = naive(twin, splits, 1.5, 0.7, size, importance == "batch")
    Ssd({"alpha": 1.5, "dampening": 0.7, "importance": importance, "batch_size": 5}).apply(handle, splits, run)
    assert 0 < changed == run.events("dampened")[0]["selected"]
    same_weights(handle, twin.module, 1e-5)


def test_selected_weights_never_grow():
    weights = {"w": torch.tensor([1.0, 2.0, 3.0])}
    forget, whole = {"w": torch.tensor([4.0, 1.0, 9.0])}, {"w": torch.tensor([1.0, 1.0, 1.0])}
    assert dampen(weights, forget, whole, alpha=2.0, dampening=5.0) == 2
    assert weights["w"].tolist() == pytest.approx([1.0, 2.0, 3.0 * 5 / 9])


def test_nothing_is_selected_at_the_bound_and_a_warning_says_so(task, run, caplog):
    handle, splits = task()
    before = [p.detach().clone() for p in handle.module.parameters()]
    with caplog.at_level(logging.WARNING):
        Ssd({"alpha": 3.0, "importance": "sample"}).apply(handle, splits, run)  # 36 / 12
    assert all(torch.equal(a, b) for a, b in zip(before, handle.module.parameters(), strict=True))
    assert run.events("dampened")[0]["selected"] == 0
    assert "|train|/|forget| = 3" in run.events("warning")[0]["message"]
    assert "selects nothing" in caplog.text


def test_no_warning_below_the_bound(task, run):
    handle, splits = task()
    Ssd({"alpha": 2.9}).apply(handle, splits, run)
    assert not run.events("warning")


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_more_than_it_loses(name, moves):
    before, after = moves(Ssd, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0]
