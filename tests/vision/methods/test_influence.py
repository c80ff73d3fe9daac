"""Influence: the step against a dense inverse in double precision, and that it forgets."""

import pytest
import torch
from mmunlearn.vision.methods.influence import Influence, example_gradients

from mmunlearn.errors import UserError
from mmunlearn.seeds import generator


@pytest.fixture(params=["classes", "labels"])
def small(request, kit):
    """A trained model whose head alone may be trained, so that a dense inverse is affordable."""
    data = kit.splits(request.param)
    # Half trained: of a model that knows everything by heart the steps drown in the weights' rounding.
    handle = kit.memorise(kit.handle(request.param), data["train"], steps=10)
    handle.module.requires_grad_(False)
    handle.module.fc.requires_grad_(True)
    handle.module.layer1[1].requires_grad_(True)
    return handle, data


def rows(handle, split):
    """Gradient of every example's loss, one backward pass each, as double-precision rows."""
    parameters = [p for _, p in handle.trainable()]
    found = []
    for example in split:
        batch = handle.collate([example])
        logits = handle.module(handle.inputs(batch))[0]
        if handle.family == "categorical":
            loss = -torch.log_softmax(logits, 0)[example.target]
        else:
            y = torch.tensor(example.target).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double())
    return torch.stack(found)


def flat(handle):
    return torch.cat([p.detach().flatten() for _, p in handle.trainable()]).double()


def difference(f, r):
    """v of vision.md 6.9 from rows of forget and retain gradients."""
    n = len(f) + len(r)
    return f.sum(0) / n - len(f) / (n * len(r)) * r.sum(0)


@pytest.mark.parametrize("memory_bytes", [1 << 30, 24 * 4 * 300])
def test_step_equals_the_dense_inverse(small, kit, memory_bytes):
    handle, data = small
    before = flat(handle)
    f, r = rows(handle, data["forget"]), rows(handle, data["retain"])
    fisher = sum(torch.outer(row, row) for row in r) / len(r)
    expected = 1.5 * torch.linalg.inv(fisher + 0.01 * torch.eye(len(before), dtype=torch.float64)) @ difference(f, r)
    settings = {"alpha": 1.5, "damping": 0.01, "memory_bytes": memory_bytes, "batch_size": 7}
    Influence(settings).apply(handle, data, kit.run())
    step = flat(handle) - before
    assert float((step - expected).norm() / expected.norm()) <= 2e-4


def test_sampled_fisher_uses_the_drawn_examples_alone(small, kit):
    handle, data = small
    before = flat(handle)
    f, r = rows(handle, data["forget"]), rows(handle, data["retain"])
    drawn = r[generator(3, "sample", "influence").permutation(24)[:5]]
    fisher = drawn.T @ drawn / 5
    expected = torch.linalg.inv(fisher + 0.05 * torch.eye(len(before), dtype=torch.float64)) @ difference(f, r)
    Influence({"samples": 5, "damping": 0.05}).apply(handle, data, kit.run(seed=3))
    step = flat(handle) - before
    assert float((step - expected).norm() / expected.norm()) <= 2e-4


def test_reference_runs_the_published_recursion(small, kit):
    handle, data = small
    before = flat(handle)
    f, r = rows(handle, data["forget"]), rows(handle, data["retain"])
    k, o = difference(f, r), None
    for g in r[generator(0, "sample", "influence").permutation(24)]:
        if o is None:
            o = g.clone()
            continue
        k, o = k - (k @ g) / (50 + o @ g) * o, o - (o @ g) / (50 + o @ g) * o
    Influence({"solver": "reference", "recursion_n": 50, "alpha": 2.0}).apply(handle, data, kit.run())
    step = flat(handle) - before
    assert float((step - 2 * k).norm() / k.norm()) <= 1e-4


def test_per_example_gradients_equal_single_backward_passes(kit):
    handle, data = kit.trained()
    names = [name for name, _ in handle.trainable()]
    found = example_gradients(handle, names, data["forget"], 5).double()
    assert float((found - rows(handle, data["forget"])).abs().max()) <= 1e-5


def test_statistics_stay_and_the_forget_set_suffers_most(kit):
    data = kit.splits()
    handle = kit.memorise(kit.handle(), data["train"], steps=25)
    before, forget, retain = kit.weights(handle), kit.nll(handle, data["forget"]), kit.nll(handle, data["retain"])
    Influence().apply(handle, data, kit.run())
    assert torch.equal(before["bn1.running_mean"], kit.weights(handle)["bn1.running_mean"])
    risen, kept = kit.nll(handle, data["forget"]), kit.nll(handle, data["retain"])
    assert risen > 5 * forget
    assert risen - forget > 2 * (kept - retain)


def test_without_damping_the_settings_are_refused():
    with pytest.raises(UserError, match="damping"):
        Influence({"damping": 0})
