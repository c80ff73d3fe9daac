"""l1-sparse against a hand-written loop."""

import pytest
import torch
from torch.nn import functional

from mmunlearn.methods.l1_sparse import L1Sparse


@pytest.mark.parametrize(
    ("epochs", "plain", "expected"),
    [(5, 0, [0.2, 0.16, 0.12, 0.08, 0.04]), (5, 2, [0.2, 0.2 * 2 / 3, 0.2 / 3, 0, 0]), (3, 3, [0.2, 0.2, 0.2])],
)
def test_weight_fades_to_the_plain_epochs(epochs, plain, expected):
    method = L1Sparse({"alpha": 0.2, "epochs": epochs, "plain_epochs": plain})
    assert [method.weight(e) for e in range(epochs)] == pytest.approx(expected)


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_equals_a_hand_written_loop(micro_batch, task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    x, y = arrays(splits["retain"])
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(4):
        weight = 0.01 * (1 - epoch / 3) if epoch < 3 else 0.0
        optimiser.zero_grad()
        norm = sum(p.abs().sum() for p in twin.parameters())
        (functional.cross_entropy(twin(x), y) + weight * norm).backward()
        optimiser.step()
    run.train = run.train.model_copy(update={"micro_batch": micro_batch})
    settings = {"epochs": 4, "plain_epochs": 1, "alpha": 0.01, "batch_size": 24, "augment": False}
    L1Sparse({**settings, "optimiser": {"lr": 0.05}}).apply(handle, splits, run)
    same_weights(handle, twin)


def test_weights_shrink(task, run):
    handle, splits = task()
    before = sum(p.abs().sum().item() for p in handle.module.parameters())
    L1Sparse({"alpha": 0.05}).apply(handle, splits, run)
    assert sum(p.abs().sum().item() for p in handle.module.parameters()) < 0.98 * before
