"""SEOT: soft weighting and its loss by hand, which states change at which step, and untouched prompts."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.guard import GuardStep
from mmunlearn.diffusion.methods.seot import Descent, Seot, SeotSettings, attention_loss, damped, soft_weight
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError

PROMPTS = ["A Dogs image in Van Gogh style.", "A Dogs image in Ink style."]


def test_soft_weight_by_hand():
    draw = np.random.default_rng(0)
    left, _ = np.linalg.qr(draw.standard_normal((5, 3)))
    right, _ = np.linalg.qr(draw.standard_normal((4, 3)))
    rows = sum(s * np.outer(left[:, i], right[:, i]) for i, s in enumerate((2.0, 1.0, 0.5)))
    expected = sum(s * np.exp(-0.7 * s) * np.outer(left[:, i], right[:, i]) for i, s in enumerate((2.0, 1.0, 0.5)))
    made = soft_weight(torch.from_numpy(rows).float(), 0.7)
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-6)


def test_concept_and_end_tokens_are_damped_together():
    states = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    made = damped(states, [[2]], [4], 0.5)
    assert torch.equal(states[0, [0, 1, 3]], made[0, [0, 1, 3]])
    torch.testing.assert_close(soft_weight(states[0, [2, 4, 5]], 0.5), made[0, [2, 4, 5]])


def test_loss_by_hand():
    draw = np.random.default_rng(1)
    a, b = draw.random((1, 4, 5)), draw.random((1, 4, 5))
    p, q = draw.random((1, 4, 4)), draw.random((1, 4, 4))
    settings = SeotSettings(threshold=0.6, self_retain_weight=0.3, self_erase_weight=-0.2)

    def gap(x, y):
        return 1 - x @ y / np.sqrt((x @ x) * (y @ y))

    expected = 0.0
    for token in (1, 2, 3):  # the first end token is 4; the concept is token 2
        erased = token == 2
        expected += (-0.5 if erased else 1.0) * gap(a[0, :, token], b[0, :, token])
        for cell in range(4):
            if a[0, cell, token] >= a[0, :, token].max() * (0.6 if erased else 0.7):
                expected += (-0.2 if erased else 0.3) * gap(p[0, :, cell], q[0, :, cell])
    maps = [tuple(torch.from_numpy(x) for x in pair) for pair in ((a, p), (b, q))]
    assert expected == pytest.approx(attention_loss(*maps, ([[2]], [4]), settings).item())


def step(index, steps=10):
    return GuardStep(index, steps, torch.tensor(500), tuple(PROMPTS), 2.0)


def test_states_by_step(task, run):
    handle, splits = task()
    guard = Seot({"iterations": 1}).apply(handle, splits, run).guard
    condition, latents = handle.encode(PROMPTS), torch.randn(2, *handle.latent_shape())
    early, between, late = (guard.at_step(handle, step(i), latents, condition).states for i in (1, 3, 5))
    assert torch.equal(condition.states, early)
    tokens = handle.tokenise(PROMPTS)
    span = [5, 6]  # start, a, dogs, image, in, van, gogh
    expected = damped(condition.states[:1], [span], [int(tokens.first_eot[0])], 1.0)
    torch.testing.assert_close(expected[0], late[0])
    assert not torch.equal(late[0], between[0])
    for made in (between, late):
        assert torch.equal(condition.states[1], made[1])


def test_descent_lowers_the_loss(task):
    handle, _ = task()
    condition = handle.encode(PROMPTS[:1])
    latents = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0))
    settings = SeotSettings(iterations=3)
    ends = [int(handle.tokenise(PROMPTS[:1]).first_eot[0])]
    descent = Descent(handle, latents, torch.tensor(500), settings)
    start = damped(condition.states, [[5, 6]], ends, 1.0)
    with torch.no_grad():
        before = descent._maps(condition)

        def loss(states):
            return attention_loss(before, descent._maps(type(condition)(states)), ([[5, 6]], ends), settings).item()

        made = descent.run(condition, start, [[5, 6]], ends, 0.1)
        assert loss(made) < loss(start)


def pictures(handle):
    how = SamplerSettings(steps=5, scale=3.0)
    return torch.stack([p for _, p in sample(handle, [Request(p, 1, i) for i, p in enumerate(PROMPTS)], how)]).int()


def test_only_prompts_that_name_the_concept_change(task, run, tmp_path):
    handle, splits = task()
    wrapped = Seot(Seot.toy).apply(handle, splits, run)
    before, after = pictures(handle), pictures(wrapped)
    assert 0 < (before[0] - after[0]).abs().max()
    assert 1 >= (before[1] - after[1]).abs().max()
    wrapped.save(tmp_path / "model")
    assert torch.equal(after, pictures(type(handle).load(tmp_path / "model")))


def test_transformers_are_refused(task, run):
    with pytest.raises(UserError, match="seot"):
        Seot().apply(toy_handle(name="scratch/sd3", architecture={}), task()[1], run)
