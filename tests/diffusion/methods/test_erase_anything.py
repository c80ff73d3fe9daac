import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._draws import draws_of, normal
from mmunlearn.diffusion.methods._partial_sampling import partial_samples, random_stops
from mmunlearn.diffusion.methods._words_at import words_at
from mmunlearn.diffusion.methods.erase_anything import (
    EraseAnything,
    contrast,
    prompt_projections,
    suppressed,
    token_maps,
)
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError
from mmunlearn.handle import View
from mmunlearn.phases import Step


def test_attention_term_and_maps_are_loops():
    draw = torch.Generator().manual_seed(0)
    maps = {"a": torch.rand(2, 3, 4, 6, generator=draw), "b": torch.rand(2, 3, 4, 6, generator=draw)}
    spans = [slice(1, 3), slice(4, 5)]
    terms, shown = suppressed(maps, spans), token_maps(maps, spans)
    for row, span in enumerate(spans):
        total = 0.0
        for layer in maps.values():
            for cell in range(4):
                for token in range(span.start, span.stop):
                    total += sum(float(layer[row, head, cell, token]) ** 2 for head in range(3)) ** 0.5
        assert total / 2 == pytest.approx(float(terms[row]), rel=1e-5)
        for cell in range(4):
            tokens = range(span.start, span.stop)
            values = [float(m[row, h, cell, k]) for m in maps.values() for h in range(3) for k in tokens]
            assert sum(values) / len(values) == pytest.approx(float(shown[row, cell]), rel=1e-5)


def test_contrast_is_the_log_share_of_the_first_cosine():
    original = torch.tensor([[1.0, 0.0]])
    others = torch.tensor([[[1.0, 1.0], [0.0, 2.0], [3.0, 0.0]]])
    cosines = [0.5**0.5, 0.0, 1.0]
    weights = [np.exp(value / 0.5) for value in cosines]
    assert np.log(weights[0] / sum(weights)) == pytest.approx(float(contrast(original, others, 0.5)), rel=1e-5)


def settings(**more):
    return {"rank": 2, "walk_steps": 3, "eta": 0.6, **more}


def test_terms_of_both_kinds_of_steps(handle, splits, run):
    original = handle.copy()
    method = EraseAnything(settings())
    method.prepare(handle, splits, run)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for change in method._changes.values():
            change.up.add_(torch.randn(change.up.shape, generator=draw) * 0.3)
    example = splits["concept"][0]
    batches = {
        "concept": handle.collate([example], View(0, np.zeros(1))),
        "retain": handle.collate(splits["retain"].examples, View(0, np.zeros(2))),
    }
    (draws,) = draws_of(batches["concept"], 0, "erase_anything")
    at, noise = random_stops([draws], 3, 1), normal([draws], handle.latent_shape())
    named, empty = handle.encode([example.prompt]), handle.unconditional([""])
    with torch.no_grad():
        x, t = partial_samples(handle, noise, at, (named, empty), steps=3, scale=3.0)
        x, t = x[:, 0], t[:, 0]
        e_p, e_0 = original.predict(x, t, named), original.predict(x, t, empty)
        esd = (handle.predict(x, t, named) - (e_0 - 0.6 * (e_p - e_0))).square().sum()
        assert not torch.allclose(e_p, handle.predict(x, t, named))
    even = method._terms(handle, batches, Step("x", 0, 0, 2, 1, 0))
    assert float(esd) == pytest.approx(float(even["esd"].sum.detach()), rel=1e-3)
    assert {"esd", "attention"} == set(even)
    odd = method._terms(handle, batches, Step("x", 0, 1, 2, 1, 0))
    assert {"reconstruction", "contrast"} == set(odd)
    span = words_at(handle, [example.prompt], "Van Gogh")
    picks = draws.choice(4, size=3, replace=False)
    with torch.no_grad():
        shown = []
        for model, text in [(original, example.prompt), (handle, example.prompt)] + [
            (handle, splits["anchor"][int(i)].prompt) for i in picks
        ]:
            with model.recorded_attention() as maps:
                model.predict(x, t, model.encode([text]))
            shown.append(token_maps(maps, span))
    expected = contrast(shown[0], torch.stack(shown[1:], 1), 0.07)
    assert float(expected) == pytest.approx(float(odd["contrast"].sum.detach()), rel=1e-3)


def test_changes_are_low_rank_and_folded_into_an_ordinary_model(handle, splits, run):
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    EraseAnything(settings(steps=3, optimiser={"name": "sgd", "lr": 5.0})).apply(handle, splits, run)
    after = dict(handle.module.named_parameters())
    assert set(before) == set(after)
    changed = [name for name, p in after.items() if not torch.equal(before[name], p)]
    assert changed
    for name in changed:
        assert name.endswith(("attn2.to_q.weight", "attn2.to_k.weight"))
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-6) <= 2
        assert after[name].requires_grad


@pytest.mark.parametrize("family", ["flux", "sd3"])
def test_transformers_change_the_prompts_projections(splits, run, family):
    handle = toy_handle(name=f"scratch/{family}", architecture={}, sampler={}, text_length=48)
    names = prompt_projections(handle)
    assert names
    assert all(name.endswith(("add_q_proj", "add_k_proj")) for name in names)
    before = {name: layer.weight.detach().clone() for name, layer in names.items()}
    EraseAnything(settings(steps=3, optimiser={"name": "sgd", "lr": 5.0})).apply(handle, splits, run)
    after = prompt_projections(handle)
    assert any(not torch.equal(before[name], layer.weight) for name, layer in after.items())


def test_prompt_without_the_phrase_is_refused(handle, splits, run):
    with pytest.raises(UserError, match="does not stand in"):
        EraseAnything().prepare(handle, {**splits, "concept": splits["concept"].mapped(
            lambda e: type(e)(id=e.id, prompt="A picture.", tags=e.tags))}, run)  # fmt: skip
