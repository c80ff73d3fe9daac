"""MUNBa: the bargain against its definition and the reference's formula; the whole method against a loop."""

import math

import pytest
import torch
from mmunlearn.vision.methods.munba import Munba, bargain, reference_bargain

from mmunlearn.seeds import generator

PLAIN = {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}


def products(r, f):
    return float(r @ r), float(r @ f), float(f @ f)


@pytest.mark.parametrize("seed", range(5))
def test_weights_solve_the_nash_bargaining_equations(seed):
    draw = torch.Generator().manual_seed(seed)
    r, f = torch.randn(2, 7, generator=draw, dtype=torch.float64) * torch.tensor([[3.0], [0.2]], dtype=torch.float64)
    a_r, a_f = bargain(*products(r, f), 0.1)
    step = a_r * r + a_f * f
    # Nash: GᵀG a = 1/a, that is, each player's gain times its weight is one.
    assert abs(float(step @ r) * a_r - 1) <= 1e-12
    assert abs(float(step @ f) * a_f - 1) <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference_formula_where_that_is_well_conditioned(seed):
    draw = torch.Generator().manual_seed(seed)
    r, f = 3 * torch.randn(2, 7, generator=draw, dtype=torch.float64)
    assert bargain(*products(r, f), 0.1) == pytest.approx(reference_bargain(*products(r, f), 0.1), rel=1e-4)


def test_small_gradients_keep_their_bargain_which_the_reference_loses():
    # vision.md 6.13: ‖g_r‖² = ‖g_f‖² = 1e-4 and cosine .5.
    assert bargain(1e-4, 0.5e-4, 1e-4, 0.1) == pytest.approx((81.65, 81.65), rel=1e-4)
    assert reference_bargain(1e-4, 0.5e-4, 1e-4, 0.1) == pytest.approx((0.71, 28276), rel=1e-2)
    assert bargain(1e-6, 2e-7, 4e-6, 0.1) == pytest.approx((953, 477), rel=1e-3)


@pytest.mark.parametrize("g", [(1.0, -1.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)])
def test_without_a_bargain_falls_back(g):
    assert bargain(*g, 0.25) == (1.0, 0.25)


@pytest.mark.parametrize("scale", [1e-12, 1e-30])
def test_vanishing_gradients_give_finite_unit_directions(scale):
    a_r, a_f = bargain(scale, 0.0, scale, 0.1)
    assert (a_r * scale**0.5, a_f * scale**0.5) == pytest.approx((1, 1))


def loop(kit, handle, data, *, lr, epochs, size, cycle, head):
    """The method written out: bargains while forget batches last, plain steps after."""
    module = handle.module

    def relabelled(example, epoch):
        return example.with_target(handle.random_target(example, generator(0, "labels", "munba", epoch, example.id)))

    def gradient(batch):
        logits, y = module(handle.inputs(batch)), batch.tensors["target"]
        if head == "classes":
            loss = torch.nn.functional.cross_entropy(logits, y[:, 0])
        else:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y.float())
        return torch.autograd.grad(loss, list(module.parameters()))

    forget_steps = math.ceil(len(data["forget"]) / size)
    index = 0
    for epoch in range(epochs):
        for step, kept in enumerate(kit.epoch_batches(handle, data["retain"], "retain", epoch, size, seed=0)):
            module.train()
            g_r = gradient(kept)
            direction = g_r
            if cycle or step < forget_steps:
                g_f = gradient(
                    kit.endless_batch(handle, data["forget"], "forget", index, size, seed=0, change=relabelled)
                )
                flat_r, flat_f = (torch.cat([t.flatten() for t in g]).double() for g in (g_r, g_f))
                cosine = float(flat_r @ flat_f / flat_r.norm() / flat_f.norm())
                a_r, a_f = (1 / (float(g.norm()) * math.sqrt(1 + cosine)) for g in (flat_r, flat_f))
                direction = [a_r * x + a_f * y for x, y in zip(g_r, g_f, strict=True)]
                norm = math.sqrt(sum(float((d.double() ** 2).sum()) for d in direction))
                assert norm == pytest.approx(math.sqrt(2), rel=1e-5)  # unit vectors' sum over √(1+cos)
                direction = [d / norm for d in direction]
            with torch.no_grad():
                for p, d in zip(module.parameters(), direction, strict=True):
                    p -= lr * d
            index += 1
    module.eval()


@pytest.mark.parametrize(("cycle", "head"), [(False, "classes"), (True, "classes"), (False, "labels")])
def test_equals_the_method_written_out(kit, cycle, head):
    handle, data = kit.trained(head)
    slow = handle.copy()
    settings = {"epochs": 2, "batch_size": 8, "cycle_forget": cycle, "optimiser": PLAIN}
    Munba(settings).apply(handle, data, kit.run())
    loop(kit, slow, data, lr=0.01, epochs=2, size=8, cycle=cycle, head=head)
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_forgets_while_the_retain_set_is_kept(kit):
    handle, data = kit.trained()
    settings = {
        "epochs": 15,
        "batch_size": 12,
        "augment": False,
        "cycle_forget": True,
        "optimiser": PLAIN | {"lr": 0.2},
    }
    Munba(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 0.5
    assert kit.nll(handle, data["retain"]) < 0.01


def test_micro_batches_give_the_same_weights(kit):
    whole, data = kit.trained()
    parts = whole.copy()
    settings = {"epochs": 1, "batch_size": 8, "norm": "frozen"}
    Munba(settings).apply(whole, data, kit.run("a"))
    Munba(settings).apply(parts, data, kit.run("b", micro_batch=3))
    assert kit.largest_difference(whole, parts) <= 1e-5
