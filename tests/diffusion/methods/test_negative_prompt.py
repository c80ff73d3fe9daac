"""Negative prompt: pictures are those of the request's own negative prompt; the guard is saved and restored."""

import torch
from mmunlearn.diffusion.methods.negative_prompt import NegativePrompt
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings

HOW = SamplerSettings(steps=3, scale=2.0)


def pictures(handle, negative=""):
    return torch.stack([p for _, p in sample(handle, [Request("A Dogs image", 1, 0, negative)], HOW)])


def test_samples_as_with_the_words_as_negative_prompt(task, run):
    handle, splits = task()
    wrapped = NegativePrompt().apply(handle, splits, run)
    assert torch.equal(pictures(handle, "Van Gogh"), pictures(wrapped))
    assert not torch.equal(pictures(handle), pictures(wrapped))


def test_own_text_and_empty_text(task, run):
    handle, splits = task()
    wrapped = NegativePrompt({"text": "Ink"}).apply(handle, splits, run)
    assert torch.equal(pictures(handle, "Ink"), pictures(wrapped))
    empty = NegativePrompt({"text": ""}).apply(handle, splits, run)
    assert torch.equal(pictures(handle), pictures(empty))


def test_saved_guard_answers_alike_and_the_handle_stays_free(task, run, tmp_path):
    handle, splits = task()
    wrapped = NegativePrompt().apply(handle, splits, run)
    assert handle.guard is None
    wrapped.save(tmp_path / "model")
    assert torch.equal(pictures(wrapped), pictures(type(wrapped).load(tmp_path / "model")))
