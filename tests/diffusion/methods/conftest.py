"""Small untrained models, their splits and runs in double precision: what the slow versions are compared on."""

import copy

import pytest
import torch
from mmunlearn.diffusion.toy import toy_handle, toy_splits

from mmunlearn.run import Run


@pytest.fixture(scope="session")
def _toy():
    return toy_handle(), toy_splits()


@pytest.fixture
def task(_toy):
    """task() -> (copy of the model, splits): closed forms and guards need no learnt pictures."""

    def make():
        return _toy[0].copy(), dict(_toy[1])

    return make


@pytest.fixture(scope="session")
def untrained():
    """Never changed: take copies."""
    handle = toy_handle(seed=3)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():  # zero biases and equal prompts would hide mistakes
        for parameter in handle.module["denoiser"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    handle.module.eval()
    return handle


@pytest.fixture
def handle(untrained):
    return untrained.copy()


@pytest.fixture
def exact(untrained):
    """In double precision."""
    twin = untrained.copy()
    twin.module = copy.deepcopy(twin.module).double()
    twin.parts.module = twin.module
    return twin


@pytest.fixture(scope="session")
def splits():
    """Two pictures to forget, two to keep, and the prompts."""
    return toy_splits(forget=2, retain=2, holdout=2)


@pytest.fixture
def run(tmp_path):
    return Run.scratch(tmp_path / "run", 0, device="cpu", log_every=1)


@pytest.fixture
def double_run(tmp_path):
    return Run.scratch(tmp_path / "run", 0, device="cpu", log_every=1, precision="double")


class Stopped(Exception):
    """The process dies here."""


class DyingRun(Run):
    """Breaks right after the checkpoint of step `last`."""

    last = 0

    def save(self, step, state):
        super().save(step, state)
        if step >= self.last:
            raise Stopped


@pytest.fixture
def resumed(tmp_path, splits):
    """Applies a method to a copy, dying after some step, and again to another copy until it is done."""

    def apply(cls, settings, model, last):
        folder = tmp_path / "resumed"
        broken = DyingRun.scratch(folder, 0, checkpoint_every=1, device="cpu")
        broken.last = last
        with pytest.raises(Stopped):
            cls(settings).apply(model.copy(), splits, broken)
        again = Run.scratch(folder, 0, checkpoint_every=1, device="cpu")
        return cls(settings).apply(model.copy(), splits, again)

    return apply
