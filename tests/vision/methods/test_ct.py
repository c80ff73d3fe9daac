"""CT: kernels are turned element by element; then plain fine-tuning."""

import math

import torch
from mmunlearn.vision.methods.ct import Ct


def test_swaps_height_and_width_of_every_kernel_and_nothing_else(kit):
    handle, data = kit.trained()
    before = kit.weights(handle)
    Ct({"epochs": 0}).apply(handle, data, kit.run())
    after = kit.weights(handle)
    for name in before:
        if before[name].dim() == 4:
            for y in range(3):
                for x in range(3):
                    assert torch.equal(after[name][:, :, y, x], before[name][:, :, x, y]), name
        else:
            assert torch.equal(after[name], before[name]), name


def test_kernels_that_are_not_square_stay(kit):
    handle, data = kit.trained()
    handle.module.layer1[0] = torch.nn.Conv2d(8, 12, (1, 3), stride=2, padding=(0, 1))
    before = handle.module.layer1[0].weight.detach().clone()
    Ct({"epochs": 0}).apply(handle, data, kit.run())
    assert torch.equal(before, handle.module.layer1[0].weight)


def test_equals_transposing_and_hand_written_cosine_sgd(kit):
    handle, data = kit.trained()
    slow = handle.copy()
    Ct({"epochs": 2, "batch_size": 10, "optimiser": {"lr": 0.01, "momentum": 0.0}}).apply(handle, data, kit.run())
    with torch.no_grad():
        for p in slow.module.parameters():
            if p.dim() == 4:
                p.copy_(p.permute(0, 1, 3, 2).clone())
    index = 0
    for epoch in range(2):
        for batch in kit.epoch_batches(slow, data["retain"], "retain", epoch, 10, seed=0):
            slow.module.train()
            slow.module.zero_grad()
            logits = slow.module(slow.inputs(batch))
            torch.nn.functional.cross_entropy(logits, batch.tensors["target"][:, 0]).backward()
            lr = 0.01 * 0.5 * (1 + math.cos(math.pi * index / 6))
            with torch.no_grad():
                for p in slow.module.parameters():
                    p -= lr * p.grad
            index += 1
    slow.module.eval()
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_forgets_while_the_retain_set_is_learned_back(kit):
    handle, data = kit.trained()
    settings = {"epochs": 30, "batch_size": 6, "augment": False, "optimiser": {"lr": 0.02}}
    Ct(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 0.3
    assert kit.nll(handle, data["retain"]) < 0.05
