"""The drawn picture world of mmunlearn.testing with heads trained on it, once a session."""

import pytest
from mmunlearn.diffusion.heads import HeadsSettings, open_heads

from mmunlearn.testing.picture_world import world

STEPS = 60  # as in the contract's checks, so that both take the same heads from the cache


@pytest.fixture(scope="session")
def heads_settings() -> HeadsSettings:
    return HeadsSettings(root=str(world()), steps=STEPS)


@pytest.fixture(scope="session")
def world_heads(heads_settings):
    return open_heads(heads_settings)
