import numpy as np
import pytest
import torch
from mmunlearn.diffusion.handle import DiffusionHandle
from mmunlearn.diffusion.methods._draws import draws_of, normal
from mmunlearn.diffusion.methods._erasers import concept_masks, erasing, new_erasers
from mmunlearn.diffusion.methods.receler import Receler, outside, with_soft
from mmunlearn.diffusion.sampler import Request, sample, sampler_settings

from mmunlearn.errors import UserError
from mmunlearn.handle import View, weights_digest
from mmunlearn.phases import Step
from mmunlearn.run import Run


def test_masks_are_min_max_scaled_means_by_hand():
    draw = torch.Generator().manual_seed(0)
    maps = {"a": torch.rand(2, 3, 16, 5, generator=draw), "b": torch.rand(2, 3, 16, 5, generator=draw),
            "c": torch.rand(2, 3, 4, 5, generator=draw)}  # fmt: skip
    at = [slice(1, 3), slice(2, 3)]
    found = concept_masks(maps, at, side=4, limit=0.4, height=8, width=8)
    for row, span in enumerate(at):
        cells = []
        for cell in range(16):
            tokens = range(span.start, span.stop)
            values = [float(maps[n][row, h, cell, k]) for n in "ab" for h in range(3) for k in tokens]
            cells.append(sum(values) / len(values))
        low, high = min(cells), max(cells)
        expected = [(value - low) / (high - low) >= 0.4 for value in cells]
        assert expected == found["a"][row].tolist() == found["b"][row].tolist()
        # Two by two cells take the nearest of four by four: rows and columns 0 and 2.
        assert [expected[i] for i in (0, 2, 8, 10)] == found["c"][row].tolist()


def test_outside_is_a_loop_over_cells():
    out = {"a": torch.arange(12.0).view(1, 4, 3), "b": torch.ones(1, 2, 3)}
    masks = {"a": torch.tensor([[True, False, False, True]]), "b": torch.tensor([[True, True]])}
    by_hand = ((9 + 16 + 25) / 3 + (36 + 49 + 64) / 3) / 2
    assert by_hand / 2 == pytest.approx(float(outside(out, masks)), rel=1e-6)


def test_new_erasers_change_nothing_and_are_seeded(handle):
    x, t, c = torch.ones(1, *handle.latent_shape()), torch.tensor([500]), handle.encode(["a"])
    erasers = new_erasers(handle, 4, 0)
    with torch.no_grad():
        before = handle.predict(x, t, c)
        outputs = {}
        with erasing(handle, erasers, outputs):
            assert torch.equal(before, handle.predict(x, t, c))
        assert set(erasers) == set(outputs)
        for parameter in erasers.parameters():
            parameter.add_(0.3)
        with erasing(handle, erasers):
            assert not torch.allclose(before, handle.predict(x, t, c))
        assert torch.equal(before, handle.predict(x, t, c))
    same, other = new_erasers(handle, 4, 0), new_erasers(handle, 4, 1)
    assert weights_digest(same) == weights_digest(new_erasers(handle, 4, 0)) != weights_digest(other)


def test_soft_vectors_stand_behind_the_prompt(handle):
    condition = handle.encode(["a b", "a"])
    free = torch.full((2, 3, condition.states.shape[2]), 7.0)
    length = condition.states.shape[1]
    made = with_soft(condition, [5, length - 2], free)
    assert (made.states[0, 5:8] == 7).all()
    assert torch.equal(condition.states[0, 8:], made.states[0, 8:])
    assert torch.equal(condition.states[0, :5], made.states[0, :5])
    assert (made.states[1, length - 2 :] == 7).all()
    assert condition.states.shape == made.states.shape


def test_attack_lowers_the_distance_to_the_original(handle, splits, run):
    method = Receler({"rank": 4, "attack_steps": 6, "attack_lr": 0.05, "attack_decay": 0.0})
    method.prepare(handle, splits, run)
    c = handle.encode([splits["concept"][0].prompt])
    x, t = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0)), torch.tensor([600])
    shown = handle.predict(x, t, handle.encode([splits["concept"][0].target])).detach()
    start = torch.rand(1, 4, c.states.shape[2], generator=torch.Generator().manual_seed(1))
    free = method._attack(handle, (x, t, shown), (c, [8]), start)

    def distance(vectors):
        return float((handle.predict(x, t, with_soft(c, [8], vectors)) - shown).detach().square().mean())

    assert distance(free) < distance(start)


def test_erase_term_without_attack_is_esds_on_the_original(handle, splits, run):
    method = Receler({"rank": 4, "attack_steps": 0, "walk_steps": 1, "eta": 0.6})
    method.prepare(handle, splits, run)
    batch = handle.collate(splits["concept"].examples[:1], View(0, np.zeros(1)))
    terms = method._terms(handle, {"concept": batch}, Step("x", 0, 0, 1, 1, 0))
    # One step: the stop is the first noise, and new erasers are without effect.
    (draws,) = draws_of(batch, 0, "receler")
    draws.choice(1, size=1, replace=False)
    x, t = normal([draws], handle.latent_shape()), handle.schedule.solver("ddim", 1).times[:1]
    with torch.no_grad():
        named = handle.predict(x, t, handle.encode([splits["concept"][0].prompt]))
        plain = handle.predict(x, t, handle.unconditional([""]))
        expected = (named - (plain - 0.6 * (named - plain))).square().sum()
    assert float(expected) == pytest.approx(float(terms["erase"].sum.detach()), rel=1e-3)
    assert 0.0 == float(terms["outside"].sum.detach())


def test_result_is_a_guard_that_is_stored_and_acts_on_pictures(handle, splits, run, tmp_path):
    settings = {**Receler.toy, "steps": 2, "optimiser": {"name": "sgd", "lr": 20.0}}
    before = weights_digest(handle.module)
    how = sampler_settings({"steps": 2})
    requests = [Request(splits["concept"][0].prompt, 1)]
    (_, plain), *_ = sample(handle, requests, how)
    result = Receler(settings).apply(handle, splits, run)
    assert before == weights_digest(result.module)
    (_, erased), *_ = sample(result, requests, how)
    assert not torch.equal(plain, erased)
    result.save(tmp_path / "model")
    (_, again), *_ = sample(DiffusionHandle.load(tmp_path / "model"), requests, how)
    assert (erased.int() - again.int()).abs().max() <= 1
    with pytest.raises(UserError, match="has a guard already"):
        Receler(settings).apply(result, splits, run)


def test_erasers_resume(untrained, splits, run, resumed):
    settings = {**Receler.toy, "steps": 3}
    whole = Receler(settings).apply(untrained.copy(), splits, run).guard.tensors()
    again = resumed(Receler, settings, untrained, 2).guard.tensors()
    assert set(whole) == set(again)
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_erasers_of_another_seed_differ(untrained, splits, tmp_path):
    runs = [Run.scratch(tmp_path / str(seed), seed, device="cpu") for seed in (0, 1)]
    one, two = (Receler({**Receler.toy, "steps": 1}).apply(untrained.copy(), splits, run).guard for run in runs)
    assert weights_digest(one.erasers) != weights_digest(two.erasers)
