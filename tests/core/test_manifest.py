"""The manifest: every file by its hash, what was run, on which data and code."""

import hashlib
import json

import pytest

from mmunlearn import manifest as module
from mmunlearn.cards import read_card
from mmunlearn.manifest import code_version, manifest
from mmunlearn.pipeline import RunSettings
from mmunlearn.run import Run
from mmunlearn.settings import digest, plain
from mmunlearn.testing.tiny import tiny_splits

SETTINGS = RunSettings(benchmark={"name": "mufac"}, method={"name": "finetune"}, seed=5)


@pytest.fixture
def run(tmp_path):
    run = Run.scratch(tmp_path / "run", 5)
    (run.path / "model").mkdir()
    (run.path / "model/weights.safetensors").write_bytes(b"weights")
    (run.path / "results.json").write_text("{}")
    return run


def made(run, data=None):
    return manifest(run, SETTINGS, read_card("mufac"), tiny_splits() if data is None else data)


def test_every_file_stands_with_its_sha256(run):
    expected = {
        "model/weights.safetensors": hashlib.sha256(b"weights").hexdigest(),
        "results.json": hashlib.sha256(b"{}").hexdigest(),
    }
    assert expected == made(run)["files"]


def test_the_lock_hidden_files_and_the_manifest_itself_are_left_out(run):
    for name in ("run.lock", ".half.tmp", "manifest.json"):
        (run.path / name).write_text("x")
    assert {"model/weights.safetensors", "results.json"} == set(made(run)["files"])


def test_one_changed_byte_shows(run):
    before = made(run)["files"]
    (run.path / "model/weights.safetensors").write_bytes(b"weightz")
    after = made(run)["files"]
    assert ["model/weights.safetensors"] == [name for name in before if before[name] != after[name]]


def test_settings_seed_card_and_data_identify_the_run(run):
    data = tiny_splits()
    found = made(run, data)
    assert digest(plain(SETTINGS)) == found["settings"] and 5 == found["seed"]
    card = read_card("mufac")
    assert {"name": "mufac", "version": card.version} == found["card"]
    assert {name: split.fingerprint for name, split in data.items()} == {
        name: facts["fingerprint"] for name, facts in found["data"].items()
    }
    fewer = {**data, "retain": data["retain"].subset(range(3))}
    other = made(run, fewer)["data"]
    assert ["retain"] == [name for name in other if other[name] != found["data"][name]]
    assert 3 == other["retain"]["n"]
    json.dumps(found)  # it is written as JSON


def test_packages_that_are_missing_have_no_version(run, monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package-of-anyone"))
    found = made(run)["packages"]
    assert found["numpy"] and found["no-such-package-of-anyone"] is None


def test_a_checkout_names_commit_and_uncommitted_changes(tmp_path, monkeypatch):
    answers = {"rev-parse": "abc\n", "diff": "+ a line"}
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(module.mmunlearn, "__file__", str(tmp_path / "mmunlearn/__init__.py"))
    monkeypatch.setattr(module, "_git", lambda root, verb, *rest: answers[verb])
    code_version.cache_clear()
    dirty = code_version()
    answers["diff"] = ""
    code_version.cache_clear()
    clean = code_version()
    code_version.cache_clear()
    assert "abc" == dirty["commit"] == clean["commit"]
    assert hashlib.blake2b(b"+ a line", digest_size=8).hexdigest() == dirty["dirty"]
    assert clean["dirty"] is None
