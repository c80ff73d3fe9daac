import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods.erase_diff import EraseDiff, barrier_weight

from mmunlearn.handle import View, weights_digest
from mmunlearn.precision import doubled_inputs


def batch_of(handle, examples, epoch):
    batch = handle.collate(examples, View(0, np.full(len(examples), epoch)))
    batch.tensors = doubled_inputs(batch.tensors)
    return batch


def forget_loss(handle, splits, epoch):
    batch = batch_of(handle, splits["forget"].examples, epoch)
    table = {example.prompt: example.target for example in splits["concept"]}
    x, t = handle.noised(handle.clean(batch), batch.tensors["noise"], batch.tensors["t"]), batch.tensors["t"]
    total = 0.0
    for i, example in enumerate(splits["forget"]):
        row = slice(i, i + 1)
        with torch.no_grad():
            aim = handle.predict(x[row], t[row], handle.encode([table[example.prompt]]))
        total = total + ((handle.predict(x[row], t[row], handle.encode([example.prompt])) - aim) ** 2).mean()
    return total / len(splits["forget"])


def retain_loss(handle, splits, epoch):
    batch = batch_of(handle, splits["retain"].examples, epoch)
    return (handle.score(batch).nll / batch.count).mean()


def gradients(loss, parameters):
    made = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(made, parameters, strict=True)]


def close(one, other):
    for name, parameter in one.module.named_parameters():
        twin = dict(other.module.named_parameters())[name]
        assert torch.allclose(parameter.double(), twin.double(), rtol=1e-6, atol=1e-7), name


SETTINGS = {"batch_size": 2, "epochs": 2, "optimiser": {"name": "sgd", "lr": 0.05}, "forget_weight": 0.4}


def test_short_form_is_plain_descent_on_both_losses(handle, exact, splits, double_run):
    EraseDiff(SETTINGS).apply(handle, splits, double_run)
    parameters = [p for _, p in exact.trainable()]
    for epoch in range(2):
        loss = retain_loss(exact, splits, epoch) + 0.4 * forget_loss(exact, splits, epoch)
        with torch.no_grad():
            for p, g in zip(parameters, gradients(loss, parameters), strict=True):
                p -= 0.05 * g
    close(handle, exact)


@pytest.mark.parametrize("barrier", [True, False])
def test_bilevel_form_is_a_hand_written_loop(handle, exact, splits, double_run, barrier):
    steps = 2
    method = EraseDiff({**SETTINGS, "bilevel": True, "inner_steps": steps, "inner_lr": 0.1, "barrier": barrier})
    method.apply(handle, splits, double_run)
    parameters = [p for _, p in exact.trainable()]
    for epoch in range(2):
        start = [p.detach().clone() for p in parameters]
        for _ in range(steps):
            made = gradients(forget_loss(exact, splits, epoch), parameters)
            with torch.no_grad():
                for p, g in zip(parameters, made, strict=True):
                    p -= 0.1 * g
        probe = gradients(forget_loss(exact, splits, epoch), parameters)
        with torch.no_grad():
            for p, s in zip(parameters, start, strict=True):
                p.copy_(s)
        # The retained stream goes on while inner steps and the probe do not ask for it.
        g_r = gradients(retain_loss(exact, splits, epoch * (steps + 2) + steps + 1), parameters)
        g_q = [f - k for f, k in zip(gradients(forget_loss(exact, splits, epoch), parameters), probe, strict=True)]
        flat_r, flat_q = torch.cat([g.flatten() for g in g_r]), torch.cat([g.flatten() for g in g_q])
        weight = max(0.0, 0.4 - float(flat_r @ flat_q) / float(flat_q @ flat_q)) if barrier else 0.4
        with torch.no_grad():
            for p, r, q in zip(parameters, g_r, g_q, strict=True):
                p -= 0.05 * (r + weight * q)
    close(handle, exact)


def test_barrier_grants_descent_of_the_constraint():
    r, q = [torch.tensor([-3.0, 0.0])], [torch.tensor([1.0, 1.0])]
    weight = barrier_weight(r, q, 0.5)
    assert 0.5 + 3 / 2 == weight
    step = r[0] + weight * q[0]
    assert float(step @ q[0]) == pytest.approx(0.5 * 2)
    assert 0.0 == barrier_weight([torch.tensor([5.0, 5.0])], q, 0.5)
    assert 0.5 == barrier_weight(r, [torch.zeros(2)], 0.5)


@pytest.mark.parametrize("last", [1, 3, 4])
def test_bilevel_form_resumes_within_a_cycle(untrained, splits, run, resumed, last):
    settings = {**SETTINGS, "bilevel": True, "inner_steps": 2, "inner_lr": 0.1}
    whole = EraseDiff(settings).apply(untrained.copy(), splits, run)
    assert weights_digest(whole.module) == weights_digest(resumed(EraseDiff, settings, untrained, last).module)
