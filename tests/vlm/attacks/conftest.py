"""The toy task of vision-language models, copied for every test."""

import pytest

from mmunlearn.testing.method_checks import toy


@pytest.fixture
def task():
    """(copy of a model that knows the toy task by heart, splits)."""
    known = toy("vlm")
    return known.original.copy(), dict(known.splits)
