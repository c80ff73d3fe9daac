"""Methods keep what they reuse in a cache of the test's own."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))
