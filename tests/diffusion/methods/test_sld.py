"""SLD: the safety term by hand, its momentum over steps, and what a whole walk does."""

import pytest
import torch
from mmunlearn.diffusion.guard import GuardStep
from mmunlearn.diffusion.methods.sld import STRENGTHS, Rule, Safety, Sld
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings

from mmunlearn.errors import UserError


def step(index, memory, steps=10, scale=2.0):
    return GuardStep(index, steps, torch.tensor(500), ("a",), scale, memory)


def guided(rule, index, memory, values):
    """One value of each prediction: empty, prompt, concept."""
    low, high, third = (torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in values)
    return Safety("x", rule).guidance(step(index, memory), low, high, third).item()


def test_hand_case():
    rule = Rule(10.0, 0.0, 0.01, 0.5, 0.75)
    memory = {}
    # gap -0.05 < 0.01: weight 0.5; safety 0.5 * (0.25 - 0.1); guided 0.1 + 2 * (0.1 - 0.075)
    assert 0.15 == pytest.approx(guided(rule, 0, memory, (0.1, 0.2, 0.25)))
    assert 0.25 * 0.075 == pytest.approx(memory["momentum"].item())
    # gap 0.1 is over the threshold: momentum alone
    assert 0.1 + 2 * (0.2 - 0.5 * 0.01875) == pytest.approx(guided(rule, 1, memory, (0.1, 0.3, 0.2)))
    assert 0.75 * 0.01875 + 0.25 * 0.009375 == pytest.approx(memory["momentum"].item())


def test_weight_is_cut_off_at_one():
    # gap -0.5: weight min(1, 5); safety 0.6
    assert 0.1 + 2 * (0.1 - 0.6) == pytest.approx(guided(Rule(10.0, 0.0, 0.0, 0.0, 0.0), 0, {}, (0.1, 0.2, 0.7)))


def test_warm_up_leaves_guidance_and_builds_momentum():
    memory = {}
    rule = Rule(10.0, 0.2, 0.01, 0.5, 0.75)
    assert 0.1 + 2 * 0.1 == pytest.approx(guided(rule, 1, memory, (0.1, 0.2, 0.25)))
    assert 0 < memory["momentum"].item()
    assert 0.3 > guided(rule, 2, memory, (0.1, 0.2, 0.25))


def pictures(handle, prompts, batch_size=8):
    how = SamplerSettings(steps=4, scale=3.0, batch_size=batch_size)
    return torch.stack([p for _, p in sample(handle, [Request(p, 1, i) for i, p in enumerate(prompts)], how)])


def test_walk_changes_pictures_whatever_the_batch(task, run, tmp_path):
    handle, splits = task()
    prompts = [example.prompt for example in splits["concept"]]
    wrapped = Sld({"strength": "max"}).apply(handle, splits, run)
    changed = pictures(wrapped, prompts)
    assert not torch.equal(pictures(handle, prompts), changed)
    single = pictures(wrapped, prompts, 1)
    assert 1 >= (changed.int() - single.int()).abs().max()
    wrapped.save(tmp_path / "model")
    assert torch.equal(changed, pictures(type(wrapped).load(tmp_path / "model"), prompts))


def test_threshold_that_nothing_is_below_leaves_the_pictures(task, run):
    handle, splits = task()
    prompts = [example.prompt for example in splits["concept"]]
    wrapped = Sld({"threshold": -1e9}).apply(handle, splits, run)
    assert 1 >= (pictures(handle, prompts).int() - pictures(wrapped, prompts).int()).abs().max()


@pytest.mark.parametrize("strength", sorted(STRENGTHS))
def test_strengths_lie_under_the_users_settings(strength):
    assert STRENGTHS[strength]["safety_scale"] == Sld({"strength": strength}).config.safety_scale
    assert 7.0 == Sld({"strength": strength, "safety_scale": 7.0}).config.safety_scale


def test_second_guard_is_refused(task, run):
    handle, splits = task()
    wrapped = Sld().apply(handle, splits, run)
    with pytest.raises(UserError, match="already has a guard"):
        Sld().apply(wrapped, splits, run)
