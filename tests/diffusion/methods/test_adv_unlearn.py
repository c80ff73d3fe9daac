import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._draws import draws_of, normal
from mmunlearn.diffusion.methods._partial_sampling import partial_samples, random_stops
from mmunlearn.diffusion.methods.adv_unlearn import AdvUnlearn, attack, prefixed, random_words, shifted

from mmunlearn.handle import View
from mmunlearn.phases import Step


def test_prefix_moves_the_prompt_and_keeps_its_embeddings(handle):
    tokens = shifted(handle, ["A Dogs image in Van Gogh style."], 2)
    plain = handle.tokenise(["A Dogs image in Van Gogh style."])
    assert plain.ids[0][0, 1:9].tolist() == tokens.ids[0][0, 3:11].tolist()
    assert plain.ids[0].shape == tokens.ids[0].shape
    # With the embeddings of two words as the prefix, it is the prompt that begins with these words.
    words = handle.tokenise(["red dog A Dogs image in Van Gogh style."])
    table = handle.parts.encoders[0].get_input_embeddings().weight
    made = prefixed(handle, tokens, table[words.ids[0][:, 1:3]])
    assert torch.allclose(handle.encode(words.texts).states, made.states, atol=1e-5)


@pytest.mark.parametrize("sign", [False, True])
def test_attack_lowers_its_loss(handle, splits, sign):
    prompt = splits["concept"][0].prompt
    tokens, other = shifted(handle, [prompt], 1), handle.encode([splits["concept"][0].target])
    x, t = torch.randn(1, *handle.latent_shape(), generator=torch.Generator().manual_seed(0)), torch.tensor([600])
    with torch.no_grad():
        aim = handle.predict(x, t, other)

    def objective(free, number):
        return (handle.predict(x, t, prefixed(handle, tokens, free)) - aim).square().mean()

    start = random_words(handle, [np.random.default_rng(0)], 1)
    found = attack(objective, start, steps=10, lr=0.02, sign=sign)
    with torch.no_grad():
        assert float(objective(found, 0)) < float(objective(start, 0))


def test_terms_of_a_plain_step_are_loops_over_prompts(handle, splits, run):
    method = AdvUnlearn({"warm_up": 5, "walk_steps": 3, "eta": 0.8})
    original = handle.copy()
    method.prepare(handle, splits, run)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module["text_encoder"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.02)
    batches = {
        "concept": handle.collate(splits["concept"].examples, View(0, np.zeros(2))),
        "anchor": handle.collate(splits["anchor"].examples[:2], View(0, np.zeros(2))),
    }
    terms = method._terms(handle, batches, Step("x", 0, 0, 1, 1, 0))
    erase = retain = 0.0
    with torch.no_grad():
        for name, batch in batches.items():
            for example, draws in zip(splits[name].examples, draws_of(batch, 0, "adv_unlearn"), strict=False):
                at = random_stops([draws], 3, 1)
                noise = normal([draws], handle.latent_shape())
                pair = (handle.encode([example.prompt]), handle.unconditional([""]))
                x, t = partial_samples(handle, noise, at, pair, steps=3, scale=3.0)
                made = handle.predict(x[0], t[0], handle.encode([example.prompt]))
                named = original.predict(x[0], t[0], original.encode([example.prompt]))
                plain = original.predict(x[0], t[0], original.unconditional([""]))
                if name == "concept":
                    erase += float((made - (plain - 0.8 * (named - plain))).square().sum())
                else:
                    retain += float((made - named).square().sum())
    assert erase == pytest.approx(float(terms["erase"].sum.detach()), rel=1e-3)
    assert retain == pytest.approx(float(terms["retain"].sum.detach()), rel=1e-3)
    assert 0.3 == terms["retain"].weight


def test_in_turns_the_retained_prompts_have_steps_of_their_own(handle, splits, run):
    settings = {"warm_up": 2, "attack_steps": 2, "pool": 1, "walk_steps": 3, "retain_batch": 2, "batch_size": 2}
    both = AdvUnlearn(settings)
    turns = AdvUnlearn(settings | {"retaining": "turns", "turns": 2, "steps": 3})
    for method in (both, turns):
        method.prepare(handle, splits, run)
    (phase,) = turns.phases(handle, splits, run)
    assert 9 == phase.steps
    batches = {
        "concept": handle.collate(splits["concept"].examples, View(0, np.zeros(2))),
        "anchor": handle.collate(splits["anchor"].examples[:2], View(0, np.zeros(2))),
    }

    def values(method, number):
        terms = method._terms(handle, batches, Step("x", 0, number, 10, 1, 0))
        return {name: (float(term.sum.detach()), term.weight) for name, term in terms.items()}

    # Steps 0 and 3 erase without an attack, 6 is the third that erases and the first behind the warm-up.
    plain, attacked = values(both, 0), values(both, 2)
    assert {"erase", "retain"} == set(plain) and plain["erase"] != attacked["erase"]
    for number in (0, 3):
        assert {"erase": plain["erase"]} == values(turns, number)
    assert {"erase": attacked["erase"]} == values(turns, 6)
    for number in (1, 2, 4, 5, 7, 8):
        assert {"retain": (plain["retain"][0], 1.0)} == values(turns, number)


def test_only_the_text_encoder_changes_and_flags_come_back(handle, splits, run):
    before = {name: p.detach().clone() for name, p in handle.module.named_parameters()}
    flags = {name: p.requires_grad for name, p in handle.module.named_parameters()}
    AdvUnlearn(AdvUnlearn.toy).apply(handle, splits, run)
    changed = [name for name, p in handle.module.named_parameters() if not torch.equal(before[name], p)]
    assert changed
    assert all(name.startswith("text_encoder.") and "token_embedding" not in name for name in changed)
    assert flags == {name: p.requires_grad for name, p in handle.module.named_parameters()}
