"""UNSIR: its three forms against hand-written loops, noise against its definition, resume, and that it forgets."""

import math

import pytest
import torch
from mmunlearn.vision.methods.unsir import Unsir, pair_noise

from mmunlearn.errors import Interrupted
from mmunlearn.order import Order
from mmunlearn.run import Run
from mmunlearn.seeds import generator

SGD = {"optimiser": {"name": "sgd", "lr": 0.01}, "repair_optimiser": {"name": "sgd", "lr": 0.02}}


def adam(x, gradient, lr, steps):
    """Adam written out (Kingma and Ba's defaults)."""
    m = v = torch.zeros_like(x)
    for t in range(1, steps + 1):
        g = gradient(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return x


def task_loss(handle, logits, targets):
    if handle.family == "categorical":
        return torch.nn.functional.cross_entropy(logits, targets[:, 0])
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.float())


def sgd_step(module, loss, lr):
    module.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in module.parameters():
            p -= lr * p.grad


def repair(kit, handle, data, size, mode):
    for batch in kit.epoch_batches(handle, data["retain"], "retain", 0, size, seed=0):
        handle.module.train(mode == "train")
        logits = handle.module(handle.inputs(batch))
        sgd_step(handle.module, task_loss(handle, logits, batch.tensors["target"]), 0.02)
    handle.module.eval()


def original_loop(kit, handle, data, *, size, noise_batch, copies, steps):
    """The paper's form written out."""
    module = handle.module.eval()
    targets = sorted({example.target for example in data["forget"]})
    banks = []
    for target in targets:
        start = generator(0, "noise", "unsir", target).standard_normal((noise_batch, 3, 16, 16))
        y = torch.tensor([target] * noise_batch).reshape(noise_batch, -1)

        def gradient(x, y=y):
            x = x.clone().requires_grad_(True)
            loss = -task_loss(handle, module(x), y) + 0.1 * (x**2).sum((1, 2, 3)).mean()
            return torch.autograd.grad(loss, x)[0]

        banks.append(adam(torch.from_numpy(start).float(), gradient, 0.1, steps))
    rows = [(example, None) for example in data["retain"]]
    for target, bank in zip(targets, banks, strict=True):
        rows += [(target, bank[i]) for _ in range(copies) for i in range(noise_batch)]
    order = Order(len(rows), 0, "mixed").epoch(0)
    for start in range(0, len(rows), size):
        xs, ys = [], []
        for i in order[start : start + size]:
            first, noise = rows[int(i)]
            if noise is None:
                batch = handle.collate([first])
                xs.append(handle.inputs(batch)[0])
                ys.append(batch.tensors["target"][0])
            else:
                xs.append(noise)
                ys.append(torch.tensor([first]).flatten())
        module.train()
        sgd_step(module, task_loss(handle, module(torch.stack(xs)), torch.stack(ys)), 0.01)
    repair_views = [data["retain"][int(i)] for i in Order(24, 0, "retain").epoch(0)]
    for start in range(0, 24, size):
        batch = handle.collate(repair_views[start : start + size])
        module.train()
        sgd_step(module, task_loss(handle, module(handle.inputs(batch)), batch.tensors["target"]), 0.02)
    module.eval()


@pytest.mark.parametrize("head", ["classes", "labels"])
def test_original_equals_the_paper_written_out(kit, head):
    data = kit.splits(head)
    handle = kit.memorise(kit.handle(head), data["train"], steps=15)
    slow = handle.copy()
    settings = {"batch_size": 10, "noise_batch": 3, "noise_copies": 2, "noise_steps": 6, "augment": False, **SGD}
    Unsir(settings).apply(handle, data, kit.run())
    original_loop(kit, slow, data, size=10, noise_batch=3, copies=2, steps=6)
    assert kit.largest_difference(handle, slow) <= 1e-5


def mufac_loop(kit, handle, data, *, epochs, size, steps):
    """The benchmark's form written out: stage 1."""
    module = handle.module.eval()
    index = 0
    for epoch in range(epochs):
        for forgotten in list(kit.epoch_batches(handle, data["forget"], "forget", epoch, size, seed=0)):
            if len(forgotten) < size:
                continue
            kept = kit.endless_batch(handle, data["retain"], "retain", index, size, seed=0)
            aim = module(handle.inputs(forgotten)).detach()

            def gradient(x, aim=aim):
                x = x.clone().requires_grad_(True)
                return torch.autograd.grad(-torch.nn.functional.mse_loss(module(x), aim), x)[0]

            noise = adam(pair_noise(0, index, forgotten.ids, (3, 16, 16)), gradient, 0.01, steps).clamp(0, 1)
            y = kept.tensors["target"]
            loss = task_loss(handle, module(noise), y) + task_loss(handle, module(handle.inputs(kept)), y)
            sgd_step(module, loss, 0.01)
            index += 1
    return index


@pytest.mark.parametrize("head", ["classes", "labels"])
def test_mufac_form_equals_the_benchmark_written_out(kit, head):
    handle, data = kit.trained(head)
    slow = handle.copy()
    settings = {"variant": "mufac", "batch_size": 5, "stage": "impair", **SGD}
    Unsir(settings).apply(handle, data, kit.run())
    assert 4 == mufac_loop(kit, slow, data, epochs=2, size=5, steps=5)
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_repair_is_one_epoch_on_the_retain_set_after_stage_one(kit):
    handle, data = kit.trained()
    slow = handle.copy()
    settings = {"variant": "mufac", "batch_size": 5, **SGD}
    Unsir({**settings, "stage": "impair"}).apply(slow, data, kit.run("a"))
    repair(kit, slow, data, 5, "eval")
    Unsir(settings).apply(handle, data, kit.run("b"))
    assert kit.largest_difference(handle, slow) <= 1e-6


def test_pair_noise_depends_on_its_example_and_step_alone():
    whole = pair_noise(0, 3, ("a", "b"), (3, 4, 4))
    assert torch.equal(whole[1:], pair_noise(0, 3, ("b",), (3, 4, 4)))
    assert not torch.equal(whole, pair_noise(0, 4, ("a", "b"), (3, 4, 4)))
    many = pair_noise(0, 0, tuple(map(str, range(40))), (3, 16, 16))
    assert abs(float(many.mean())) < 4 / math.sqrt(many.numel())
    assert abs(float(many.std()) - 1) < 0.02


def test_learned_noise_is_not_what_its_label_says(kit):
    handle, data = kit.trained()
    method = Unsir({"noise_batch": 4, "noise_steps": 20, "penalty": 0.0})
    before = kit.weights(handle)
    method.prepare(handle, data, kit.run())
    assert kit.largest_difference(before, kit.weights(handle)) == 0
    for number, target in enumerate(method._targets):
        with torch.no_grad():
            probability = torch.softmax(handle.module(method._noise[f"unsir/noise/{number}"]), 1)[:, target]
        assert float(probability.max()) < 0.01


def test_variants_bring_their_papers_defaults_and_settings_win():
    assert (256, 40, 0.02) == (Unsir().config.noise_batch, Unsir().config.noise_steps, Unsir().config.optimiser.lr)
    ssd = Unsir({"variant": "ssd", "optimiser": {"lr": 0.5}}).config
    assert (32, 25, 80, "adam", 0.5) == (
        ssd.noise_batch, ssd.noise_steps, ssd.noise_copies, ssd.optimiser.name, ssd.optimiser.lr,
    )  # fmt: skip
    mufac = Unsir({"variant": "mufac"}).config
    assert ("sgd", 1e-3, 5, 2, "eval") == (
        mufac.optimiser.name, mufac.optimiser.lr, mufac.noise_steps, mufac.epochs, mufac.norm,
    )  # fmt: skip
    assert ssd == Unsir(ssd.model_dump()).config


@pytest.mark.parametrize("variant", ["original", "mufac"])
def test_forgets_while_the_retain_set_is_kept(kit, variant):
    handle, data = kit.trained()
    forget = kit.nll(handle, data["forget"])
    settings = {"variant": variant, "batch_size": 6, "noise_batch": 8, "noise_copies": 2, "augment": False}
    settings |= {"optimiser": {"name": "adam", "lr": 0.01}, "repair_optimiser": {"name": "adam", "lr": 0.005}}
    settings |= {"repair_epochs": 12, "epochs": 3}
    Unsir(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 10 * forget
    assert kit.nll(handle, data["retain"]) < 0.2


class StopsAt(Run):
    """A run that is interrupted at one step's checkpoint, right after it was written."""

    def save(self, step, state):
        super().save(step, state)
        if step == 3:
            raise Interrupted


@pytest.mark.parametrize("variant", ["original", "mufac"])
def test_interrupted_and_resumed_equals_uninterrupted(kit, tmp_path, variant):
    whole, data = kit.trained()
    stopped, resumed = whole.copy(), whole.copy()
    settings = {"variant": variant, "batch_size": 6, "noise_batch": 4, "noise_copies": 2, "noise_steps": 3}
    Unsir(settings).apply(whole, data, kit.run("whole"))
    with pytest.raises(Interrupted):
        Unsir(settings).apply(stopped, data, StopsAt.scratch(tmp_path / "parts", device="cpu", checkpoint_every=1))
    Unsir(settings).apply(resumed, data, kit.run("parts", checkpoint_every=1))
    assert kit.largest_difference(whole, resumed) == 0


def test_micro_batches_give_the_same_weights(kit):
    whole, data = kit.trained()
    parts = whole.copy()
    settings = {"variant": "mufac", "batch_size": 6, **SGD}
    Unsir(settings).apply(whole, data, kit.run("a"))
    Unsir(settings).apply(parts, data, kit.run("b", micro_batch=2))
    assert kit.largest_difference(whole, parts) <= 1e-5
