"""Boundary expand: equals training a wider network by hand, and comes back at its old width."""

import pytest
import torch
from mmunlearn.vision.methods.boundary_expand import BoundaryExpand

from mmunlearn.errors import Interrupted, UserError
from mmunlearn.run import Run


def test_equals_hand_written_training_of_a_wider_head(kit):
    handle, data = kit.trained()
    slow = handle.copy()
    method = BoundaryExpand({"epochs": 2, "batch_size": 5, "optimiser": {"lr": 0.01, "momentum": 0.9}})
    method.prepare(slow, data, kit.run())  # the shadow row's draw; the training below is our own
    assert (5, 256) == tuple(slow.module.fc.weight.shape)
    assert 0 < float(slow.module.fc.weight[4].detach().abs().max()) <= 1 / 16
    optimiser = torch.optim.SGD(slow.module.parameters(), lr=0.01, momentum=0.9)
    for epoch in range(2):
        for batch in kit.epoch_batches(slow, data["forget"], "forget", epoch, 5, seed=0):
            slow.module.train()
            logits = slow.module(slow.inputs(batch))
            loss = -torch.log_softmax(logits, 1)[:, 4].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    slow.module.eval()
    BoundaryExpand(method.config).apply(handle, data, kit.run())
    expected = kit.weights(slow)
    expected |= {name: expected[name][:4] for name in ("fc.weight", "fc.bias")}
    assert kit.largest_difference(kit.weights(handle), expected) <= 1e-6


def test_shadow_class_is_gone_afterwards_and_the_model_still_saves(kit, tmp_path):
    handle, data = kit.trained()
    names = list(handle.module.state_dict())
    result = BoundaryExpand({"epochs": 1}).apply(handle, data, kit.run())
    assert names == list(result.module.state_dict())
    assert (1, 4) == tuple(result.logits(torch.rand(1, 3, 16, 16))[0].shape)
    assert result.module.fc is result.head()
    result.save(tmp_path / "model")


def test_forgets_more_than_it_harms_the_retain_set(kit):
    handle, data = kit.trained()
    settings = {"epochs": 60, "batch_size": 12, "augment": False, "norm": "frozen", "optimiser": {"lr": 0.02}}
    BoundaryExpand(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 0.3
    assert kit.nll(handle, data["retain"]) < kit.nll(handle, data["forget"])


class StopsAt(Run):
    """A run that is interrupted at one step's checkpoint, right after it was written."""

    def save(self, step, state):
        super().save(step, state)
        if step == 3:
            raise Interrupted


def test_interrupted_and_resumed_equals_uninterrupted(kit, tmp_path):
    whole, data = kit.trained()
    stopped, resumed = whole.copy(), whole.copy()
    settings = {"epochs": 2, "batch_size": 5, "optimiser": {"lr": 0.01, "momentum": 0.9}}
    BoundaryExpand(settings).apply(whole, data, kit.run("whole"))
    with pytest.raises(Interrupted):
        run = StopsAt.scratch(tmp_path / "parts", device="cpu", checkpoint_every=1)
        BoundaryExpand(settings).apply(stopped, data, run)
    BoundaryExpand(settings).apply(resumed, data, kit.run("parts", checkpoint_every=1))
    assert kit.largest_difference(whole, resumed) == 0


def test_independent_labels_are_refused_with_a_remedy(kit):
    handle, data = kit.trained("labels")
    with pytest.raises(UserError, match="boundary_shrink"):
        BoundaryExpand().apply(handle, data, kit.run())
