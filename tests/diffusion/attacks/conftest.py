"""A small untrained model in single and in double precision, and goals for it with target pictures."""

import copy
from dataclasses import replace

import pytest
import torch
from mmunlearn.diffusion.toy import toy_handle, toy_splits

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.judges.base import Judge, Verdict


@pytest.fixture(scope="session")
def _untrained():
    handle = toy_handle(seed=3)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():  # zero biases would hide mistakes
        for parameter in handle.module["denoiser"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    handle.module.eval()
    return handle


@pytest.fixture
def handle(_untrained):
    return _untrained.copy()


@pytest.fixture
def exact(_untrained):
    """In double precision."""
    twin = _untrained.copy()
    twin.module = copy.deepcopy(twin.module).double()
    twin.parts.module = twin.module
    return twin


@pytest.fixture(scope="session")
def goals():
    """Three prompts of different lengths with pictures."""
    words = ("a dog", "a red tree by the sea", "boat")
    pictures = toy_splits(forget=3, retain=2, holdout=2)["forget"]
    return [replace(e, prompt=text, tags={**e.tags, "seed": "7"}) for e, text in zip(pictures, words, strict=True)]


@pytest.fixture
def metered():
    """metered(handle) with all access."""
    return lambda handle: Metered(handle, Access.WEIGHTS)


class Scripted(Judge):
    """Says success for the candidates whose id ends with what the test names."""

    version = "1"
    offered = ("yes", "no")
    wins: tuple[str, ...] = ()

    def key(self, item):
        return item.example.id

    def grade(self, items):
        won = [item.example.id.endswith(self.wins) if self.wins else False for item in items]
        return [Verdict(float(hit), "yes" if hit else "no") for hit in won]


@pytest.fixture
def scripted():
    """scripted("a", "b"): a judge to whom candidates with these endings succeed."""

    def make(*wins):
        judge = Scripted()
        judge.wins = tuple(wins)
        return judge

    return make
