"""LoTUS: targets against a row-by-row draw, the whole method against a hand-written SGD loop."""

import math

import numpy as np
import pytest
import torch
from mmunlearn.vision.methods.lotus import Lotus, draw_noise, soft_cross_entropy, soft_targets

from mmunlearn.errors import Interrupted
from mmunlearn.order import Order
from mmunlearn.run import Run
from mmunlearn.seeds import derive, generator, uniforms


def test_gumbel_draws_have_the_softmax_as_their_law():
    z = torch.tensor([[[1.0, 0.0, -1.0]]]).expand(20_000, 1, 3)
    noise = draw_noise(np.arange(20_000) * 7919, 11, z, "categorical")
    hard = soft_targets(z + noise, torch.zeros(20_000, dtype=torch.bool), 1.0, "categorical")
    assert hard.sum(-1).unique().tolist() == [1.0]
    torch.testing.assert_close(hard.mean(0)[0], torch.softmax(z[0, 0], 0), atol=0.015, rtol=0)


def test_logistic_draws_have_the_sigmoid_as_their_law():
    z = torch.tensor([[[0.7], [-1.5]]]).expand(20_000, 2, 1)
    noise = draw_noise(np.arange(20_000) * 7919, 11, z, "bernoulli")
    hard = soft_targets(z + noise, torch.zeros(20_000, dtype=torch.bool), 1.0, "bernoulli")
    torch.testing.assert_close(hard.mean(0)[:, 0], torch.sigmoid(z[0, :, 0]), atol=0.015, rtol=0)


def test_a_draw_depends_on_its_example_alone():
    keys, z = np.asarray([5, 9, 12]), torch.zeros(3, 1, 4)
    whole = draw_noise(keys, 3, z, "categorical")
    assert torch.equal(whole[1:2], draw_noise(keys[1:2], 3, z[1:2], "categorical"))


def test_targets_and_loss_of_a_hand_computed_case():
    z, forget = torch.tensor([[[0.0, math.log(3)]], [[0.0, math.log(3)]]]), torch.tensor([True, False])
    goal = soft_targets(z, forget, 0.5, "categorical")
    torch.testing.assert_close(goal, torch.tensor([[[0.1, 0.9]], [[0.0, 1.0]]]))
    loss = soft_cross_entropy(torch.zeros(2, 1, 2), goal, "categorical")
    torch.testing.assert_close(loss, torch.full((2, 1), math.log(2)))


def accuracy(handle, split):
    right = total = 0
    for example in split:
        z = handle.module(handle.inputs(handle.collate([example])))[0].tolist()
        if handle.family == "categorical":
            right, total = right + (z.index(max(z)) == example.target), total + 1
        else:
            right += sum((v > 0) == bool(y) for v, y in zip(z, example.target, strict=True))
            total += len(z)
    return right / total


def loop(kit, handle, data, *, epochs, augment, head):
    """The method written out, row by row; returns the temperatures."""
    teacher = handle.copy()
    chosen = np.sort(generator(0, "data", "lotus", "subset").permutation(24)[:12])
    examples = [*data["forget"], *(data["retain"][int(i)] for i in chosen)]
    goal_accuracy = accuracy(teacher, data["calibration"])
    optimiser = torch.optim.SGD(handle.module.parameters(), lr=0.02)
    temperatures = []
    for epoch in range(epochs):
        handle.module.eval()
        gap = accuracy(handle, data["forget"]) - goal_accuracy
        if gap <= -0.01:
            break
        temperatures.append(math.exp(2 * gap))
        order = Order(24, 0, "mixed").epoch(epoch)
        stream = derive(0, "sample", "lotus", epoch)
        for batch in kit.epoch_batches(handle, kit.split_of(examples), "mixed", epoch, 10, seed=0, augment=augment):
            teacher.module.eval()
            handle.module.train()
            x = handle.inputs(batch)
            z_t, z_s = teacher.module(x).detach().double(), handle.module(x)
            loss = 0
            for row, name in enumerate(batch.ids):
                u = uniforms(batch.keys[row : row + 1], stream, 4)[0]
                forget = "/forget/" in name
                if head == "classes":
                    noisy = z_t[row] - torch.tensor([math.log(-math.log(v)) for v in u])
                    t = torch.softmax(noisy / temperatures[-1], 0)
                    if not forget:
                        t = torch.tensor([float(i == int(noisy.argmax())) for i in range(4)])
                    loss = loss - (t * torch.log_softmax(z_s[row], 0)).sum() / len(batch)
                    continue
                noisy = z_t[row] + torch.tensor([math.log(v / (1 - v)) for v in u])
                for label in range(4):
                    p = float(torch.sigmoid(noisy[label] / temperatures[-1])) if forget else float(noisy[label] > 0)
                    s = z_s[row, label]
                    each = p * torch.nn.functional.logsigmoid(s) + (1 - p) * torch.nn.functional.logsigmoid(-s)
                    loss = loss - each / (4 * len(batch))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert len(order) == 24
    handle.module.eval()
    return temperatures


@pytest.mark.parametrize(("head", "augment"), [("classes", True), ("classes", False), ("labels", True)])
def test_equals_the_method_written_out(kit, head, augment):
    handle, data = kit.trained(head)
    slow = handle.copy()
    settings = {
        "epochs": 3, "batch_size": 10, "retain_frac": 0.5, "augment": augment,
        "optimiser": {"name": "sgd", "lr": 0.02, "weight_decay": 0.0},
    }  # fmt: skip
    run = kit.run()
    Lotus(settings).apply(handle, data, run)
    temperatures = loop(kit, slow, data, epochs=3, augment=augment, head=head)
    assert kit.largest_difference(handle, slow) <= 1e-5
    noted = [event["temperature"] for event in run.events("lotus")]
    assert noted[: len(temperatures)] == pytest.approx(temperatures)
    assert temperatures[0] > 1


def test_stops_when_the_forget_set_is_known_less_than_unseen_pictures(kit):
    handle, data = kit.trained()
    data = data | {"calibration": data["retain"]}  # known by heart, so the first forget error ends the run
    run = kit.run()
    settings = {"epochs": 40, "batch_size": 12, "optimiser": {"name": "adam", "lr": 0.02}}
    Lotus(settings).apply(handle, data, run)
    gaps = [event["accuracy_gap"] for event in run.events("lotus")]
    assert all(gap > -0.01 for gap in gaps[:-1])
    assert gaps[-1] <= -0.01
    assert len(gaps) < 40


def test_does_nothing_when_there_is_nothing_to_forget(kit):
    handle, data = kit.trained()
    before = kit.weights(handle)
    data = data | {"forget": data["calibration"], "calibration": data["forget"]}
    Lotus({"epochs": 3}).apply(handle, data, kit.run())
    assert kit.largest_difference(before, kit.weights(handle)) == 0


def test_forgets_while_the_retain_set_is_kept(kit):
    handle, data = kit.trained()
    settings = {"epochs": 12, "batch_size": 12, "augment": False, "retain_frac": 1.0, "alpha": 4.0}
    Lotus(settings | {"optimiser": {"name": "adam", "lr": 0.003}}).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 0.3
    assert kit.nll(handle, data["retain"]) < 0.1


class StopsAt(Run):
    """A run that is interrupted at one step's checkpoint, right after it was written."""

    def save(self, step, state):
        super().save(step, state)
        if step == 4:
            raise Interrupted


def test_interrupted_and_resumed_equals_uninterrupted(kit, tmp_path):
    whole, data = kit.trained()
    stopped, resumed = whole.copy(), whole.copy()
    settings = {"epochs": 3, "batch_size": 7, "optimiser": {"name": "adam", "lr": 0.02}}
    Lotus(settings).apply(whole, data, kit.run("whole"))
    with pytest.raises(Interrupted):
        Lotus(settings).apply(stopped, data, StopsAt.scratch(tmp_path / "parts", device="cpu", checkpoint_every=1))
    Lotus(settings).apply(resumed, data, kit.run("parts", checkpoint_every=1))
    assert kit.largest_difference(whole, resumed) == 0


def test_rounded_accuracies_are_those_of_the_reference(kit):
    handle, data = kit.trained()
    method = Lotus({"epochs": 0, "rounded": True})
    method.apply(handle, data, kit.run())
    exact = accuracy(handle, data["forget"]), accuracy(handle, data["calibration"])
    assert round(exact[0], 2) - round(exact[1], 2) == method._gap
