from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.toy import ARCHITECTURE, caption, toy_handle, toy_original, toy_splits

from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, View, weights_digest

LEARNED = {"vae": "learned", "architecture": {"text_encoder": ARCHITECTURE["text_encoder"]}}


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.mark.parametrize("settings", [{}, LEARNED])
@pytest.mark.parametrize("view", [None, View(3, np.arange(4))])
def test_score_is_the_squared_error_by_a_loop(splits, settings, view):
    handle = toy_handle(**settings)
    examples = splits["train"].examples[:4]
    batch = handle.collate(examples, view)
    with torch.no_grad():
        scored = handle.score(batch)
        for row, example in enumerate(examples):
            tensors = {name: tensor[row] for name, tensor in batch.tensors.items()}
            clean = tensors["mean"] + tensors["std"] * tensors["posterior"]
            alpha = float(handle.schedule.alphas[int(tensors["t"])])
            noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * tensors["noise"]
            states = handle.module["text_encoder"](handle.tokenise([example.prompt]).ids[0])[0]
            made = handle.denoiser(noisy[None], tensors["t"], states)[0][0]
            wanted = tensors["noise"]
            if handle.schedule.predicts == "v_prediction":
                wanted = alpha**0.5 * tensors["noise"] - (1 - alpha) ** 0.5 * clean
            total = float((made - wanted).double().square().sum())
            assert float(scored.nll[row]) == pytest.approx(total, rel=1e-4)
            assert clean.numel() == int(scored.count[row])


def test_evaluation_views_are_fixed_and_take_the_posteriors_mean(handle, splits):
    examples = splits["train"].examples
    one, two = handle.collate(examples).tensors, handle.collate(examples[::-1]).tensors
    assert torch.equal(one["noise"], two["noise"].flip(0)) and torch.equal(one["t"], two["t"].flip(0))
    assert not one["posterior"].any() and set(one["t"].tolist()) <= set(range(50, 1000, 100))


def test_training_views_change_with_seed_and_epoch_and_flip_half(splits):
    handle = toy_handle(augmentation={"flip": True})
    examples = splits["train"].examples
    views = [handle.collate(examples, View(s, np.full(len(examples), e))).tensors for s, e in ((0, 0), (0, 1), (1, 0))]
    assert not torch.equal(views[0]["noise"], views[1]["noise"]) and not torch.equal(views[0]["t"], views[2]["t"])
    plain = handle.collate(examples).tensors["mean"]
    flipped = (views[0]["mean"] != plain).flatten(1).any(1).float().mean()
    assert 0.1 < float(flipped) < 0.9


def test_training_views_drop_the_prompt_as_often_as_asked_and_evaluation_views_never(splits):
    plain, dropping = toy_handle(), toy_handle(augmentation={"drop_prompt_frac": 0.25})
    examples = splits["train"].examples
    empty, n = plain.tokenise([""]).ids[0][0], len(examples)
    gone = 0
    for epoch in range(20):
        view = View(3, np.full(n, epoch))
        seen, whole = dropping.collate(examples, view).tensors, plain.collate(examples, view).tensors
        missing = (seen["tokens"] == empty).all(1)
        assert torch.equal(whole["tokens"][~missing], seen["tokens"][~missing])
        assert torch.equal(whole["noise"], seen["noise"])  # nothing else is drawn otherwise
        turned = dropping.collate(examples[::-1], View(3, np.full(n, epoch))).tensors["tokens"]
        assert torch.equal(seen["tokens"], turned.flip(0))
        gone += int(missing.sum())
    assert 0.15 < gone / (20 * n) < 0.35
    assert torch.equal(plain.collate(examples).tensors["tokens"], dropping.collate(examples).tensors["tokens"])
    concept = splits["concept"].examples
    kept = dropping.collate(concept, View(3, np.zeros(len(concept), int))).tensors["tokens"]
    assert not (kept == empty).all(1).any()


def test_prompts_without_pictures_collate_and_have_no_error(handle, splits):
    batch = handle.collate(splits["concept"].examples)
    assert {"tokens", "target_tokens"} == set(batch.tensors)
    wanted = handle.encode([e.target for e in splits["concept"]])
    assert torch.equal(wanted.states, handle.condition(batch, "target_").states)
    with pytest.raises(UserError, match="no picture"):
        handle.score(batch)
    with pytest.raises(UserError, match="no picture"):
        handle.collate([splits["forget"][0], splits["concept"][0]])
    with pytest.raises(UserError, match="no prompt"):
        handle.collate([replace(splits["forget"][0], prompt=None)])


def test_a_trained_text_encoder_gets_gradients_and_a_frozen_one_none(splits):
    for trains in ("denoiser", "text_encoder"):
        handle = toy_handle(trains=trains)
        handle.score(handle.collate(splits["train"].examples[:2])).nll.sum().backward()
        parts = {
            name: any(p.grad is not None and p.grad.any() for p in part.parameters())
            for name, part in handle.module.items()
        }
        assert {trains} == {name for name, got in parts.items() if got}


def test_captions_decide_what_the_original_knows(splits):
    original = toy_original(splits)
    with torch.no_grad():
        own = original.score(original.collate(splits["forget"].examples)).nll.mean()
        for change in (
            lambda t: caption("Photo", t["object"]),
            lambda t: caption(t["style"], "Trees" if t["object"] == "Dogs" else "Dogs"),
        ):
            other = splits["forget"].mapped(lambda e, change=change: replace(e, prompt=change(e.tags)))
            assert original.score(original.collate(other.examples)).nll.mean() > 1.15 * own


def test_responses_name_files_and_scores(handle, splits, tmp_path):
    answers = handle.respond(splits["answers"].examples[:2], Decoding(folder=tmp_path), 0)
    row = answers[0].fields
    assert {"prompt", "tags", "image", "image_hash", "seed"} == set(row) and 188 == row["seed"]
    assert "Van_Gogh_Dogs_seed188.jpg" == row["image"] and (tmp_path / row["image"]).is_file()
    scored = handle.respond(splits["forget"].examples[:3], Decoding(fields={"generate": False}), 0)
    assert [{"prompt", "tags", "nll", "count"}] * 3 == [set(answer.fields) for answer in scored]
    with pytest.raises(UserError, match="folder"):
        handle.respond(splits["answers"].examples[:1], Decoding(), 0)
    with pytest.raises(UserError, match="stepz"):
        handle.respond(splits["answers"].examples[:1], Decoding(folder=tmp_path, fields={"stepz": 3}), 0)


def test_examples_without_choices_have_no_random_target(handle, splits):
    with pytest.raises(UserError, match="no labels"):
        handle.random_target(splits["forget"][0], np.random.default_rng(0), wrong_only=True)


def test_settings_laid_over_a_model_change_what_is_trained_and_nothing_of_its_weights(handle):
    twin = handle.adapted({"trains": "text_encoder"})
    assert weights_digest(handle.module) == weights_digest(twin.module)
    assert all(name.startswith("text_encoder") for name, _ in twin.trainable())
    handle.adapted({"trains": "denoiser"})
    with pytest.raises(UserError, match="architecture"):
        handle.adapted({"architecture": {"denoiser": {"layers_per_block": 2}}})


def test_copies_share_the_vae_and_nothing_else():
    handle = toy_handle(**LEARNED)
    twin = handle.copy()
    assert twin.vae is handle.vae and twin.parts.module is twin.module is not handle.module
    assert twin.encodings is not handle.encodings


def test_frozen_parts_stay_in_evaluation_mode(handle):
    handle.module.train()
    assert handle.denoiser.training and not handle.module["text_encoder"].training and not handle.vae.training
    handle.module.eval()
    assert not handle.denoiser.training


def test_activations_can_be_recomputed(splits):
    handle = toy_handle()
    handle.module.train()
    batch = handle.collate(splits["train"].examples[:2])
    handle.score(batch).nll.sum().backward()
    before = [p.grad.clone() for _, p in handle.trainable() if p.grad is not None]
    handle.module.zero_grad()
    handle.module.gradient_checkpointing_enable()
    handle.score(batch).nll.sum().backward()
    after = [p.grad for _, p in handle.trainable() if p.grad is not None]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(before, after, strict=True))
