"""Random labels: what is drawn when, and the order of passes against a hand-written loop."""

from collections import Counter

import pytest
import torch
from torch.nn import functional

from mmunlearn.errors import UserError
from mmunlearn.methods._relabelling import relabeller
from mmunlearn.methods.random_label import RandomLabel
from mmunlearn.seeds import generator

PLAIN = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


def drawn(handle, split, epoch, labels="uniform", every_epoch=True):
    change = relabeller(handle, 0, labels=labels, every_epoch=every_epoch)
    return [change(example, epoch).target for example in split]


def test_uniform_labels_include_the_true_one_and_wrong_ones_do_not(task):
    handle, splits = task()
    truth = [e.target for e in splits["train"]]
    uniform = [drawn(handle, splits["train"], epoch) for epoch in range(40)]
    wrong = [drawn(handle, splits["train"], epoch, "wrong") for epoch in range(40)]
    assert set(Counter(v for row in uniform for v in row)) == {0, 1, 2, 3}
    hits = sum(a == b for row in uniform for a, b in zip(row, truth, strict=True)) / (40 * len(truth))
    assert 0.2 < hits < 0.3
    assert all(a != b for row in wrong for a, b in zip(row, truth, strict=True))


def test_labels_are_drawn_every_epoch_or_once(task):
    handle, splits = task()
    assert drawn(handle, splits["forget"], 0) != drawn(handle, splits["forget"], 1)
    fixed = [drawn(handle, splits["forget"], epoch, every_epoch=False) for epoch in (0, 1)]
    assert fixed[0] == fixed[1]


def test_flipping_turns_every_label_round_and_refuses_classes(task):
    handle, splits = task("labels")
    flipped = drawn(handle, splits["forget"], 0, "flip")
    assert flipped == [tuple(1 - v for v in e.target) for e in splits["forget"]]
    with pytest.raises(UserError, match="flip"):
        drawn(*(lambda pair: (pair[0], pair[1]["forget"]))(task("classes")), 0, "flip")


def test_sequential_passes_equal_a_hand_written_loop(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    (xf, _), (xr, yr) = arrays(splits["forget"]), arrays(splits["retain"])
    optimiser = torch.optim.SGD(twin.parameters(), **PLAIN)
    for epoch in range(3):
        draws = [handle.random_target(e, generator(0, "labels", "relabel", e.id, epoch)) for e in splits["forget"]]
        for x, y in ((xf, torch.tensor(draws)), (xr, yr)):
            optimiser.zero_grad()
            functional.cross_entropy(twin(x), y).backward()
            optimiser.step()
    settings = {"epochs": 3, "batch_size": 24, "augment": False, "optimiser": PLAIN}
    RandomLabel(settings).apply(handle, splits, run)
    same_weights(handle, twin)


def test_mixed_pass_equals_a_hand_written_loop(task, run, arrays, same_weights):
    handle, splits = task()
    twin = handle.copy().module.train()
    (xf, _), (xr, yr) = arrays(splits["forget"]), arrays(splits["retain"])
    draws = [
        handle.random_target(e, generator(0, "labels", "relabel", e.id, 0), wrong_only=True) for e in splits["forget"]
    ]
    x, y = torch.cat([xf, xr]), torch.cat([torch.tensor(draws), yr])
    optimiser = torch.optim.SGD(twin.parameters(), **PLAIN)
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    settings = {"epochs": 3, "batch_size": 36, "augment": False, "labels": "wrong", "relabel": "fixed", "mode": "mixed"}
    RandomLabel({**settings, "optimiser": PLAIN}).apply(handle, splits, run)
    same_weights(handle, twin)


@pytest.mark.parametrize("mode", ["sequential", "mixed"])
@pytest.mark.parametrize("name", ["classes", "labels", "tokens"])
def test_forgets_and_keeps(name, mode, moves):
    before, after = moves(RandomLabel, name, mode=mode)
    assert after[0] > before[0] + 0.05 and after[1] < after[0] / 2
