import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._cone import cone_weights
from mmunlearn.diffusion.methods.scissorhands import Scissorhands, fresh_values, threshold
from scipy.optimize import minimize

from mmunlearn.phases import Step


def test_threshold_is_the_kth_smallest_of_all():
    saliency = {"a": torch.tensor([[5.0, 1.0], [4.0, 2.0]]), "b": torch.tensor([3.0, 6.0, 0.5, 7.0, 9.0, 8.0])}
    assert 8.0 == threshold(saliency, 0.9)  # the ninth of ten; only 9 lies above
    assert 3.0 == threshold(saliency, 0.4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_cone_weights_solve_the_quadratic_programme(seed, margin):
    draw = np.random.default_rng(seed)
    memories, gradient = draw.standard_normal((3, 6)), draw.standard_normal(6)
    p, q = memories @ memories.T + 1e-3 * np.eye(3), memories @ gradient
    found = cone_weights(p, q, margin)
    slow = minimize(
        lambda v: 0.5 * v @ p @ v + q @ v, np.full(3, margin + 1), jac=lambda v: p @ v + q,
        bounds=[(margin, None)] * 3, tol=1e-12,
    )  # fmt: skip
    assert slow.x == pytest.approx(found, abs=1e-4)
    assert (found >= margin - 1e-12).all()
    # Without a ridge and a margin the result works against no memory.
    if margin == 0:
        assert (memories @ (gradient + cone_weights(p, q, 0.0) @ memories) > -1e-2).all()


def test_weights_above_the_threshold_are_redrawn_and_no_others(handle, splits, run):
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    original = handle.copy()
    method = Scissorhands({"sparsity": 0.8, "guidance": 2.0})
    method.prepare(handle, splits, run)
    chosen = dict(original.trainable())
    batch = original.collate(splits["forget"].examples)
    x, t = original.noised(batch.tensors["mean"], batch.tensors["noise"], batch.tensors["t"]), batch.tensors["t"]
    named = original.predict(x, t, original.encode([e.prompt for e in splits["forget"]]))
    plain = original.predict(x, t, original.unconditional(["", ""]))
    true = original.target(batch.tensors["mean"], batch.tensors["noise"], t)
    loss = ((true - (3.0 * named - 2.0 * plain)) ** 2).mean()
    made = torch.autograd.grad(loss, list(chosen.values()))
    saliency = {name: (g * p).abs().detach() for (name, p), g in zip(chosen.items(), made, strict=True)}
    flat = np.sort(torch.cat([s.flatten() for s in saliency.values()]).numpy())
    limit = flat[int(0.8 * len(flat)) - 1]
    redrawn = 0
    for name, parameter in handle.module.named_parameters():
        changed = parameter != before[name]
        if ".attn2." in name:
            sure = (saliency[name] - limit).abs() > 1e-4 * limit
            assert (changed == (saliency[name] > limit))[sure].all()
            assert torch.equal(parameter[changed], fresh_values(name, parameter, 0)[changed])
            redrawn += int(changed.sum())
        else:
            assert not changed.any()
    assert redrawn == next(iter(run.events("redrawn")))["weights"]
    assert redrawn > 0


def test_fresh_values_are_small_and_keyed_by_name():
    like = torch.empty(200, 50)
    drawn = fresh_values("a.weight", like, 0)
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(drawn, fresh_values("b.weight", like, 0))
    assert 0 == fresh_values("a.bias", like, 0).abs().max()


def test_gradient_against_a_memory_is_projected(handle, splits, run):
    method = Scissorhands({"project": True, "sparsity": 0.99, "batch_size": 2})
    method.prepare(handle, splits, run)
    (memory,) = method._memories
    parameters = dict(handle.trainable())
    size = sum(float(m.double().square().sum()) for m in memory.values())
    for sign in (1.0, -2.0):
        for name, parameter in parameters.items():
            parameter.grad = sign * memory[name].clone()
        method._project(parameters, Step("x", 0, 0, 1, 1, 0))
        after = sum(float((p.grad.double() * memory[n].double()).sum()) for n, p in parameters.items()) / size
        # -2 m: the dual's solution is v = 2 / 1.001, so the projected gradient all but vanishes along m.
        assert after == pytest.approx(1.0 if sign > 0 else -2 + 2 / 1.001, abs=1e-4)


def test_reference_reads_the_plain_loss_of_the_first_batches(handle, splits, run):
    method = Scissorhands({"reference": True, "batch_size": 1, "epochs": 2})
    method.prepare(handle, splits, run)
    (phase,) = method.phases(handle, splits, run)
    assert 4 == phase.steps
    assert splits["forget"].ids[:1] == phase.streams["forget"].split.ids
