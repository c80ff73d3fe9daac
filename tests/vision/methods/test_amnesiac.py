"""Amnesiac: subtracting is exact arithmetic on the record; relabelling equals a hand-written loop."""

import pytest
import torch
from mmunlearn.vision.methods.amnesiac import Amnesiac

from mmunlearn.errors import UserError
from mmunlearn.forget_updates import FILE, read_record
from mmunlearn.methods.retrain import Retrain
from mmunlearn.order import Order
from mmunlearn.seeds import generator

RECIPE = {"on": "train", "epochs": 4, "batch_size": 6, "record_forget_updates": True, "augment": False}


@pytest.fixture
def original(kit):
    """A model whose training was recorded, its data and the record's folder."""
    data = kit.splits(forget=3, retain=33)
    run = kit.run("original")
    return Retrain(RECIPE).apply(kit.handle(), data, run), data, run.path


def test_subtracts_exactly_the_recorded_updates_from_parameters_alone(kit, original):
    handle, data, folder = original
    before = kit.weights(handle)
    run = kit.run()
    Amnesiac({"record": str(folder)}).apply(handle, data, run)
    record, after = read_record(folder), kit.weights(handle)
    assert 0 < record.steps < record.of
    for name in before:
        expected = before[name] - record.updates[name] if name in record.updates else before[name]
        assert torch.equal(after[name], expected), name
    (event,) = run.events("amnesiac")
    assert ("subtract", record.steps, record.of) == (event["variant"], event["steps"], event["of"])


def test_training_that_saw_forget_examples_in_every_step_is_taken_back_whole(kit):
    data = kit.splits()
    start = kit.handle()
    Retrain(RECIPE | {"epochs": 0}).apply(start, data, kit.run("start"))
    handle, run = kit.handle(), kit.run("original")
    Retrain(RECIPE | {"batch_size": 36}).apply(handle, data, run)
    Amnesiac({"record": str(run.path / FILE)}).apply(handle, data, kit.run())
    for (name, a), b in zip(handle.module.named_parameters(), start.module.parameters(), strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-6, name


def test_subtracting_with_a_repair_forgets_and_keeps_the_retain_set(kit):
    data = kit.splits(forget=3, retain=33)
    handle, run = kit.handle(), kit.run("original")
    Retrain(RECIPE | {"epochs": 10, "optimiser": {"lr": 0.1, "momentum": 0.0}}).apply(handle, data, run)
    forget = kit.nll(handle, data["forget"])
    settings = {"record": str(run.path), "repair_epochs": 5, "batch_size": 6, "augment": False}
    Amnesiac(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > forget + 1
    assert kit.nll(handle, data["retain"]) < 0.1


def test_without_a_record_relabels_and_says_so(kit):
    handle, data = kit.trained()
    run = kit.run()
    Amnesiac({"epochs": 1}).apply(handle, data, run)
    (event,) = run.events("amnesiac")
    assert ("relabel", "no record of the original's updates") == (event["variant"], event["why"])


def test_subtracting_without_a_record_is_refused(kit):
    handle, data = kit.trained()
    with pytest.raises(UserError, match="record_forget_updates=true"):
        Amnesiac({"variant": "subtract"}).apply(handle, data, kit.run())


def test_record_of_another_model_is_refused(kit, original):
    _, data, folder = original
    other = kit.handle()
    other.module.fc = torch.nn.Linear(256, 7)
    with pytest.raises(UserError, match=r"another model \(fc.weight"):
        Amnesiac({"record": str(folder)}).apply(other, data, kit.run())


@pytest.mark.parametrize("head", ["classes", "labels"])
def test_relabelling_equals_a_hand_written_loop(kit, head):
    handle, data = kit.trained(head)
    slow = handle.copy()
    # SGD rather than the default Adam, which magnifies rounding where gradients are tiny.
    settings = {"epochs": 2, "batch_size": 10, "augment": False, "optimiser": {"name": "sgd", "lr": 0.01}}
    Amnesiac(settings).apply(handle, data, kit.run())

    examples = []
    for example in [*data["forget"], *data["retain"]]:
        if "/forget/" in example.id:
            draw = generator(0, "labels", "amnesiac", example.id)
            wrong = slow.random_target(example, draw, wrong_only=True)
            assert wrong != example.target
            example = example.with_target(wrong)
        examples.append(example)
    optimiser = torch.optim.SGD(slow.module.parameters(), lr=0.01)
    slow.module.train()
    for epoch in range(2):
        order = Order(36, 0, "mixed").epoch(epoch)
        for start in range(0, 36, 10):
            chosen = [examples[int(i)] for i in order[start : start + 10]]
            logits = slow.module(slow.inputs(slow.collate(chosen)))
            if head == "classes":
                each = [-torch.log_softmax(z, 0)[e.target] for z, e in zip(logits, chosen, strict=True)]
                loss = sum(each) / len(chosen)
            else:
                y = torch.tensor([e.target for e in chosen]).float()
                p = torch.sigmoid(logits)
                loss = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    slow.module.eval()
    assert kit.largest_difference(handle, slow) <= 1e-6


def test_relabelling_forgets_while_the_retain_set_is_kept(kit):
    handle, data = kit.trained()
    settings = {"epochs": 20, "batch_size": 12, "augment": False, "optimiser": {"name": "adam", "lr": 0.003}}
    Amnesiac(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 2
    assert kit.nll(handle, data["retain"]) < 0.2
