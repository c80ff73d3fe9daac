"""The record of forget updates against a training loop that keeps every step's difference."""

import pytest
import torch

from mmunlearn.data import Role, Split
from mmunlearn.errors import Interrupted, UserError
from mmunlearn.forget_updates import FILE, read_record
from mmunlearn.methods.retrain import Retrain
from mmunlearn.order import Order
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, tiny_splits

SETTINGS = {"on": "train", "epochs": 3, "batch_size": 6, "record_forget_updates": True, "augment": False}


def test_record_is_the_sum_of_the_differences_of_steps_with_a_forget_example(tmp_path):
    data = tiny_splits(forget=4, retain=26)
    handle, run = TinyHandle(), Run.scratch(tmp_path, device="cpu")
    Retrain(SETTINGS | {"reseed": False}).apply(handle, data, run)
    record = read_record(tmp_path)

    slow = TinyHandle()
    Retrain(SETTINGS | {"reseed": False, "epochs": 0}).apply(slow, data, Run.scratch(tmp_path / "0", device="cpu"))
    optimiser = torch.optim.SGD(slow.module.parameters(), lr=0.01, momentum=0.9)
    sums = {name: torch.zeros_like(p) for name, p in slow.module.named_parameters()}
    touched = 0
    slow.module.train()
    for epoch in range(3):
        order = Order(30, 0, "train").epoch(epoch)
        for start in range(0, 30, 6):
            examples = [data["train"][int(i)] for i in order[start : start + 6]]
            before = {name: p.detach().clone() for name, p in slow.module.named_parameters()}
            optimiser.zero_grad()
            (slow.score(slow.collate(examples)).nll.sum() / 6).backward()
            optimiser.step()
            if any("/forget/" in example.id for example in examples):
                touched += 1
                for name, p in slow.module.named_parameters():
                    sums[name] += p.detach() - before[name]
    assert 0 < touched < 15
    assert (touched, 15) == (record.steps, record.of)
    for name in sums:
        torch.testing.assert_close(record.updates[name], sums[name], atol=1e-6, rtol=0)


class StopsAt(Run):
    """A run that is interrupted at one step's checkpoint, right after it was written."""

    def save(self, step, state):
        super().save(step, state)
        if step == 7:
            raise Interrupted


def test_interrupted_and_resumed_training_leaves_the_same_record(tmp_path):
    data = tiny_splits(forget=4, retain=26)
    Retrain(SETTINGS).apply(TinyHandle(), data, Run.scratch(tmp_path / "a", device="cpu", checkpoint_every=1))
    with pytest.raises(Interrupted):
        Retrain(SETTINGS).apply(TinyHandle(), data, StopsAt.scratch(tmp_path / "b", device="cpu", checkpoint_every=1))
    Retrain(SETTINGS).apply(TinyHandle(), data, Run.scratch(tmp_path / "b", device="cpu", checkpoint_every=1))
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()


def test_recording_changes_nothing_of_the_training(tmp_path):
    data = tiny_splits()
    plain, recorded = TinyHandle(), TinyHandle()
    Retrain(SETTINGS | {"record_forget_updates": False}).apply(plain, data, Run.scratch(tmp_path / "a", device="cpu"))
    Retrain(SETTINGS).apply(recorded, data, Run.scratch(tmp_path / "b", device="cpu"))
    assert not (tmp_path / "a" / FILE).exists()
    for a, b in zip(plain.module.parameters(), recorded.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_recording_the_retrained_model_is_refused(tmp_path):
    run = Run.scratch(tmp_path, device="cpu")
    with pytest.raises(UserError, match="on=train"):
        Retrain(SETTINGS | {"on": "retain"}).apply(TinyHandle(), tiny_splits(), run)


def test_training_set_without_forget_examples_gives_an_empty_record(tmp_path):
    data = tiny_splits()
    data["train"] = Split("train", Role.TRAIN, data["retain"].examples)
    Retrain(SETTINGS).apply(TinyHandle(), data, Run.scratch(tmp_path, device="cpu"))
    record = read_record(tmp_path)
    assert record.steps == 0
    assert all(float(t.abs().max()) == 0 for t in record.updates.values())


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(UserError, match="record_forget_updates=true"):
        read_record(tmp_path)
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(UserError, match=f"{FILE}: not a record"):
        read_record(tmp_path)
