"""Shared models: stored whole, fetched whole, or not there."""

import os

import pytest

from mmunlearn.errors import UserError
from mmunlearn.model_cache import fetch_model, store_model


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))


def test_what_is_stored_is_fetched(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("w")
    assert fetch_model("k", tmp_path / "to") is None and not (tmp_path / "to").exists()
    for seconds in (1.5, 2.5):
        store_model("k", tmp_path / "model", {"seconds": seconds})
        assert {"seconds": seconds} == fetch_model("k", tmp_path / "to")
    assert "w" == (tmp_path / "to/weights").read_text()
    assert ["k"] == os.listdir(tmp_path / "cache/models")


def test_a_broken_store_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("w")

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr("os.fsync", full)
        store_model("k", tmp_path / "model", {"seconds": 1.0})
    assert [] == os.listdir(tmp_path / "cache/models") and fetch_model("k", tmp_path / "to") is None
