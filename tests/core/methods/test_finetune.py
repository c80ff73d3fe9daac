"""Fine-tuning against a hand-written loop."""

import torch
from torch.nn import functional

from mmunlearn.methods.finetune import Finetune


def test_equals_a_plain_training_loop(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    x, y = arrays(splits["retain"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(4):
        optimiser.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    settings = {"epochs": 4, "batch_size": 24, "augment": False, "optimiser": {"lr": 0.05}}
    Finetune(settings).apply(handle, splits, run)
    same_weights(handle, twin)


def test_one_field_of_the_optimiser_leaves_the_others_as_the_method_has_them():
    optimiser = Finetune({"optimiser": {"lr": 0.5}}).config.optimiser
    assert (optimiser.lr, optimiser.momentum, optimiser.weight_decay) == (0.5, 0.9, 5e-4)


def test_retain_loss_falls(moves):
    before, after = moves(Finetune, optimiser={"lr": 0.1})
    assert after[1] < before[1]


def test_another_split_for_so_many_steps(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    x, y = arrays(splits["forget"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    plain = {"lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}
    method = Finetune({"on": "forget", "steps": 3, "batch_size": len(x), "augment": False, "optimiser": plain})
    assert {"forget"} == set(method.required())
    method.apply(handle, splits, run)
    same_weights(handle, twin)
