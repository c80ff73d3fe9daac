"""Task vector against a hand-written loop."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.methods.task_vector import TaskVector
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits


def test_negates_the_vector_of_a_plain_training_loop(task, run, arrays, same_weights):
    handle, splits = task()
    twin, start = handle.copy().module, handle.copy().module
    x, y = arrays(splits["forget"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        optimiser.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        for p, s in zip(twin.parameters(), start.parameters(), strict=True):
            p.copy_(s - 2.5 * (p - s))
    settings = {"epochs": 4, "alpha": 2.5, "augment": False, "optimiser": {"lr": 0.1}}
    TaskVector(settings).apply(handle, splits, run)
    same_weights(handle, twin)


def test_buffers_stay_those_of_the_original(run):
    settings = TinySettings(batch_norm=True)
    splits = tiny_splits(settings)
    handle = memorise(TinyHandle(settings), splits["train"], steps=20)
    before = {name: b.clone() for name, b in handle.module.named_buffers()}
    TaskVector({"norm": "train"}).apply(handle, splits, run)
    assert all(torch.equal(b, before[name]) for name, b in handle.module.named_buffers())


@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, moves):
    before, after = moves(TaskVector, name)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
