"""Magnitude pruning against a loop over single weights."""

import pytest
import torch
from torch import nn

from mmunlearn.attacks.prune import Prune, prune_smallest
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, tiny_splits


def _naive(module: nn.Module, fraction: float) -> dict[str, torch.Tensor]:
    """Every weight ranked by (magnitude, place) in one list; the first round(fraction·n) become zero."""
    tensors = {name: p.detach().clone() for name, p in module.named_parameters()}
    ranked = []
    for place, (name, tensor) in enumerate(tensors.items()):
        if tensor.ndim > 1:
            for position, value in enumerate(tensor.flatten().tolist()):
                ranked.append((abs(value), place, position, name))
    ranked.sort()
    for _, _, position, name in ranked[: round(fraction * len(ranked))]:
        tensors[name].view(-1)[position] = 0.0
    return tensors


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_zeroes_exactly_the_smallest_weights_over_all_tensors(fraction):
    module = TinyHandle(seed=3).module
    expected = _naive(module, fraction)
    prune_smallest(module, fraction)
    for name, parameter in module.named_parameters():
        assert torch.equal(expected[name], parameter.detach()), name


def test_ties_at_the_threshold_go_in_order_so_that_the_number_is_exact():
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))
    with torch.no_grad():
        module[0].weight.fill_(0.5)
        module[1].weight.fill_(-0.5)
    assert 8 == prune_smallest(module, 8 / 12)
    assert 0 == int(module[0].weight.count_nonzero())
    assert [0.0, 0.0, -0.5, -0.5, -0.5, -0.5] == module[1].weight.flatten().tolist()


def test_leaves_biases_and_norms_as_they_are():
    module = TinyHandle(seed=1).module
    before = {n: p.detach().clone() for n, p in module.named_parameters() if p.ndim == 1}
    prune_smallest(module, 1.0)
    assert all(torch.equal(before[n], p.detach()) for n, p in module.named_parameters() if p.ndim == 1)


def test_a_fraction_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        prune_smallest(TinyHandle().module, 1.5)


def test_each_fraction_counts_on_the_unpruned_model(tmp_path):
    handle, data = TinyHandle(seed=0), tiny_splits()
    target = weights_digest(handle.module)
    run = Run.scratch(tmp_path)
    models = {label: m.module for label, m in Prune({"fractions": (0.5, 0.2)}).tamper(handle, {}, run)}
    n = sum(p.numel() for p in handle.module.parameters() if p.ndim > 1)
    zeros = {k: sum(int((p == 0).sum()) for p in m.parameters() if p.ndim > 1) for k, m in models.items()}
    assert {"0.5 pruned": round(0.5 * n), "0.2 pruned": round(0.2 * n)} == zeros
    budgets = [b for b, _, _ in Prune().run(handle, {"forget": data["forget"]}, run, Decoding())]
    assert ["0.1 pruned", "0.3 pruned", "0.5 pruned", "0.7 pruned", "0.9 pruned"] == budgets
    assert target == weights_digest(handle.module)
