"""Words learnt from pictures, against a literal loop."""

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.learnt_words import Inversion, learn_words
from mmunlearn.diffusion.prompt_tokens import encoded
from mmunlearn.diffusion.toy import toy_handle, toy_splits

from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

PHRASE = "Van Gogh"


@pytest.fixture
def handle():
    return toy_handle(seed=3)


@pytest.fixture(scope="module")
def splits():
    return toy_splits(forget=2, retain=2, holdout=2)


def by_hand(handle, examples, how, seed):
    """One step after the other with the text encoder's own table: placeholder rows overwritten, all else fixed."""
    table = handle.parts.encoders[0].get_input_embeddings().weight.detach()
    tokenizer = handle.tokenizer
    own = tokenizer(PHRASE, add_special_tokens=False).input_ids
    words = [table[i].clone() for i in own[: how.words]]
    drawn = generator(seed, "inversion", "start").standard_normal(
        (how.words - len(words), table.shape[1]), dtype=np.float32
    )
    words = torch.stack([*words, *(torch.from_numpy(row) for row in drawn)])
    average, moment, square = table.norm(dim=1).mean(), torch.zeros_like(words), torch.zeros_like(words)
    batch = handle.collate(examples)
    for step in range(how.steps):
        draw = generator(seed, "inversion", step)
        (row,) = draw.choice(len(examples), size=1, replace=False)
        noise = torch.from_numpy(draw.standard_normal((1, *batch.tensors["mean"].shape[1:]), dtype=np.float32))
        t = torch.from_numpy(draw.integers(1000, size=1))
        words = words.detach().requires_grad_(True)
        ids = tokenizer(examples[row].prompt).input_ids
        start = next(i for i in range(len(ids)) if ids[i : i + len(own)] == own)
        vectors = [*table[ids[:start]], *words, *table[ids[start + len(own) :]]]
        vectors += [table[tokenizer.pad_token_id]] * (tokenizer.model_max_length - len(vectors))
        filler = torch.tensor([ids[:start] + [0] * how.words + ids[start + len(own) :]])
        padded = torch.full((1, tokenizer.model_max_length), tokenizer.pad_token_id)
        padded[0, : filler.shape[1]] = filler
        encoder = handle.parts.encoders[0]
        hook = encoder.get_input_embeddings().register_forward_hook(
            lambda *_, made=torch.stack(vectors)[None]: made
        )
        states = encoder(padded).last_hidden_state
        hook.remove()
        z = batch.tensors["mean"][row : row + 1]
        made = handle.module["denoiser"](handle.noised(z, noise, t), t, encoder_hidden_states=states).sample
        loss = ((made - handle.target(z, noise, t)) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, words)
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        ahead = (moment / (1 - 0.9 ** (step + 1))) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        words = words.detach() * (1 - how.lr * how.weight_decay) - how.lr * ahead
        norm = words.norm(dim=1, keepdim=True)
        words = words / norm * (norm + min(1.0, 100 * how.lr) * (average - norm))
    return words


def test_words_are_those_of_a_literal_loop(handle, splits):
    how = Inversion(steps=4, words=3, lr=1e-3)
    examples = list(splits["forget"])
    found = learn_words(handle, examples, PHRASE, how, seed=7)
    expected = by_hand(handle, examples, how, seed=7)
    for example in examples:
        torch.testing.assert_close(torch.from_numpy(found[example.id].vectors[0]), expected, rtol=1e-4, atol=1e-5)


def test_words_stand_in_the_phrases_place_and_weights_stay(handle, splits):
    before = {name: value.clone() for name, value in handle.module.state_dict().items()}
    example = splits["forget"].examples[0]
    coded = learn_words(handle, [example], PHRASE, Inversion(steps=1, words=4), seed=0)[example.id]
    ids = handle.tokenizer(example.prompt, add_special_tokens=False).input_ids
    own = handle.tokenizer(PHRASE, add_special_tokens=False).input_ids
    start = coded.at[0]
    assert own == ids[start : start + len(own)]
    assert [*ids[:start], 0, 0, 0, 0, *ids[start + len(own) :]] == list(coded.ids)
    assert list(range(start, start + 4)) == list(coded.at)
    assert all(torch.equal(before[name], value) for name, value in handle.module.state_dict().items())


def test_learning_lowers_the_error_of_its_pictures(handle, splits):
    example = splits["forget"].examples[0]

    def error(coded):
        batch = handle.collate([example])
        z, found = batch.tensors["mean"], []
        for t in range(100, 1000, 200):
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(t))
            at = torch.tensor([t])
            with torch.no_grad():
                made = handle.predict(handle.noised(z, noise, at), at, encoded(handle, [coded]))
            found.append(float((made - handle.target(z, noise, at)).square().mean()))
        return np.mean(found)

    few, many = (
        learn_words(handle, [example], PHRASE, Inversion(steps=steps, lr=0.05, pull=0.0), seed=1)[example.id]
        for steps in (1, 60)
    )
    assert error(many) < error(few)


def test_a_caption_without_the_phrase_and_a_model_without_clip_places_are_refused(handle, splits, monkeypatch):
    with pytest.raises(UserError, match="does not stand in its caption"):
        learn_words(handle, splits["retain"].examples, PHRASE, Inversion(), seed=0)
    monkeypatch.setattr(type(handle.family), "name", "flux")
    with pytest.raises(UserError, match="can be learnt for sd, sdxl alone"):
        learn_words(handle, splits["forget"].examples, PHRASE, Inversion(), seed=0)
