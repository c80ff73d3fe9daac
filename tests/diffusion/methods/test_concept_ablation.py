import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._draws import draws_of, normal
from mmunlearn.diffusion.methods.concept_ablation import ConceptAblation
from mmunlearn.diffusion.sampler import Request, sample, sampler_settings

from mmunlearn.errors import UserError
from mmunlearn.handle import View
from mmunlearn.phases import Step
from mmunlearn.seeds import derive


@pytest.mark.parametrize("variant", ["model", "noise"])
def test_loss_is_a_loop_over_anchor_pictures(handle, splits, run, variant):
    method = ConceptAblation({"variant": variant, "pictures": 2, "sampling_steps": 2, "prior_weight": 0.5})
    method.prepare(handle, splits, run)
    examples = splits["concept"].examples
    batch = handle.collate(examples, View(0, np.array([0, 3])))
    terms = method._terms(handle, {"concept": batch}, Step("x", 0, 0, 1, 1, 0))
    total = prior = 0.0
    with torch.no_grad():
        for example, draws in zip(examples, draws_of(batch, 0, "concept_ablation"), strict=True):
            mean, _ = method._moments[example.key, int(draws.integers(2))]
            normal([draws], mean.shape)  # the stand-in's posterior has no spread
            noise = normal([draws], mean.shape)
            t = handle.schedule.times(torch.tensor([draws.random()]))
            x = handle.noised(mean[None], noise, t)
            anchor = handle.predict(x, t, handle.encode([example.target]))
            made = handle.predict(x, t, handle.encode([example.prompt]))
            true = handle.target(mean[None], noise, t)
            total += float((made - (anchor if variant == "model" else true)).square().sum())
            prior += float((anchor - true).square().sum())
    assert total == pytest.approx(float(terms["ablate"].sum.detach()), rel=1e-4)
    assert prior == pytest.approx(float(terms["prior"].sum.detach()), rel=1e-4)
    assert 0.5 == terms["prior"].weight


def test_pictures_are_the_originals_samples_of_the_anchors_prompt(handle, splits, run):
    method = ConceptAblation({"pictures": 1, "sampling_steps": 2})
    method.prepare(handle, splits, run)
    example = splits["concept"][1]
    seed = derive(derive(0, "sample", "concept_ablation"), example.id, 0)
    how = sampler_settings({"steps": 2}, handle.settings.sampler)
    ((_, picture),) = sample(handle, [Request(example.target, seed, index=0)], how)
    mean, _ = method._moments[example.key, 0]
    assert (handle.encode_images(picture[None]).mean[0] - mean).abs().max() <= 2.1 / 127.5  # a grey level of rounding


def test_reference_weighs_four_times_and_only_keys_and_values_move(handle, splits, run):
    settings = {"reference": True, "pictures": 1, "sampling_steps": 2, "steps": 2, "batch_size": 2,
                "optimiser": {"name": "sgd", "lr": 0.1}}  # fmt: skip
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    method = ConceptAblation(settings)
    method.apply(handle, splits, run)
    batch = handle.collate(splits["concept"].examples, View(0, np.zeros(2)))
    assert 4.0 == method._terms(handle, {"concept": batch}, Step("x", 0, 0, 1, 1, 0))["ablate"].weight
    changed = [name for name, p in handle.module.named_parameters() if not torch.equal(before[name], p)]
    assert changed
    assert all(".attn2.to_k." in name or ".attn2.to_v." in name for name in changed)


def test_concept_without_anchor_is_refused(handle, splits, run):
    with pytest.raises(UserError, match="concept_ablation needs an anchor"):
        ConceptAblation().prepare(handle, {"concept": splits["anchor"]}, run)
