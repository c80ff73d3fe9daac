"""The toy task of vision-language models, copied for every test."""

import pytest

from mmunlearn.run import Run
from mmunlearn.testing.method_checks import toy


@pytest.fixture
def run(tmp_path):
    return Run.scratch(tmp_path / "run", 0, device="cpu")


@pytest.fixture
def task():
    """task() -> (copy of a model that knows the toy task by heart, splits)."""

    def make():
        known = toy("vlm")
        return known.original.copy(), dict(known.splits)

    return make
