"""SalUn: the mask against a sort, the update against a loop that restores what the mask leaves out."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.methods.saliency import Saliency, top_fraction
from mmunlearn.seeds import generator


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.73, 1.0])
def test_mask_holds_exactly_the_largest_scores(fraction):
    draw = torch.Generator().manual_seed(0)
    scores = {"a": torch.rand(7, 5, generator=draw), "b": torch.rand(13, generator=draw)}
    masks = top_fraction(scores, fraction)
    flat = sorted((v for s in scores.values() for v in s.flatten().tolist()), reverse=True)
    chosen = {v for name in scores for v in scores[name][masks[name]].tolist()}
    assert chosen == set(flat[: int(fraction * 48)])
    assert all(mask.dtype == torch.bool for mask in masks.values())


def test_ties_do_not_widen_the_mask():
    masks = top_fraction({"a": torch.tensor([0.0, 0.0, 1.0, 0.0])}, 0.5)
    assert masks["a"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_a_loop_that_restores_weights_and_momentum(momentum, task, run, arrays, same_weights):
    handle, splits = task()
    net = handle.copy().module
    (xf, yf), (xr, yr) = arrays(splits["forget"]), arrays(splits["retain"])
    functional.cross_entropy(net.eval()(xf), yf).backward()
    scores = torch.cat([p.grad.abs().flatten() for p in net.parameters()])
    keep = torch.zeros(len(scores))
    keep[scores.argsort(descending=True)[: int(0.4 * len(scores))]] = 1
    sizes = [p.numel() for p in net.parameters()]
    masks = [m.view_as(p) for m, p in zip(keep.split(sizes), net.parameters(), strict=True)]
    start = [p.detach().clone() for p in net.parameters()]
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, weight_decay=0.01)
    for epoch in range(4):
        labels = [handle.random_target(e, generator(0, "labels", "relabel", e.id, epoch)) for e in splits["forget"]]
        for x, y in ((xf, torch.tensor(labels)), (xr, yr)):
            optimiser.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            for p, m in zip(net.parameters(), masks, strict=True):
                p.grad *= m
            optimiser.step()
            with torch.no_grad():
                for p, m, s in zip(net.parameters(), masks, start, strict=True):
                    p.copy_(p * m + s * (1 - m))
                    if momentum:
                        optimiser.state[p]["momentum_buffer"] *= m
    settings = {
        "fraction": 0.4, "epochs": 4, "batch_size": 24, "augment": False,
        "optimiser": {"lr": 0.1, "momentum": momentum, "weight_decay": 0.01},
    }  # fmt: skip
    Saliency(settings).apply(handle, splits, run)
    same_weights(handle, net)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_weights_outside_the_mask_stay_bit_equal(optimiser, task, run):
    handle, splits = task()
    before = {name: p.detach().clone() for name, p in handle.trainable()}
    method = Saliency({"fraction": 0.3, "epochs": 3, "optimiser": {"name": optimiser, "lr": 0.01, "weight_decay": 0.1}})
    method.apply(handle, splits, run)
    moved = 0
    for name, parameter in handle.trainable():
        outside = ~method._masks[name]
        assert torch.equal(parameter[outside], before[name][outside]), name
        moved += int((parameter != before[name]).sum())
    assert moved > 50


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(Saliency, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
