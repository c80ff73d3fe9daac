"""Boundary shrink: labels against a picture-by-picture attack, training against a hand-written loop."""

import pytest
import torch
from mmunlearn.vision.methods._fgsm import fgsm
from mmunlearn.vision.methods.boundary_shrink import BoundaryShrink, nearest_targets


def slow_label(handle, example, bound, wrong_only):
    """New label of one picture: attack it alone, then search the classes (or labels) one by one."""
    batch = handle.collate([example])
    x = (batch.tensors["image"].float() / 255).requires_grad_(True)
    logits = handle.module(x)[0]
    if handle.family == "categorical":
        loss = -torch.log_softmax(logits, 0)[example.target]
    else:
        loss = sum(-torch.nn.functional.logsigmoid(z if y else -z) for z, y in zip(logits, example.target, strict=True))
    loss.backward()
    moved = torch.empty_like(x)
    for index in range(x.numel()):
        step = float(torch.sign(x.grad.view(-1)[index])) * bound
        value = min(max(float(x.detach().view(-1)[index]) + step, 0.0), 1.0)
        moved.view(-1)[index] = round(value * 255) / 255
    z = [float(v) for v in handle.module(moved)[0].detach()]
    if handle.family == "categorical":
        allowed = [c for c in range(len(z)) if not (wrong_only and c == example.target)]
        return max(allowed, key=lambda c: z[c])
    signs = [int(v > 0) for v in z]
    if wrong_only and tuple(signs) == example.target:
        margins = [v if y else -v for v, y in zip(z, example.target, strict=True)]
        nearest = margins.index(min(margins))
        signs[nearest] = 1 - signs[nearest]
    return tuple(signs)


@pytest.mark.parametrize("head", ["classes", "labels"])
@pytest.mark.parametrize("wrong_only", [True, False])
@pytest.mark.parametrize("bound", [0.02, 0.1])
def test_labels_equal_a_picture_by_picture_attack(kit, head, wrong_only, bound):
    handle, data = kit.trained(head)
    method = BoundaryShrink({"epochs": 0, "wrong_only": wrong_only, "bound": bound})
    expected = {e.id: slow_label(handle, e, bound, wrong_only) for e in data["forget"]}
    run = kit.run()
    method.apply(handle, data, run)
    assert expected == method._labels
    (event,) = run.events("relabelled")
    assert sum(expected[e.id] != e.target for e in data["forget"]) == event["changed"]
    assert event["changed"] == 12 or not wrong_only


def test_nearest_label_vector_flips_the_smallest_margin_when_no_sign_changed():
    z = torch.tensor([[[2.0], [-0.5], [1.0]], [[2.0], [0.5], [1.0]]])
    y = torch.tensor([[1, 0, 1], [1, 0, 1]])
    assert [[1, 1, 1], [1, 1, 1]] == nearest_targets(z, y, "bernoulli", wrong_only=True).tolist()
    assert [[1, 0, 1], [1, 1, 1]] == nearest_targets(z, y, "bernoulli", wrong_only=False).tolist()


def test_attack_raises_the_loss_within_its_bound(kit):
    handle, data = kit.trained()
    batch = handle.collate(data["forget"].examples)
    x = handle.inputs(batch)
    moved = fgsm(handle, x, batch, 0.1, rounded=True)
    assert float((moved - x).abs().max()) <= 0.1 + 0.5 / 255 + 1e-6
    before, after = (float(handle.score_inputs(v, batch).nll.detach().sum()) for v in (x, moved))
    assert after > before
    assert torch.equal(moved * 255, (moved * 255).round())


def loop(kit, handle, data, *, each_batch, lr):
    """SGD with momentum on the new labels, written out."""
    original = handle.copy()
    original.module.eval()
    labels = {e.id: slow_label(original, e, 0.1, True) for e in data["forget"]}
    velocity = {}
    for epoch in range(2):
        for batch in kit.epoch_batches(handle, data["forget"], "forget", epoch, 5, seed=0):
            x = handle.inputs(batch)
            if each_batch:
                moved = fgsm(original, x, batch, 0.1, rounded=True)
                z = original.logits(moved)[:, 0].detach()
                z[range(len(z)), batch.tensors["target"][:, 0]] = -1e9
                y = z.argmax(1)
            else:
                y = torch.tensor([labels[name] for name in batch.ids])
            handle.module.train()
            handle.module.zero_grad()
            torch.nn.functional.cross_entropy(handle.module(x), y).backward()
            with torch.no_grad():
                for name, p in handle.module.named_parameters():
                    velocity[name] = 0.9 * velocity.get(name, 0) + p.grad
                    p -= lr * velocity[name]
    handle.module.eval()


@pytest.mark.parametrize("labels", ["once", "each_batch"])
def test_equals_hand_written_sgd_on_the_new_labels(kit, labels):
    handle, data = kit.trained()
    slow = handle.copy()
    settings = {"labels": labels, "epochs": 2, "batch_size": 5, "optimiser": {"lr": 0.01, "momentum": 0.9}}
    BoundaryShrink(settings).apply(handle, data, kit.run())
    loop(kit, slow, data, each_batch=labels == "each_batch", lr=0.01)
    # Momentum over steps of loss near 10 magnifies the last bits of float32.
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_forgets_more_than_it_harms_the_retain_set(kit):
    handle, data = kit.trained()
    settings = {"epochs": 10, "batch_size": 12, "augment": False, "norm": "frozen", "optimiser": {"lr": 0.01}}
    BoundaryShrink(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 1
    assert kit.nll(handle, data["retain"]) < 0.5 * kit.nll(handle, data["forget"])
