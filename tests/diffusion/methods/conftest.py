"""A small untrained text-to-image model and the toy task's splits: closed forms and guards need no learnt pictures."""

import pytest
from mmunlearn.diffusion.toy import toy_handle, toy_splits

from mmunlearn.run import Run


@pytest.fixture(scope="session")
def _untrained():
    return toy_handle(), toy_splits()


@pytest.fixture
def task(_untrained):
    """task() -> (copy of the model, splits)."""

    def make():
        return _untrained[0].copy(), dict(_untrained[1])

    return make


@pytest.fixture
def run(tmp_path):
    return Run.scratch(tmp_path / "run", 0, device="cpu")
