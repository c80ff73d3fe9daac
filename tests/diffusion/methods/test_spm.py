"""SPM: its loss by hand, the permeability, and pictures against weights with the membrane merged in."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._low_rank import attach, detach, strength, transformer_layers
from mmunlearn.diffusion.methods.spm import Membranes, Spm, permeability, random_like
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest
from mmunlearn.phases import Step
from mmunlearn.seeds import generator

TOY = {**Spm.toy, "iterations": 2}


def pictures(handle, prompts):
    how = SamplerSettings(steps=3, scale=2.0)
    return torch.stack([p for _, p in sample(handle, [Request(p, 1, i) for i, p in enumerate(prompts)], how)]).int()


def membranes(handle, count, transport):
    """Random changes of every layer, one membrane a concept."""
    draw = torch.Generator().manual_seed(3)
    made = []
    for words in ("Van Gogh", "Trees")[:count]:
        factors = {}
        for name, layer in transformer_layers(handle).items():
            up = 0.2 * torch.randn(len(layer.weight), 1, generator=draw)
            factors[name] = (up, 0.2 * torch.randn(1, layer.weight[0].numel(), generator=draw))
        made.append(((words,), factors))
    return Membranes(made, transport)


def merged(handle, guard, m):
    """The handle with each layer's change worked into its weight, for a prompt whose permeabilities are m."""
    twin = handle.copy()
    layers = dict(twin.module.named_modules())
    with torch.no_grad():
        for name in guard.membranes[0][1]:
            pairs = [factors[name] for _, factors in guard.membranes]
            if guard.transport == "intended":
                change = sum(s * up @ down for s, (up, down) in zip(m, pairs, strict=True))
            else:
                up, down = (sum(s * pair[k] for s, pair in zip(m, pairs, strict=True)) for k in (0, 1))
                change = up @ down
            layers[name].weight += change.view_as(layers[name].weight)
    return twin


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("transport", ["intended", "reference"])
def test_pictures_are_those_of_weights_with_the_membranes_merged(transport, count, task, tmp_path):
    handle, _ = task()
    prompts = ["A Dogs image in Van Gogh style.", "A Trees image in Ink style."]
    guarded = handle.copy()
    guarded.guard = membranes(handle, count, transport)
    m = guarded.guard.permeabilities(handle, prompts)
    expected = []
    for i, prompt in enumerate(prompts):
        twin = merged(handle, guarded.guard, m[:, i].tolist())
        expected.append(pictures(twin, [*prompts[:i], prompt])[i])
    made = pictures(guarded, prompts)
    assert 1 >= (torch.stack(expected) - made).abs().max()
    assert 1 < (pictures(handle, prompts) - made).abs().max()
    guarded.save(tmp_path / "model")
    assert torch.equal(made, pictures(type(handle).load(tmp_path / "model"), prompts))


def test_permeability_by_hand(task):
    handle, _ = task()
    texts, phrase = ["A picture by van Gogh", "Trees", "van Halen"], "Van Gogh"
    got = permeability(handle, texts, [phrase])
    b = handle.encode([phrase]).states.double().numpy().ravel()
    wanted = handle.tokenizer(phrase, add_special_tokens=False).input_ids
    for text, m in zip(texts, got.tolist(), strict=True):
        a = handle.encode([text]).states.double().numpy().ravel()
        ids = handle.tokenizer(text, add_special_tokens=False).input_ids
        share = sum(token in ids for token in wanted) / len(wanted)
        assert m == pytest.approx(max(a @ b / np.sqrt((a @ a) * (b @ b)), share))
    assert 1.0 == got[0]
    trees = permeability(handle, texts, ["Trees"])
    assert torch.equal(torch.maximum(got, trees), permeability(handle, texts, [phrase, "Trees"]))


def test_loss_by_hand(task, run):
    handle, splits = task()
    method = Spm({**TOY, "anchors": 2, "erase_scale": 0.5})
    method.prepare(handle, splits, run)
    for adapter in method._adapters.values():
        torch.nn.init.constant_(adapter.up, 0.05)
    batch = handle.collate(splits["concept"].examples)
    step = Step("spm", 0, 0, 1, 6, 11)
    with torch.no_grad():
        terms = method._terms(handle, {"concept": batch}, step)
        latents, t = method._latents(handle, batch, step)
        erase = apart = 0.0
        for i, example in enumerate(splits["concept"]):
            x, c, n = latents[i : i + 1], handle.encode([example.prompt]), handle.encode([example.target])
            draw = generator(11, "sample", "spm anchors", 0, example.key)
            anchors = [random_like(c.states[0], draw)[None] for _ in range(2)]
            with strength(method._adapters, 0.0):
                neutral, concept = handle.predict(x, t, n), handle.predict(x, t, c)
                before = [handle.predict(x, t, type(c)(a)) for a in anchors]
            goal = neutral - 0.5 * (concept - neutral)
            erase += (handle.predict(x, t, c) - goal).square().mean().item()
            after = [handle.predict(x, t, type(c)(a)) for a in anchors]
            apart += sum((a - b).square().mean().item() for a, b in zip(after, before, strict=True)) / 2
    assert erase == pytest.approx(terms["erase"].sum.item(), rel=1e-4)
    assert apart == pytest.approx(terms["anchor"].sum.item(), rel=1e-4)
    assert 10.0 == terms["anchor"].weight


def test_random_states_have_the_concepts_length_about():
    states, draw = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), np.random.default_rng(0)
    lengths = [(random_like(states, draw).norm() / states.norm()).item() for _ in range(50)]
    assert 0.8 <= min(lengths) < 0.85 and 1.15 < max(lengths) <= 1.2


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_membrane_is_the_change_that_training_saw(family, task):
    handle = task()[0] if family == "sd" else toy_handle(name="scratch/flux", architecture={})
    layers = transformer_layers(handle)
    adapters = attach(layers, 1, 0)
    for adapter in adapters.values():
        torch.nn.init.constant_(adapter.up, 0.1)
    x, t = torch.randn(2, *handle.latent_shape(), generator=torch.Generator().manual_seed(1)), torch.tensor([300])
    condition = handle.encode(["a", "b"])
    with torch.no_grad():
        trained = handle.predict(x, t, condition)
        factors = {name: (a.up.clone(), a.down.clone()) for name, a in adapters.items()}
        detach(layers)
        guard = Membranes([(("x",), factors)], "intended")
        guard.permeabilities = lambda handle, texts: torch.ones(1, len(texts))
        assert not torch.allclose(trained, handle.predict(x, t, condition), atol=1e-4)
        with guard.hooks(handle, ["a", "b"]):
            torch.testing.assert_close(trained, handle.predict(x, t, condition), atol=1e-5, rtol=1e-4)


def test_training_leaves_the_weights_and_gives_a_guard(task, run):
    handle, splits = task()
    before, flags = weights_digest(handle.module), {n: p.requires_grad for n, p in handle.module.named_parameters()}
    result = Spm(TOY).apply(handle, splits, run)
    assert before == weights_digest(result.module)
    assert flags == {n: p.requires_grad for n, p in result.module.named_parameters()}
    assert any(up.abs().max() > 0 for _, factors in result.guard.membranes for up, _ in factors.values())


def test_folded_membrane_is_in_the_weights(task, run):
    handle, splits = task()
    names = set(handle.module.state_dict())
    before = weights_digest(handle.module)
    result = Spm({**TOY, "transport": "folded"}).apply(handle, splits, run)
    assert result.guard is None and before != weights_digest(result.module)
    assert names == set(result.module.state_dict())


def test_second_concept_adds_a_membrane(task, run, tmp_path):
    handle, splits = task()
    first = Spm(TOY).apply(handle, splits, run)
    second = Spm(TOY).apply(first, splits, type(run).scratch(tmp_path / "again", 1, device="cpu"))
    assert 2 == len(second.guard.membranes)
    with pytest.raises(UserError, match="transport"):
        Spm({**TOY, "transport": "reference"}).apply(second, splits, run)
