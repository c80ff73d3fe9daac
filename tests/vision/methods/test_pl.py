"""Pseudo-labels against a search class by class; training against a hand-written loop."""

import pytest
import torch
from mmunlearn.vision.methods.pl import Pl

from mmunlearn.errors import UserError

SETTINGS = {"epochs": 2, "batch_size": 5, "optimiser": {"lr": 0.01, "momentum": 0.0}}


def of_classes(kit, data, classes):
    """Data whose forget set holds only examples of `classes`."""
    return data | {"forget": kit.split_of(e for e in data["forget"] if e.target in classes)}


def slow_labels(handle, split, banned):
    """Best allowed class of every picture, one at a time."""
    labels = {}
    for example in split:
        z = handle.module(handle.inputs(handle.collate([example])))[0].tolist()
        allowed = [c for c in range(4) if c not in (banned or {example.target})]
        labels[example.id] = max(allowed, key=lambda c: z[c])
    return labels


@pytest.mark.parametrize(("exclude", "used"), [("auto", "classes"), ("classes", "classes"), ("own", "own")])
def test_labels_equal_a_search_class_by_class(kit, exclude, used):
    handle, data = kit.trained()
    data = of_classes(kit, data, {0, 2})
    method, run = Pl({"epochs": 0, "exclude": exclude}), kit.run()
    expected = slow_labels(handle, data["forget"], {0, 2} if used == "classes" else None)
    method.apply(handle, data, run)
    assert expected == method._labels
    assert used == run.events("pseudo_labels")[0]["exclude"]


def test_equals_hand_written_sgd_when_all_classes_are_shared(kit):
    handle, data = kit.trained()
    slow, run = handle.copy(), kit.run()
    labels = slow_labels(slow, data["forget"], None)
    Pl(SETTINGS).apply(handle, data, run)
    assert "own" == run.events("pseudo_labels")[0]["exclude"]
    for epoch in range(2):
        for batch in kit.epoch_batches(slow, data["forget"], "forget", epoch, 5, seed=0):
            slow.module.train()
            slow.module.zero_grad()
            y = torch.tensor([labels[name] for name in batch.ids])
            torch.nn.functional.cross_entropy(slow.module(slow.inputs(batch)), y).backward()
            with torch.no_grad():
                for p in slow.module.parameters():
                    p -= 0.01 * p.grad
    slow.module.eval()
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_label_vectors_differ_from_the_true_ones_in_the_least_sure_label(kit):
    handle, data = kit.trained("labels")
    method = Pl({"epochs": 0})
    method.apply(handle, data, kit.run())
    for example in data["forget"]:
        z = handle.module(handle.inputs(handle.collate([example])))[0].tolist()
        margins = [v if y else -v for v, y in zip(z, example.target, strict=True)]
        assert min(margins) > 0  # known by heart
        weakest = margins.index(min(margins))
        expected = [1 - y if i == weakest else y for i, y in enumerate(example.target)]
        assert tuple(expected) == method._labels[example.id]


def test_excluding_every_class_is_refused(kit):
    handle, data = kit.trained()
    with pytest.raises(UserError, match="exclude=own"):
        Pl({"exclude": "classes"}).apply(handle, data, kit.run())


def test_forgets_more_than_it_harms_the_retain_set(kit):
    handle, data = kit.trained()
    settings = {"epochs": 8, "batch_size": 12, "augment": False, "norm": "frozen", "optimiser": {"lr": 0.02}}
    Pl(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 1
    assert kit.nll(handle, data["retain"]) < kit.nll(handle, data["forget"])
