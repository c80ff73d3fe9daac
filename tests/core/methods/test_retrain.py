"""Retraining: new weights, no forget set."""

import torch
from torch.nn import functional

from mmunlearn.methods.retrain import Retrain
from mmunlearn.seeds import derive


def test_equals_a_plain_loop_from_fresh_weights(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.fresh(derive(0, "init", "retain")).module.train()
    x, y = arrays(splits["retain"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(6):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.1 ** sum(epoch >= m for m in (2, 4))
        optimiser.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    settings = {"epochs": 6, "batch_size": 24, "augment": False, "milestones": [2, 4], "optimiser": {"lr": 0.05}}
    Retrain(settings).apply(handle, splits, run)
    same_weights(handle, twin)
